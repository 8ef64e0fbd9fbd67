"""ComfyUI's URL, typed into a page that others reach: admins only, with SSRF protection."""

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
from comfy_ui.web.auth.rate_limit import RateLimit
from tests.client.names import Names, names
from tests.client.support import EMPTY_QUEUE, Request, ScriptedServer, response
from tests.client.test_ssrf import METADATA, OTHERS, carriers
from tests.security.support import GRADIO, PageClient, served

TOKEN = "canary-of-the-configured-server"
HERE = ["127.0.0.1"]


@pytest.fixture(scope="module")
def dns() -> Iterator[Names]:
    """Record connections: none may go to a forbidden address."""
    with names() as fake_dns:
        yield fake_dns
        assert [address for address in fake_dns.connected if not reachable(address)] == []


@pytest.fixture(scope="module", params=["shared", "space"])
def page(
    request: Any, tmp_path_factory: pytest.TempPathFactory, patch: Any, dns: Names
) -> Iterator[Any]:
    with patch.context() as patched:
        if request.param == "space":
            patched.setenv("SPACE_ID", "anna/comfy-ui")
        with served(tmp_path_factory.mktemp(request.param), patch) as app_page:
            yield app_page


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove rate limits and retry pauses; the number of retries is unchanged."""
    monkeypatch.setattr(RateLimit, "take", lambda _, state, now: (0.0, state))
    monkeypatch.setattr(operations, "_QUICK", replace(operations._QUICK, base_s=0.0))


def connect(page: Any, person: PageClient, address: Any) -> str:
    """Send a URL to Connect and return the notice."""
    (handler,) = (fn for fn in page.fns.values() if fn.name == "_reconnect")
    message = person.fire(handler._id, [address, ""])
    return str(message["output"]["data"][1]) if "output" in message else str(message)


def comfyui(request: Request) -> bytes | None:
    """A minimal ComfyUI that Connect accepts."""
    path = request.path.partition("?")[0]
    if path == "/system_stats":
        return response({"system": {"comfyui_version": "0.3.0"}, "devices": []})
    if path == "/queue":
        return response(EMPTY_QUEUE)
    return response({}) if request.method == "GET" and path != "/ws" else response(status=404)


@pytest.fixture
def engine() -> Iterator[DemoServer]:
    with DemoServer(speed="instant").in_thread() as server:
        yield server


pytestmark = [*GRADIO, pytest.mark.usefixtures("dns")]


def test_connect_by_guest_or_user_is_refused(page: Any, engine: DemoServer) -> None:
    with PageClient.open(page) as guest, PageClient.open(page, "vera") as vera:
        assert "refused" in connect(page, guest, engine.url)
        assert "Only admins" in connect(page, vera, engine.url)


@pytest.mark.usefixtures("no_pauses")
def test_connect_failures_give_the_same_message(
    page: Any,
    dns: Names,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """An attacker with an admin's password cannot scan the network."""
    monkeypatch.setattr(server_connection, "_TYPED_TIMEOUT_S", 0.5)
    dns.say("metadata.test", ["169.254.169.254"])
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as silent,
        ScriptedServer(lambda _: response({"other": "service"})) as other,
        ScriptedServer(lambda _: response(b"words of a service", status=404)) as missing,
        ScriptedServer(lambda _: response(status=401)) as login,
        ScriptedServer(lambda _: b"SSH-2.0-OpenSSH_9.2\r\n\r\n") as shell,
        ScriptedServer(lambda _: None) as rude,
        PageClient.open(page, "anna") as anna,
    ):
        urls = [
            f"http://127.0.0.1:{silent.getsockname()[1]}",
            "http://127.0.0.1:9",  # closed
            *(server.url for server in (other, missing, login, shell, rude)),
            other.url.replace("http", "https"),
            "http://no-such-host.invalid:8188",
            "http://metadata.test:8188",
            "http://169.254.169.254:8188",
        ]
        messages = {connect(page, anna, url).replace(url, "URL") for url in urls}
        (message,) = messages
        assert "No ComfyUI answers at URL." in message
        # Also together with a reachable server, whose status is shown.
        with ScriptedServer(comfyui) as good:
            for url in urls[2:5]:
                assert connect(page, anna, f"{good.url}, {url}").replace(url, "URL") == message
    record_property("addresses with the same error message", len(urls))


@pytest.mark.usefixtures("no_pauses")
def test_connect_forbidden_address_in_any_form_is_not_contacted(
    page: Any, dns: Names, record_property: Callable[[str, object], None]
) -> None:
    forms = [*METADATA, *OTHERS]
    forms += [form for address in METADATA for form in carriers(address).values()]
    with PageClient.open(page, "anna") as anna:
        before = len(dns.connected)
        for number, form in enumerate(forms):
            dns.say(f"name{number}.test", [form])
            assert "No ComfyUI answers" in connect(page, anna, f"http://name{number}.test:8188")
        reached = [one for one in dns.connected[before:] if not reachable(one)]
    record_property("forms of forbidden addresses tried", len(forms))
    record_property("connections to forbidden addresses that fired", len(reached))
    assert reached == []


@pytest.mark.usefixtures("no_pauses")
def test_connect_invalid_address_shows_a_notice(page: Any) -> None:
    with PageClient.open(page, "anna") as anna:
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


def test_connect_repeated_attempts_are_rate_limited(page: Any) -> None:
    """The duration of an attempt leaks information."""
    with PageClient.open(page, "anna") as anna:
        messages = [connect(page, anna, "ftp://x") for _ in range(PACES["reconnect"].burst + 2)]
    assert "Too many requests" in messages[-1]


@pytest.fixture
def reconnectable_app(
    tmp_path: Path, patch: Any, dns: Names
) -> Iterator[tuple[Any, ScriptedServer]]:
    """A separate app with a server and a token for it."""
    with ScriptedServer(comfyui) as first:
        options = {"demo": False, "comfyui_url": f"{first.url}/a", "comfyui_token": TOKEN}
        first.handler = lambda request: comfyui(
            Request(request.method, request.path.removeprefix("/a"), request.headers, request.body)
        )
        with served(tmp_path, patch, **options) as page:
            yield page, first


@pytest.mark.usefixtures("no_pauses")
def test_connect_to_another_server_does_not_send_the_token(
    reconnectable_app: tuple[Any, ScriptedServer], dns: Names
) -> None:
    page, first = reconnectable_app
    with ScriptedServer(comfyui) as other, PageClient.open(page, "anna") as anna:
        dns.say("first.test", HERE)
        for url in (
            other.url,
            f"http://me:pw@127.0.0.1:{other.port}",
            f"http://first.test:{first.port}/a",
            f"{first.url}/b",
        ):
            message = connect(page, anna, url)
            assert "pw" not in message.replace("PASSWORD", "")
            # The first server is still polled under its own URL until the other responds.
            received = [
                *other.requests,
                *(r for r in first.requests if r.headers["host"].startswith("first.test")),
                *(r for r in first.requests if r.path.startswith("/b")),
            ]
            assert received, url
            assert not any(TOKEN in str(request) for request in received), url
        assert {r.headers.get("authorization") for r in other.requests} == {None, "Basic bWU6cHc="}
        first.requests.clear()
        assert "Now using" in connect(page, anna, f"{first.url}/a/")
        sent = {request.headers.get("authorization") for request in first.requests}
        assert sent == {f"Bearer {TOKEN}"}


@pytest.mark.usefixtures("no_pauses")
def test_connect_dns_rebinding_is_blocked(
    reconnectable_app: tuple[Any, ScriptedServer], dns: Names
) -> None:
    page, _ = reconnectable_app

    def once(request: Request) -> bytes | None:
        raw = comfyui(request)
        return raw and raw.replace(b"\r\n", b"\r\nconnection: close\r\n", 1)

    with ScriptedServer(once) as sly, PageClient.open(page, "anna") as anna:
        dns.say("sly.test", HERE)
        assert "Now using" in connect(page, anna, f"http://sly.test:{sly.port}")
        before = len(dns.connected)
        dns.say("sly.test", ["169.254.169.254"])
        lookups = dns.asked.count("sly.test")
        handler_id = next(fn._id for fn in page.fns.values() if fn.name == "_draw")
        panel = str(anna.fire(handler_id, []))
        assert "Offline" in panel
        assert dns.asked.count("sly.test") > lookups, "resolved and checked again"
        assert all(map(reachable, dns.connected[before:]))


@pytest.mark.slow
@pytest.mark.usefixtures("no_pauses")
def test_connect_to_another_server_lets_running_jobs_finish(
    tmp_path: Path, patch: Any, engine: DemoServer
) -> None:
    with (
        served(tmp_path, patch, demo_speed="2") as page,
        PageClient.open(page, "anna") as anna,
        PageClient.open(page, "vera") as vera,
        ThreadPoolExecutor() as pool,
    ):
        values = {"steps": 40, "width": 384, "height": 384}
        futures = [
            pool.submit(vera.call, "generate", "sd15", f"dune {number}", values)
            for number in range(3)
        ]
        follow = next(fn for fn in page.fns.values() if fn.name == "_draw")
        while "running" not in (panel := str(anna.fire(follow._id, []))) or "0 running" in panel:
            time.sleep(0.1)
        assert "Now using" in connect(page, anna, engine.url)
        for future in futures:
            last = future.result(timeout=60)[-1]
            assert (last["phase"], len(last["files"])) == ("succeeded", 1), last
