"""API keys over HTTP: accepted where a login is, with the owner's data and the key's role."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from comfy_ui.web.auth.access import Access
from comfy_ui.web.auth.accounts import ADMIN_LOGIN, Role
from comfy_ui.web.auth.api_keys import ApiKey
from comfy_ui.web.auth.key_limits import KeyLimits
from tests.security.support import GRADIO, PageClient, handlers, served

pytestmark = GRADIO

GRAPH = {"1": {"class_type": "SaveLatent", "inputs": {}}}
"""A workflow that no preset could have produced."""


def access_of(page: Any) -> Access:
    gate = next(m for m in page.app.user_middleware if m.cls.__name__ == "AccessMiddleware")
    access: Access = gate.kwargs["access"]
    return access


class KeyClient:
    """A program with a key of its own."""

    def __init__(self, page: Any, owner: str, role: Role) -> None:
        self.keys = access_of(page).keys
        self.key: ApiKey
        self.key, self.text = self.keys.create(owner, "test", role)
        self.headers = {"authorization": f"Bearer {self.text}"}
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{page.server_port}",
            headers=self.headers,
            timeout=30,
            trust_env=False,
        )

    def tool(self, name: str, **arguments: Any) -> Any:
        call = {"name": name, "arguments": arguments}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
        return self.client.post("/mcp", json=message).json()["result"]


@pytest.fixture
def program(shared: Any) -> Iterator[KeyClient]:
    """A program of vera's."""
    program = KeyClient(shared, "vera", Role.USER)
    yield program
    program.client.close()


def test_key_opens_endpoints_mcp_files_and_own_routes_of_its_user(
    shared: Any, program: KeyClient, vera: PageClient, viktor: PageClient
) -> None:
    page = PageClient(program.client)
    *_, last = page.call("generate", "sd15", "a quiet harbor", {"seed": 7})
    (file,) = last["files"]
    path = file["url"].partition("?")[0]
    assert program.client.get(path).content.startswith(b"\x89PNG")
    assert vera.client.get(path).status_code == 200, "the login of the key's owner"
    assert viktor.client.get(path).status_code == 404
    assert program.tool("job", job_id=last["job"])["structuredContent"]["phase"] == "succeeded"
    assert program.client.get("/library").status_code == 200
    uses = program.keys.uses(program.key)
    assert {(use.address, use.route) for use in uses} >= {
        ("127.0.0.1", "POST /gradio_api/call/"),
        ("127.0.0.1", "GET /files/"),
        ("127.0.0.1", "POST /mcp"),
    }


def test_gradio_client_logs_in_with_a_key(shared: Any, program: KeyClient) -> None:
    from gradio_client import Client

    url = f"http://127.0.0.1:{shared.server_port}"
    client = Client(url, headers=program.headers, verbose=False, download_files=False)
    try:
        assert any(preset["id"] == "sd15" for preset in client.predict(api_name="/presets"))
    finally:
        client.close()


def test_key_with_the_role_user_of_an_admin_is_no_admin(shared: Any) -> None:
    for role, refused in ((Role.USER, True), (Role.ADMIN, False)):
        program = KeyClient(shared, "anna", role)
        text = program.tool("run_workflow", workflow=GRAPH)["content"][0]["text"]
        assert ("Only admins" in text) is refused
        program.client.close()


def test_key_revoked_ends_at_once(program: KeyClient) -> None:
    assert program.client.get("/library").status_code == 200
    program.keys.revoke(program.key.id)
    for path in ("/library", "/config", "/queue/events"):
        assert program.client.get(path).status_code == 401, path


def test_key_of_a_removed_account_ends_at_once(shared: Any) -> None:
    accounts = access_of(shared).accounts
    accounts.add("zoe", "zoe's password", Role.USER)
    program = KeyClient(shared, "zoe", Role.USER)
    assert program.client.get("/library").status_code == 200
    accounts.remove("zoe")
    assert program.client.get("/library").status_code == 401
    program.client.close()


def test_wrong_keys_are_401_then_429_with_a_delay(shared: Any, program: KeyClient) -> None:
    wrong = {"authorization": f"Bearer {program.text[:-40]}{'0' * 40}"}
    answers = [program.client.get("/config", headers=wrong) for _ in range(7)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 2
    assert int(answers[-1].headers["retry-after"]) > 0
    assert program.text not in answers[0].text
    assert program.client.get("/config").status_code == 200
    other = {"authorization": "Bearer sk-of-another-service"}
    assert program.client.get("/config", headers=other).status_code == 401


def test_key_with_limits_is_429_with_a_delay_in_the_envelope_of_the_api(
    shared: Any, program: KeyClient
) -> None:
    program.keys.set_limits(program.key.id, KeyLimits(jobs=1))
    request = {"model": "sd15", "prompt": "a harbor", "stream": True, "x_comfy_ui": {"steps": 1}}
    program.tool("pause")
    try:
        with program.client.stream("POST", "/v1/images/generations", json=request) as first:
            assert first.status_code == 200
            (job_id,) = first.headers["x-comfy-ui-jobs"].split(",")
        second = program.client.post("/v1/images/generations", json=request)
        assert second.status_code == 429
        assert int(second.headers["retry-after"]) > 0
        assert second.json()["error"]["code"] == "rate_limit_exceeded"
        refused = program.tool("generate", preset="sd15", prompt="a harbor")
        assert refused["isError"]
        assert "1 jobs at a time" in refused["content"][0]["text"]
        program.tool("cancel", job_id=job_id)
    finally:
        program.tool("resume")
    program.keys.set_limits(program.key.id, KeyLimits(per_minute=2))
    answers = [program.client.get("/v1/models") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 30
    assert answers[-1].json()["error"]["type"] == "rate_limit_error"
    assert "2 requests a minute" in answers[-1].json()["error"]["message"]


def test_key_never_appears_in_logs(program: KeyClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    program.client.get("/library")
    program.client.get("/library", headers={"authorization": f"Bearer {program.text}0"})
    assert program.text.rpartition("_")[2] not in caplog.text


@pytest.mark.slow
def test_key_in_local_mode_identifies_its_owner_and_others_are_ignored(
    tmp_path_factory: pytest.TempPathFactory, patch: Any
) -> None:
    folder = tmp_path_factory.mktemp("local keys")
    with served(folder, patch, users=False, host="127.0.0.1") as page:
        program = KeyClient(page, ADMIN_LOGIN, Role.USER)
        forwarded = {"x-forwarded-for": "192.0.2.1"}
        assert "Only admins" in str(program.tool("run_workflow", workflow=GRAPH))
        assert program.client.get("/library", headers=forwarded).status_code == 200
        other = {"authorization": "Bearer sk-none"}
        assert program.client.get("/library", headers=other).status_code == 200
        program.keys.revoke(program.key.id)
        assert program.client.get("/library").status_code == 401
        program.client.close()


def handler(page: Any, name: str) -> int:
    return next(fn._id for fn in page.fns.values() if fn.name == name)


def test_status_tab_creates_a_key_shows_it_once_and_revokes_it(
    shared: Any, vera: PageClient, viktor: PageClient
) -> None:
    create, revoke, draw = (handler(shared, name) for name in ("_create", "_revoke", "_draw"))
    made = vera.fire(create, ["SillyTavern <b>", True, True, "", "3", ""])["output"]["data"][1]
    (text,) = set(re.findall(r"cui_[0-9a-f_]{49}", made))
    assert "SillyTavern &lt;b&gt;" in made
    drawn = vera.fire(draw, [])["output"]["data"][-1]
    assert text not in drawn
    assert "Never" in drawn
    assert re.search(r'name="jobs" value="3"', drawn)
    keys = access_of(shared).keys
    (key,) = [key for key in keys.listed("vera") if key.name == "SillyTavern <b>"]
    assert key.role == "user", "vera is no admin, so her keys are none either"
    assert (key.limits, key.may_spend) == (KeyLimits(jobs=3), False)
    event = {"key": key.id}
    viktor.fire(revoke, [], event_data=event)
    assert keys.exists(key), "only the owner may revoke it"
    program = {"authorization": f"Bearer {text}"}
    with PageClient.open(shared) as guest:
        assert guest.client.get("/library", headers=program).status_code == 200
    assert "GET /library" in vera.fire(draw, [])["output"]["data"][-1]
    vera.fire(revoke, [], event_data=event)
    assert not keys.exists(key)


def test_status_tab_keys_cannot_create_keys(shared: Any, program: KeyClient) -> None:
    before = access_of(shared).keys.listed()
    answer = PageClient(program.client).fire(
        handler(shared, "_create"), ["more", False, False, "", "", ""]
    )
    assert "API keys cannot manage API keys." in answer["output"]["data"][1]
    assert access_of(shared).keys.listed() == before


def test_key_limits_are_changed_on_the_page_by_their_owner_only(
    shared: Any, program: KeyClient, vera: PageClient, anna: PageClient
) -> None:
    (handler,) = (h for h in handlers(shared) if h.name == "_limit")
    sent = {"key": program.key.id, "requests": "", "jobs": "3", "per_minute": "60", "spends": "on"}
    for person in (anna, program, vera):
        client = person if isinstance(person, PageClient) else PageClient(person.client)
        client.fire(handler._id, [], event_data=sent)
        (key,) = (one for one in program.keys.listed("vera") if one.id == program.key.id)
        assert key.limits == (KeyLimits(jobs=3, per_minute=60) if person is vera else KeyLimits())
    assert not key.may_spend, "vera may not spend, so a key of hers may not either"
    vera.fire(handler._id, [], event_data={**sent, "jobs": "many"})
    assert program.keys.listed("vera")[0].limits == KeyLimits(jobs=3, per_minute=60)
