"""The address of ComfyUI, typed into a page that others reach: by its owner alone, and guarded."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.client import operations
from comfy_ui.client.transport.ssrf import reachable
from comfy_ui.demo import DemoServer
from comfy_ui.web import server_connection
from comfy_ui.web.auth.access import PACES
from comfy_ui.web.auth.rate_limit import RateLimiter
from tests.client.names import Names, names
from tests.client.support import EMPTY_QUEUE, Request, ScriptedServer, response
from tests.client.test_ssrf import METADATA, OTHERS, carriers
from tests.security.support import GRADIO, Person, served

TOKEN = "canary-of-the-configured-server"
HERE = ["127.0.0.1"]


@pytest.fixture(scope="module")
def dns() -> Iterator[Names]:
    """Whatever this module connects to, it is never where no ComfyUI is."""
    with names() as made:
        yield made
        assert [address for address in made.connected if not reachable(address)] == []


@pytest.fixture(scope="module", params=["shared", "space"])
def page(
    request: Any, tmp_path_factory: pytest.TempPathFactory, patch: Any, dns: Names
) -> Iterator[Any]:
    with patch.context() as patched:
        if request.param == "space":
            patched.setenv("SPACE_ID", "anna/comfy-ui")
        with served(tmp_path_factory.mktemp(request.param), patch) as made:
            yield made


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pace has a test of its own; the client tries as often as ever, without a pause."""
    monkeypatch.setattr(RateLimiter, "wait_s", lambda *_: 0.0)
    monkeypatch.setattr(operations, "_QUICK", replace(operations._QUICK, base_s=0.0))


def connect(page: Any, person: Person, address: Any) -> str:
    """What somebody is told who gives that address to Connect."""
    (handler,) = (found for found in page.fns.values() if found.name == "_reconnect")
    said = person.fire(handler._id, [address])
    return str(said["output"]["data"][0]) if "output" in said else str(said)


def comfyui(request: Request) -> bytes | None:
    """As little of a ComfyUI as can be connected to."""
    path = request.path.partition("?")[0]
    if path == "/system_stats":
        return response({"system": {"comfyui_version": "0.3.0"}, "devices": []})
    if path == "/queue":
        return response(EMPTY_QUEUE)
    return response({}) if request.method == "GET" and path != "/ws" else response(status=404)


@pytest.fixture
def engine() -> Iterator[DemoServer]:
    with DemoServer(speed="instant").in_thread() as made:
        yield made


pytestmark = [*GRADIO, pytest.mark.usefixtures("dns")]


def test_nobody_and_no_visitor_may(page: Any, engine: DemoServer) -> None:
    with Person.comes(page) as nobody, Person.comes(page, "vera") as vera:
        assert "refused" in connect(page, nobody, engine.url)
        assert "Only admins" in connect(page, vera, engine.url)


@pytest.mark.usefixtures("hurry")
def test_all_that_can_be_wrong_with_an_address_is_told_in_one_sentence(
    page: Any,
    dns: Names,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """Whoever has got hold of an owner's password learns no more of the network than that."""
    monkeypatch.setattr(server_connection, "_TYPED_TIMEOUT_S", 0.5)
    dns.say("metadata.test", ["169.254.169.254"])
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as silent,
        ScriptedServer(lambda _: response({"other": "service"})) as other,
        ScriptedServer(lambda _: response(b"words of a service", status=404)) as missing,
        ScriptedServer(lambda _: response(status=401)) as login,
        ScriptedServer(lambda _: b"SSH-2.0-OpenSSH_9.2\r\n\r\n") as shell,
        ScriptedServer(lambda _: None) as rude,
        Person.comes(page, "anna") as anna,
    ):
        wrong = [
            f"http://127.0.0.1:{silent.getsockname()[1]}",
            "http://127.0.0.1:9",  # closed
            *(server.url for server in (other, missing, login, shell, rude)),
            other.url.replace("http", "https"),
            "http://no-such-host.invalid:8188",
            "http://metadata.test:8188",
            "http://169.254.169.254:8188",
        ]
        told = {connect(page, anna, url).replace(url, "URL") for url in wrong}
        (sentence,) = told
        assert "No ComfyUI answers at URL." in sentence
        # Nor beside one that answers, where the Status tab would tell of each.
        with ScriptedServer(comfyui) as good:
            for url in wrong[2:5]:
                assert connect(page, anna, f"{good.url}, {url}").replace(url, "URL") == sentence
    record_property("addresses told in one sentence", len(wrong))


@pytest.mark.usefixtures("hurry")
def test_no_form_of_a_forbidden_address_is_connected_to(
    page: Any, dns: Names, record_property: Callable[[str, object], None]
) -> None:
    forms = [*METADATA, *OTHERS]
    forms += [form for address in METADATA for form in carriers(address).values()]
    with Person.comes(page, "anna") as anna:
        before = len(dns.connected)
        for number, form in enumerate(forms):
            dns.say(f"name{number}.test", [form])
            assert "No ComfyUI answers" in connect(page, anna, f"http://name{number}.test:8188")
        reached = [one for one in dns.connected[before:] if not reachable(one)]
    record_property("forms of forbidden addresses typed", len(forms))
    record_property("connections to forbidden addresses that fired", len(reached))
    assert reached == []


@pytest.mark.usefixtures("hurry")
def test_what_is_no_address_is_told_and_changes_nothing(page: Any) -> None:
    with Person.comes(page, "anna") as anna:
        for text in (
            None,
            "",
            "  ",
            "ftp://x",
            "file:///etc/passwd",
            "gopher://x:70/_a",
            "http://",
        ):
            assert "notice" in connect(page, anna, text), text
            assert "Now using" not in connect(page, anna, text), text


def test_an_owner_may_not_try_as_often_as_they_like(page: Any) -> None:
    """How long an attempt takes tells something, too."""
    with Person.comes(page, "anna") as anna:
        told = [connect(page, anna, "ftp://x") for _ in range(PACES["reconnect"].burst + 2)]
    assert "Too many requests" in told[-1]


@pytest.fixture
def moving(tmp_path: Path, patch: Any, dns: Names) -> Iterator[tuple[Any, ScriptedServer]]:
    """An app with a server of its own and a token for that, alone for each test."""
    with ScriptedServer(comfyui) as first:
        options = {"demo": False, "comfyui_url": f"{first.url}/a", "comfyui_token": TOKEN}
        first.handler = lambda request: comfyui(
            Request(request.method, request.path.removeprefix("/a"), request.headers, request.body)
        )
        with served(tmp_path, patch, **options) as page:
            yield page, first


@pytest.mark.usefixtures("hurry")
def test_the_token_stays_with_the_address_that_it_was_configured_for(
    moving: tuple[Any, ScriptedServer], dns: Names
) -> None:
    page, first = moving
    with ScriptedServer(comfyui) as other, Person.comes(page, "anna") as anna:
        dns.say("first.test", HERE)
        for url in (
            other.url,
            f"http://me:pw@127.0.0.1:{other.port}",
            f"http://first.test:{first.port}/a",
            f"{first.url}/b",
        ):
            told = connect(page, anna, url)
            assert "pw" not in told.replace("PASSWORD", "")
            # The first one is still asked under its own address until the other answers.
            heard = [
                *other.requests,
                *(r for r in first.requests if r.headers["host"].startswith("first.test")),
                *(r for r in first.requests if r.path.startswith("/b")),
            ]
            assert heard, url
            assert not any(TOKEN in str(request) for request in heard), url
        assert {r.headers.get("authorization") for r in other.requests} == {None, "Basic bWU6cHc="}
        first.requests.clear()
        assert "Now using" in connect(page, anna, f"{first.url}/a/")
        sent = {request.headers.get("authorization") for request in first.requests}
        assert sent == {f"Bearer {TOKEN}"}


@pytest.mark.usefixtures("hurry")
def test_a_name_that_changes_its_mind_later_leads_nowhere(
    moving: tuple[Any, ScriptedServer], dns: Names
) -> None:
    page, _ = moving

    def once(request: Request) -> bytes | None:
        raw = comfyui(request)
        return raw and raw.replace(b"\r\n", b"\r\nconnection: close\r\n", 1)

    with ScriptedServer(once) as sly, Person.comes(page, "anna") as anna:
        dns.say("sly.test", HERE)
        assert "Now using" in connect(page, anna, f"http://sly.test:{sly.port}")
        before = len(dns.connected)
        dns.say("sly.test", ["169.254.169.254"])
        asked = dns.asked.count("sly.test")
        look = next(found._id for found in page.fns.values() if found.name == "_draw")
        told = str(anna.fire(look, []))
        assert "Offline" in told
        assert dns.asked.count("sly.test") > asked, "asked anew, and looked at anew"
        assert all(map(reachable, dns.connected[before:]))


@pytest.mark.slow
@pytest.mark.usefixtures("hurry")
def test_jobs_of_visitors_go_on_while_the_owner_moves_to_another_server(
    tmp_path: Path, patch: Any, engine: DemoServer
) -> None:
    with (
        served(tmp_path, patch, demo_speed="2") as page,
        Person.comes(page, "anna") as anna,
        Person.comes(page, "vera") as vera,
        ThreadPoolExecutor() as pool,
    ):
        made = [
            pool.submit(vera.call, "generate", "sd15", f"cat {number}", {"steps": 40})
            for number in range(3)
        ]
        follow = next(found for found in page.fns.values() if found.name == "_draw")
        while "running" not in (told := str(anna.fire(follow._id, []))) or "0 running" in told:
            time.sleep(0.1)
        assert "Now using" in connect(page, anna, engine.url)
        for future in made:
            last = future.result(timeout=60)[-1]
            assert (last["phase"], len(last["files"])) == ("succeeded", 1), last
