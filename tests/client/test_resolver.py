"""Guarded clients over real sockets: names that change their mind, redirects, forms of addresses.

The address 0.0.0.0 is refused and, on this machine, leads to whatever listens on it: so a client
that did connect to what it must not would be heard.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from comfy_ui.client import ComfyWSClient, OutputFile
from comfy_ui.client.transport.server_address import make_server_address
from comfy_ui.client.transport.ssrf import reachable
from comfy_ui.client.transport.websocket import Socket
from comfy_ui.demo import DemoServer
from comfy_ui.errors import (
    ComfyHeadlessError,
    ComfyUIConnectionError,
    ComfyUIOfflineError,
    ValidationError,
)
from comfy_ui.protocol.retry import Backoff
from tests.client.names import Names, names
from tests.client.support import Request, ScriptedServer, image_graph, open_client, response

BOTH = pytest.mark.parametrize("kind", ["sync", "async"])
METADATA = ["169.254.169.254"]
NOWHERE = ["0.0.0.0"]
HERE = ["127.0.0.1"]
ONCE = {"connection": "close"}


@pytest.fixture
def dns() -> Iterator[Names]:
    with names() as made:
        yield made
        assert all(map(reachable, made.connected)), made.connected


@pytest.fixture
def open_dns() -> Iterator[Names]:
    """For clients that are not guarded."""
    with names() as made:
        yield made


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(lambda _: response({"here": True}, headers=ONCE)) as made:
        yield made


@BOTH
async def test_without_the_guard_the_server_would_be_heard(
    kind: str, open_dns: Names, server: ScriptedServer
) -> None:
    open_dns.say("gpu.test", NOWHERE)
    async with open_client(kind, f"http://gpu.test:{server.port}", breaker=False) as client:
        assert await client.features() == {"here": True}
    assert open_dns.connected == NOWHERE


@BOTH
@pytest.mark.parametrize("answer", [METADATA, NOWHERE, ["::"], ["fe80::1"], ["::ffff:169.254.1.1"]])
async def test_a_name_that_leads_where_no_comfyui_is_counts_as_closed(
    kind: str, dns: Names, server: ScriptedServer, answer: list[str]
) -> None:
    dns.say("gpu.test", answer)
    url = f"http://gpu.test:{server.port}"
    async with open_client(kind, url, guarded=True, breaker=False) as client:
        with pytest.raises(ComfyUIOfflineError, match="Nothing answers at http://gpu"):
            await client.features()
    assert dns.connected == []
    assert server.requests == []


@BOTH
@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "169.254.43518",
        "2852039166",
        "[fd00:ec2::254]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::1]",
        "100.100.100.200",
        "168.63.129.16",
        "0",
    ],
)
async def test_no_way_of_writing_an_address_gets_around_it(
    kind: str, dns: Names, host: str
) -> None:
    async with open_client(kind, f"http://{host}:8188", guarded=True, breaker=False) as client:
        with pytest.raises(ComfyHeadlessError):
            await client.features()
    assert dns.connected == []


@BOTH
async def test_what_was_looked_at_is_what_is_connected_to(
    kind: str, dns: Names, server: ScriptedServer
) -> None:
    dns.say("gpu.test", HERE, NOWHERE)
    url = f"http://gpu.test:{server.port}"
    async with open_client(kind, url, guarded=True, breaker=False) as client:
        assert await client.features() == {"here": True}
        assert dns.asked == ["gpu.test"], "asked once for a connection, so nothing can come between"
        with pytest.raises(ComfyUIOfflineError):
            await client.features()
    assert server.requests[0].headers["host"] == f"gpu.test:{server.port}"
    assert len(server.requests) == 1
    assert dns.connected == HERE


@BOTH
async def test_an_address_that_is_refused_does_not_spoil_the_others(
    kind: str, dns: Names, server: ScriptedServer
) -> None:
    """Names ending in .local often come with a link-local address first."""
    dns.say("gpu.test", ["fe80::1", *METADATA, "::1", *HERE])
    url = f"http://gpu.test:{server.port}"
    async with open_client(kind, url, guarded=True, breaker=False) as client:
        assert await client.features() == {"here": True}


@BOTH
async def test_a_guarded_client_runs_a_job(kind: str, dns: Names) -> None:
    with DemoServer().in_thread() as engine:
        dns.say("gpu.test", HERE)
        port = engine.url.rpartition(":")[2]
        async with open_client(kind, f"http://gpu.test:{port}", guarded=True) as client:
            result = await client.run(image_graph())
            assert len(result.images) == 1


async def test_a_socket_that_is_opened_again_is_looked_at_again(dns: Names) -> None:
    with DemoServer().in_thread() as engine:
        dns.say("gpu.test", HERE, NOWHERE)
        port = engine.url.rpartition(":")[2]
        opened: list[str | None] = []
        endpoint = make_server_address(url=f"http://gpu.test:{port}", guarded=True)
        socket = Socket(endpoint, on_message=lambda *_: None, on_change=opened.append)
        try:
            assert await socket.ready()
            socket.want(wanted=True)
            socket.cycle()
            async with asyncio.timeout(20):
                while dns.asked.count("gpu.test") < 3:  # noqa: ASYNC110 -- asked by a thread
                    await asyncio.sleep(0.02)
        finally:
            await socket.close()
    assert opened[1:] == [None], "it never opened again"
    assert dns.connected == HERE


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A download tries thrice, not for ten seconds."""
    monkeypatch.setattr("comfy_ui.client.file_transfers._PATIENT", Backoff(base_s=0.0, attempts=3))


@BOTH
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("place", ["http://169.254.169.254/latest/", "http://0.0.0.0:{port}/view"])
async def test_a_redirect_leads_to_no_other_server(
    kind: str, dns: Names, server: ScriptedServer, place: str
) -> None:
    target = place.format(port=server.port)
    with ScriptedServer(lambda _: response(status=302, headers={"location": target})) as sly:
        url = f"http://127.0.0.1:{sly.port}"
        async with open_client(kind, url, guarded=True, token="secret", breaker=False) as client:
            with pytest.raises(ComfyUIConnectionError):
                await client.queue()
            with pytest.raises(ComfyUIConnectionError):
                await client.download(OutputFile("a.png"))
    assert server.requests == []
    assert set(dns.connected) == set(HERE)


def cloud(target: str) -> Any:
    def moved(request: Request) -> bytes:
        return response(status=302, headers={"location": target})

    return ScriptedServer(moved)


@BOTH
@pytest.mark.usefixtures("impatient")
async def test_where_redirects_are_followed_they_are_looked_at_too(
    kind: str, dns: Names, server: ScriptedServer
) -> None:
    """Comfy Cloud keeps files elsewhere; somebody may stand in its place over plain http."""
    with cloud(f"http://store.test:{server.port}/file") as sly:
        dns.say("cloud.comfy.org", HERE)
        dns.say("store.test", NOWHERE)
        url = f"http://cloud.comfy.org:{sly.port}"
        async with open_client(kind, url, guarded=True, token="secret", breaker=False) as client:
            with pytest.raises(ComfyUIConnectionError):
                await client.download(OutputFile("a.png"))
            assert server.requests == []
            dns.say("store.test", HERE)
            assert await client.download(OutputFile("a.png")) == b'{"here": true}'
    assert "x-api-key" not in server.requests[0].headers
    assert "authorization" not in server.requests[0].headers
    assert sly.requests[0].headers["x-api-key"] == "secret"


@BOTH
async def test_tls_verifies_the_name_and_not_the_address(
    kind: str, dns: Names, tmp_path: Path
) -> None:
    authority = trustme.CA()
    pem = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("gpu.test").configure_cert(context)

    class Secure(ScriptedServer):
        def _serve(self, connection: Any) -> None:
            try:
                super()._serve(context.wrap_socket(connection, server_side=True))
            except OSError:
                connection.close()

    with Secure(lambda _: response({"here": True})) as server:
        for name in ("gpu.test", "other.test"):
            dns.say(name, HERE)
        options: dict[str, Any] = {"guarded": True, "verify": pem, "breaker": False}
        async with open_client(kind, f"https://gpu.test:{server.port}", **options) as client:
            assert await client.features() == {"here": True}
        async with open_client(kind, f"https://other.test:{server.port}", **options) as client:
            with pytest.raises(ComfyUIConnectionError, match="not trusted"):
                await client.features()


@BOTH
async def test_a_name_that_does_not_exist_is_told_as_ever(kind: str) -> None:
    url = "http://no-such-host.invalid:8188"
    async with open_client(kind, url, guarded=True, breaker=False) as client:
        with pytest.raises(ComfyUIOfflineError, match="no host"):
            await client.ping()


def test_the_log_says_what_was_refused_and_why(
    dns: Names, caplog: pytest.LogCaptureFixture
) -> None:
    dns.say("gpu.test", METADATA)

    async def ask() -> None:
        async with ComfyWSClient(url="http://gpu.test:80", guarded=True, breaker=False) as client:
            with pytest.raises(ComfyUIOfflineError):
                await client.ping()

    with caplog.at_level(logging.WARNING, "comfy_ui.client.transport.resolver"):
        asyncio.run(ask())
    assert "169.254.169.254" in caplog.text


def test_a_proxy_would_choose_the_address_by_itself() -> None:
    with pytest.raises(ValidationError, match="trust_env"):
        make_server_address(guarded=True, trust_env=True)
