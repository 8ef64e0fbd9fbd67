"""How the WebSocket reaches the server, with and without a transport of the caller."""

from __future__ import annotations

import asyncio
import json
import logging
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.server import ServerConnection, serve as serve_sockets

from comfy_ui.client import ClientOptions, ComfyWSClient
from comfy_ui.client.transport import websocket
from comfy_ui.client.transport.server_address import make_server_address, tls_context
from comfy_ui.client.transport.websocket import Socket
from comfy_ui.demo import DemoServer
from comfy_ui.protocol.messages import Logs, Message, PreviewFrame
from tests.client.support import (
    EMPTY_QUEUE,
    Request,
    ScriptedServer,
    history_of,
    image_graph,
    response,
)
from tests.client.test_server_address import Certificates
from tests.faults.proxy import FaultProxy

SOCKET = ClientOptions(websocket=True)


def mock_server() -> httpx.MockTransport:
    """A server in memory that has finished every job."""

    def handler(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == "/prompt":
            prompt_id = json.loads(request.content)["prompt_id"]
            return httpx.Response(200, json={"prompt_id": prompt_id, "number": 1})
        if path == "/queue":
            return httpx.Response(200, json=EMPTY_QUEUE)
        return httpx.Response(200, json=history_of(path.rpartition("/")[2]))

    return httpx.MockTransport(handler)


@asynccontextmanager
async def sockets_to(
    serve: Callable[[ServerConnection], Awaitable[None]],
) -> AsyncIterator[tuple[Socket, list[Message], asyncio.Event]]:
    """A socket to a server, the messages it passes on, and the event of its end."""
    messages: list[Message] = []
    closed = asyncio.Event()

    def note(client_id: str | None) -> None:
        if client_id is None:
            closed.set()

    async with serve_sockets(serve, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        address = make_server_address(url=f"http://127.0.0.1:{port}")
        socket = Socket(address, on_message=lambda _, m: messages.append(m), on_change=note)
        yield socket, messages, closed
        await socket.close()


async def test_ws_client_with_mock_transport_never_reaches_the_network(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "comfy_ui")
    with ScriptedServer(lambda _: response(status=500)) as network:
        async with ComfyWSClient(url=network.url, http=mock_server()) as client:
            assert (await client.run(image_graph())).images
        assert network.requests == []
    assert "ClientOptions(websocket=True)" in caplog.text


@pytest.mark.parametrize(
    ("options", "sockets"),
    [(ClientOptions(), 0), (SOCKET, 1), (ClientOptions(websocket=False), 0)],
)
async def test_ws_client_with_own_transport_opens_a_socket_only_with_the_option(
    options: ClientOptions, sockets: int, engine: DemoServer
) -> None:
    async with FaultProxy(engine.url) as proxy:
        http = httpx.AsyncHTTPTransport()
        async with ComfyWSClient(url=proxy.url, http=http, options=options) as client:
            assert (await client.run(image_graph())).images
        assert proxy.sockets == sockets


async def test_ws_client_without_websocket_tracks_jobs_by_polling(engine: DemoServer) -> None:
    async with FaultProxy(engine.url) as proxy:
        options = ClientOptions(websocket=False)
        async with ComfyWSClient(url=proxy.url, options=options) as client:
            assert (await client.run(image_graph())).images
        assert proxy.sockets == 0


async def test_ws_client_with_own_transport_checks_the_sockets_certificate_by_verify(
    engine: DemoServer, tmp_path: Path
) -> None:
    certificates = Certificates(tmp_path)
    context = tls_context(verify=certificates.ca)
    async with FaultProxy(engine.url, tls=certificates.server()) as proxy:
        for verify, sockets in ((None, 0), (certificates.ca, 1)):
            http = httpx.AsyncHTTPTransport(verify=context)
            async with ComfyWSClient(
                url=proxy.url, http=http, verify=verify, options=SOCKET
            ) as client:
                assert (await client.run(image_graph())).images
            assert proxy.sockets == sockets


@pytest.mark.parametrize("own_transport", [False, True])
async def test_ws_client_proxy_of_options_carries_the_socket(own_transport: bool) -> None:
    def handler(request: Request) -> bytes:
        return response(status=404 if request.method == "CONNECT" else 400)

    with ScriptedServer(handler) as proxy:
        options = ClientOptions(proxy=proxy.url.replace("//", "//user:secret@"), websocket=True)
        http: Any = httpx.AsyncHTTPTransport(proxy=proxy.url) if own_transport else None
        async with ComfyWSClient("http://gpu.invalid:81", options=options, http=http) as client:
            assert await client._session._feed.ready() is None
    (request,) = proxy.requests
    assert (request.method, request.path) == ("CONNECT", "gpu.invalid:81")
    assert request.headers["proxy-authorization"].startswith("Basic ")


async def test_ws_client_trust_env_takes_all_proxy_for_the_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ScriptedServer(lambda _: response(status=404)) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.lower(), raising=False)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        async with ComfyWSClient("http://gpu.invalid:81", trust_env=True) as client:
            assert await client._session._feed.ready() is None
    assert [request.method for request in proxy.requests] == ["CONNECT"]


async def test_ws_client_headers_are_sent_with_the_sockets_handshake() -> None:
    with ScriptedServer(lambda _: response(status=404)) as server:
        headers = {"X-Team": "blue"}
        http = httpx.AsyncHTTPTransport()
        async with ComfyWSClient(
            url=server.url, headers=headers, token="t", http=http, options=SOCKET
        ) as client:
            assert await client._session._feed.ready() is None
    (request,) = server.requests
    assert request.path.startswith("/ws?clientId=")
    assert request.headers["x-team"] == "blue"
    assert request.headers["authorization"] == "Bearer t"


async def test_ws_client_socks_proxy_without_its_package_polls(
    engine: DemoServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SOCKS_PROXY", "socks5://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "nowhere.invalid")
    http = httpx.AsyncHTTPTransport(trust_env=False)
    async with ComfyWSClient(url=engine.url, trust_env=True, http=http, options=SOCKET) as client:
        assert (await client.run(image_graph())).images
    assert "python-socks" in caplog.text


async def test_socket_passes_messages_in_order_also_when_one_comes_in_parts() -> None:
    def logs(number: int) -> str:
        return json.dumps({"type": "logs", "data": {"entries": [{"m": str(number)}]}})

    async def serve(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send(logs(1))
        await connection.send([logs(2)[:9], logs(2)[9:30], logs(2)[30:]])
        await connection.send(logs(3))
        await connection.send(struct.pack(">II", 1, 1) + b"jpeg")
        await connection.send(logs(4))
        await connection.wait_closed()

    async with sockets_to(serve) as (socket, messages, _):
        assert await socket.ready()
        async with asyncio.timeout(10):
            while len(messages) < 5:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        texts = [m.lines if isinstance(m, Logs) else type(m) for m in messages]
        assert texts == [("1",), ("2",), ("3",), PreviewFrame, ("4",)]


async def test_socket_is_closed_at_a_text_that_is_not_utf8() -> None:
    codes = []

    async def serve(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send(b'{"type": "logs", "data": "\xff"}', text=True)
        await connection.wait_closed()
        codes.append(connection.close_code)

    async with sockets_to(serve) as (socket, messages, closed):
        assert await socket.ready()
        async with asyncio.timeout(10):
            await closed.wait()
            while not codes:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (codes[0], messages) == (1007, [])


@pytest.mark.parametrize("answers_pings", [True, False])
async def test_socket_closed_without_pongs_fell_silent(
    *, answers_pings: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "PING_INTERVAL_S", 0.05)
    monkeypatch.setattr(websocket, "PING_TIMEOUT_S", 0.1)

    async def serve(connection: ServerConnection) -> None:
        if answers_pings:
            await asyncio.sleep(0.3)
        else:
            connection.transport.pause_reading()
            await asyncio.sleep(1.0)

    async with sockets_to(serve) as (socket, _, closed):
        assert await socket.ready()
        async with asyncio.timeout(10):
            await closed.wait()
        assert socket.fell_silent is not answers_pings
