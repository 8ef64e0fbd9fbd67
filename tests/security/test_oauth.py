"""A Space with Hugging Face logins, and a stand-in for Hugging Face on this machine."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from comfy_ui.web.auth.oauth import provider_of
from tests.security.hub import CLIENT, Hub, hub
from tests.security.support import GRADIO, Person, handlers, knock, served

pytestmark = GRADIO


@pytest.fixture(scope="module")
def provider() -> Iterator[Hub]:
    with hub() as stand_in:
        yield stand_in


@pytest.fixture(scope="module")
def space(
    tmp_path_factory: pytest.TempPathFactory, provider: Hub, patch: pytest.MonkeyPatch
) -> Iterator[Any]:
    with patch.context() as patched:
        for name, value in provider.environment("Ann").items():
            patched.setenv(name, value)
        with served(tmp_path_factory.mktemp("space"), patch, users=False) as page:
            yield page


@pytest.fixture
def arrive(space: Any) -> Iterator[Callable[[], Browser]]:
    """Somebody comes with a browser of their own."""
    with ExitStack() as stack:

        def come() -> Browser:
            browser = Browser(space)
            stack.callback(browser.client.close)
            return browser

        yield come


class Browser:
    """Keeps cookies as a browser does that reached the Space by https."""

    def __init__(self, page: Any) -> None:
        self.home = f"http://127.0.0.1:{page.server_port}"
        self.client = httpx.Client(base_url=self.home, timeout=30, trust_env=False)
        self.cookies: dict[str, str] = {}
        self.person = Person(self.client)
        self.get("/")

    def get(self, url: str) -> httpx.Response:
        """The answer, with its cookies kept; no redirect is followed."""
        answer = self.client.get(url, headers={"accept": "text/html"})
        for line in answer.headers.get_list("set-cookie"):
            (name, _, value), *rest = (part.strip().partition("=") for part in line.split(";"))
            self.cookies[name] = value
            if ("expires", "=", "Thu, 01 Jan 1970 00:00:00 GMT") in rest:
                del self.cookies[name]
        said = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        self.client.headers["cookie"] = said
        return answer

    def log_in(self) -> httpx.Response:
        asked = self.get("/login/huggingface")
        assert asked.status_code == 302
        back = httpx.get(asked.headers["location"], trust_env=False)
        return self.get(back.headers["location"])

    def make(self, prompt: str) -> dict[str, Any]:
        values = {"steps": 4, "width": 384, "height": 384}
        last: dict[str, Any] = self.person.call("generate", "sd15", prompt, values)[-1]
        return last

    def sees(self, text: str) -> bool:
        return text in self.client.get("/library").text

    def owns(self) -> bool:
        graph = {"1": {"class_type": "EmptyImage", "inputs": {}}}
        return "Only admins" not in str(self.person.call("run_workflow", graph, None)[-1])


def test_a_visitor_finds_what_they_made_on_another_device(arrive: Any, provider: Hub) -> None:
    provider.person = "bob"
    first, second, other = arrive(), arrive(), arrive()
    assert first.log_in().headers["location"] == "/"
    made = first.make("by bob who logged in")
    assert made["phase"] == "succeeded"
    assert not second.sees("by bob")
    second.log_in()
    assert second.sees("by bob")
    (file,) = made["files"]
    address = file["url"].partition("?")[0]
    assert second.client.get(address).status_code == 200
    provider.person = "carl"
    other.log_in()
    assert not other.sees("by bob")
    assert other.client.get(address).status_code in {404, 422}
    assert not first.owns()


def test_the_owner_of_the_space_is_the_owner_and_nobody_else_is(arrive: Any, provider: Hub) -> None:
    provider.person = "ann"  # names at Hugging Face are the same in any case
    user_id = arrive()
    assert not user_id.owns()
    user_id.log_in()
    assert user_id.owns()


def test_every_handler_asks_on_a_space_too(
    space: Any, arrive: Any, provider: Hub, record_property: Callable[[str, object], None]
) -> None:
    provider.person = "mallory"
    stranger, member = arrive(), arrive()
    member.log_in()
    for visitor in (stranger, member):
        assert knock(space, visitor.person) >= {"free_memory", "open_workflow"}
    record_property("handlers called as a visitor", 2 * len(handlers(space)))


def test_without_a_login_the_cookie_names_a_browser(arrive: Any) -> None:
    one, two = arrive(), arrive()
    one.make("by somebody without a name")
    assert one.sees("without a name")
    assert not two.sees("without a name")


def test_who_logs_out_is_out(arrive: Any, provider: Hub) -> None:
    provider.person = "dora"
    browser = arrive()
    browser.log_in()
    browser.make("by dora")
    assert browser.get("/logout").headers["location"] == "/"
    assert "comfy_ui_login" not in browser.cookies
    assert not browser.sees("by dora")
    browser.log_in()
    assert browser.sees("by dora")


def test_a_login_ends(arrive: Any, provider: Hub) -> None:
    provider.person, provider.lasts_s = "ann", -10.0
    browser = arrive()
    try:
        browser.log_in()
    finally:
        provider.lasts_s = 3600.0
    assert "comfy_ui_login" in browser.cookies
    assert not browser.owns()


@pytest.mark.parametrize("answer", ["?code=x&state=forged", "?code=x", "", "?state=&code="])
def test_an_answer_that_nobody_asked_for_logs_nobody_in(arrive: Any, answer: str) -> None:
    browser = arrive()
    for asked_before in (False, True):
        if asked_before:
            browser.get("/login/huggingface")
        told = browser.get(f"/login/callback{answer}")
        assert told.status_code == 403
        assert "comfy_ui_login" not in browser.cookies


def test_a_state_belongs_to_the_browser_that_asked(arrive: Any, provider: Hub) -> None:
    """Else somebody could log others in as himself, and read what they make."""
    provider.person = "eve"
    attacker, victim = arrive(), arrive()
    asked = attacker.get("/login/huggingface")
    back = httpx.get(asked.headers["location"], trust_env=False).headers["location"]
    victim.get("/login/huggingface")
    assert victim.get(back).status_code == 403
    assert "comfy_ui_login" not in victim.cookies


def test_who_says_no_is_told_so_without_anybodys_words(arrive: Any, provider: Hub) -> None:
    provider.refuses = True
    try:
        told = arrive().log_in()
    finally:
        provider.refuses = False
    assert told.status_code == 403
    assert "try again" in told.text
    assert "said no" not in told.text
    assert told.headers["content-type"].startswith("text/plain")


def test_a_name_that_somebody_else_signed_is_no_name(arrive: Any, provider: Hub) -> None:
    provider.forges, provider.person = True, "ann"
    try:
        told = arrive().log_in()
    finally:
        provider.forges = False
    assert told.status_code == 403


def test_the_cookie_is_signed_and_holds_no_token(arrive: Any, provider: Hub) -> None:
    provider.person = "finn"
    browser = arrive()
    answer = browser.log_in()
    (line,) = [c for c in answer.headers.get_list("set-cookie") if c.startswith("comfy_ui_login")]
    for part in ("httponly", "samesite=none", "secure"):
        assert part in line.lower()
    content, _, signature = browser.cookies["comfy_ui_login"].partition(".")
    told = json.loads(base64.b64decode(content))
    assert set(told) == {"login"}
    assert set(told["login"]) == {"name", "until"}
    told["login"]["name"] = "ann"
    forged = base64.b64encode(json.dumps(told).encode()).decode()
    browser.client.headers["cookie"] = f"comfy_ui_login={forged}.{signature}"
    assert not browser.owns()


def test_the_page_offers_the_login_and_then_the_way_out(
    space: Any, arrive: Any, provider: Hub
) -> None:
    provider.person = "<b>gus</b>"
    browser = arrive()
    note = next(fn for fn in space.fns.values() if fn.name == "_header")
    assert "/login/huggingface" in json.dumps(browser.person.fire(note._id, []))
    browser.log_in()
    told = json.dumps(browser.person.fire(note._id, []))
    assert "Log out &lt;b&gt;gus" in told
    assert "<b>gus" not in told


def test_another_site_cannot_log_anybody_out(arrive: Any) -> None:
    answer = arrive().client.get("/logout", headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403


def test_logins_are_for_spaces_that_ask_for_them() -> None:
    told = Hub("https://hub.example").environment("ann")
    found = provider_of(told)
    assert found is not None
    assert urlsplit(found.url).hostname == "hub.example"
    assert CLIENT[1] not in repr(found)
    for name in ("SPACE_ID", "OPENID_PROVIDER_URL", "OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET"):
        assert provider_of({**told, name: ""}) is None
    hosts = provider_of({**told, "SPACE_HOST": "ann-comfy.hf.space,pictures.example"})
    assert hosts is not None
    assert hosts.host == "ann-comfy.hf.space"
