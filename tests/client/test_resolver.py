"""Guarded clients over real sockets: DNS rebinding, redirects and notations of addresses.

The blocked address 0.0.0.0 leads to the test server, which would record a forbidden connection.
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
    with names() as lookups:
        yield lookups
        assert all(map(reachable, lookups.connected)), lookups.connected


@pytest.fixture
def open_dns() -> Iterator[Names]:
    """For clients that are not guarded."""
    with names() as lookups:
        yield lookups


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(lambda _: response({"here": True}, headers=ONCE)) as scripted:
        yield scripted


@BOTH
async def test_unguarded_client_connects_to_unspecified_address(
    kind: str, open_dns: Names, server: ScriptedServer
) -> None:
    open_dns.say("gpu.test", NOWHERE)
    async with open_client(kind, f"http://gpu.test:{server.port}", breaker=False) as client:
        assert await client.features() == {"here": True}
    assert open_dns.connected == NOWHERE


@BOTH
@pytest.mark.parametrize("answer", [METADATA, NOWHERE, ["::"], ["fe80::1"], ["::ffff:169.254.1.1"]])
async def test_guarded_client_name_resolving_to_blocked_address_is_offline(
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
async def test_guarded_client_blocked_address_in_any_notation_is_refused(
    kind: str, dns: Names, host: str
) -> None:
    async with open_client(kind, f"http://{host}:8188", guarded=True, breaker=False) as client:
        with pytest.raises(ComfyHeadlessError):
            await client.features()
    assert dns.connected == []


@BOTH
async def test_guarded_client_connects_to_checked_address_without_second_lookup(
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
async def test_guarded_client_skips_blocked_address_and_uses_next(
    kind: str, dns: Names, server: ScriptedServer
) -> None:
    """Names ending in .local often come with a link-local address first."""
    dns.say("gpu.test", ["fe80::1", *METADATA, "::1", *HERE])
    url = f"http://gpu.test:{server.port}"
    async with open_client(kind, url, guarded=True, breaker=False) as client:
        assert await client.features() == {"here": True}


@BOTH
async def test_guarded_client_runs_job(kind: str, dns: Names) -> None:
    with DemoServer().in_thread() as engine:
        dns.say("gpu.test", HERE)
        port = engine.url.rpartition(":")[2]
        async with open_client(kind, f"http://gpu.test:{port}", guarded=True) as client:
            result = await client.run(image_graph())
            assert len(result.images) == 1


async def test_guarded_socket_reconnect_resolves_and_checks_again(dns: Names) -> None:
    with DemoServer().in_thread() as engine:
        dns.say("gpu.test", HERE, NOWHERE)
        port = engine.url.rpartition(":")[2]
        opened: list[str | None] = []
        endpoint = make_server_address(url=f"http://gpu.test:{port}", guarded=True)
        socket = Socket(endpoint, on_message=lambda *_: None, on_change=opened.append)
        try:
            assert await socket.ready()
            socket.want(["a-job"])
            socket.cycle()
            async with asyncio.timeout(20):
                while dns.asked.count("gpu.test") < 3:  # noqa: ASYNC110 -- asked by a thread
                    await asyncio.sleep(0.02)
        finally:
            await socket.close()
    assert opened[1:] == [None], "it never opened again"
    assert dns.connected == HERE


@pytest.fixture
def few_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit a download to three attempts without pauses."""
    monkeypatch.setattr(
        "comfy_ui.client.transfer.file_transfers._PATIENT", Backoff(base_s=0.0, attempts=3)
    )


@BOTH
@pytest.mark.usefixtures("few_retries")
@pytest.mark.parametrize("place", ["http://169.254.169.254/latest/", "http://0.0.0.0:{port}/view"])
async def test_guarded_client_redirect_to_other_server_is_not_followed(
    kind: str, dns: Names, server: ScriptedServer, place: str
) -> None:
    target = place.format(port=server.port)
    with ScriptedServer(
        lambda _: response(status=302, headers={"location": target})
    ) as redirecting:
        url = f"http://127.0.0.1:{redirecting.port}"
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
@pytest.mark.usefixtures("few_retries")
async def test_guarded_client_followed_redirect_is_checked(
    kind: str, dns: Names, server: ScriptedServer
) -> None:
    """Comfy Cloud redirects to a file host; over plain HTTP its name can be spoofed."""
    with cloud(f"http://store.test:{server.port}/file") as redirecting:
        dns.say("cloud.comfy.org", HERE)
        dns.say("store.test", NOWHERE)
        url = f"http://cloud.comfy.org:{redirecting.port}"
        async with open_client(kind, url, guarded=True, token="secret", breaker=False) as client:
            with pytest.raises(ComfyUIConnectionError):
                await client.download(OutputFile("a.png"))
            assert server.requests == []
            dns.say("store.test", HERE)
            assert await client.download(OutputFile("a.png")) == b'{"here": true}'
    assert "x-api-key" not in server.requests[0].headers
    assert "authorization" not in server.requests[0].headers
    assert redirecting.requests[0].headers["x-api-key"] == "secret"


@BOTH
async def test_guarded_client_tls_verifies_host_name_not_address(
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
async def test_guarded_client_unknown_host_is_offline(kind: str) -> None:
    url = "http://no-such-host.invalid:8188"
    async with open_client(kind, url, guarded=True, breaker=False) as client:
        with pytest.raises(ComfyUIOfflineError, match="no host"):
            await client.ping()


def test_guarded_client_refusal_is_logged_with_address(
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


def test_guarded_client_with_trust_env_raises_validation_error() -> None:
    with pytest.raises(ValidationError, match="trust_env"):
        make_server_address(guarded=True, trust_env=True)
