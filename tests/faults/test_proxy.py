"""The faulty proxy: transparent without a fault, and each fault acts as named."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import websockets
from websockets.asyncio.server import ServerConnection

from tests.faults import catalogue
from tests.faults.proxy import FaultProxy, phase_of


async def _serve_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server of two answers: what was posted, or a fixed picture."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(
                (int(h.split(":")[1]) for h in head.split("\r\n") if "content-length" in h.lower()),
                0,
            )
            posted = await reader.readexactly(length)
            body = b"P" * 100
            if head.startswith("POST"):
                body = json.dumps({"prompt_id": json.loads(posted)["prompt_id"]}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


@asynccontextmanager
async def _proxied() -> AsyncIterator[FaultProxy]:
    server = await asyncio.start_server(_serve_http, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, FaultProxy(f"http://127.0.0.1:{port}") as proxy:
        yield proxy


async def test_proxy_without_fault_forwards_and_records_requests() -> None:
    async with _proxied() as proxy, httpx.AsyncClient(base_url=proxy.url) as http:
        answer = await http.post("/prompt", json={"prompt_id": "a", "prompt": {"1": {}}})
        assert answer.json() == {"prompt_id": "a"}
        assert (await http.get("/view")).content == b"P" * 100
        assert proxy.accepted == [("a", {"1": {}})]
        assert proxy.seen == ["POST /prompt", "GET /view"]
        assert proxy.open_connections == 1


async def test_lost_response_reaches_server_once() -> None:
    async with _proxied() as proxy, httpx.AsyncClient(base_url=proxy.url) as http:
        proxy.arm(catalogue.lost_response, phase="submit")
        with pytest.raises(httpx.TransportError):
            await http.post("/prompt", json={"prompt_id": "a", "prompt": {}})
        assert [prompt_id for prompt_id, _ in proxy.accepted] == ["a"]


@pytest.mark.parametrize("fault", [catalogue.reset_before_body, catalogue.reset_after_body])
async def test_reset_before_forwarding_never_reaches_server(fault: catalogue.Fault) -> None:
    async with _proxied() as proxy, httpx.AsyncClient(base_url=proxy.url) as http:
        proxy.arm(fault, phase="submit")
        with pytest.raises(httpx.TransportError):
            await http.post("/prompt", json={"prompt_id": "a", "prompt": {}})
        assert proxy.seen == []


async def test_refuse_ends_at_same_address() -> None:
    async with _proxied() as proxy, httpx.AsyncClient(base_url=proxy.url) as http:
        proxy.arm(catalogue.refuse, phase="fetch")
        with pytest.raises(httpx.TransportError):
            await http.get("/view")
        with pytest.raises(httpx.ConnectError):
            await http.get("/view")
        await asyncio.sleep(0.4)
        assert (await http.get("/view")).status_code == 200


async def test_truncated_body_is_shorter_than_announced() -> None:
    async with _proxied() as proxy, httpx.AsyncClient(base_url=proxy.url) as http:
        proxy.arm(catalogue.truncated_body, phase="fetch")
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get("/view")


async def test_black_hole_exceeds_read_timeout() -> None:
    async with _proxied() as proxy, httpx.AsyncClient(base_url=proxy.url, timeout=0.2) as http:
        proxy.arm(catalogue.black_hole, phase="fetch")
        with pytest.raises(httpx.ReadTimeout):
            await http.get("/view")


async def test_cross_origin_redirect_names_another_origin() -> None:
    async with _proxied() as proxy, _proxied() as thief, httpx.AsyncClient() as http:
        proxy.thief = thief
        proxy.arm(catalogue.cross_origin_redirect, phase="fetch")
        location = (await http.get(f"{proxy.url}/view")).headers["location"]
        assert location.startswith("http://localhost:")
        await http.get(location, headers={"Authorization": "Bearer x"})
        assert thief.secrets == ["Bearer x"]


@asynccontextmanager
async def _socket_proxied() -> AsyncIterator[FaultProxy]:
    async def talk(connection: ServerConnection) -> None:
        await connection.send(json.dumps({"type": "status", "data": {"sid": "s"}}))
        for value in range(10):
            await connection.send(json.dumps({"type": "progress", "data": {"value": value}}))
        await connection.send(b"x" * 100_000)
        await connection.wait_closed()

    async with websockets.serve(talk, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with FaultProxy(f"http://127.0.0.1:{port}") as proxy:
            yield proxy


async def _receive(proxy: FaultProxy) -> tuple[list[str | bytes], int]:
    """Return the messages of 0.4 s and the close code (0: still open)."""
    got: list[str | bytes] = []
    async with websockets.connect(proxy.url.replace("http", "ws") + "/ws") as socket:
        try:
            async with asyncio.timeout(0.4):
                while True:
                    got.append(await socket.recv())
        except TimeoutError:
            return got, 0
        except websockets.ConnectionClosed as closed:
            return got, closed.rcvd.code if closed.rcvd else 1006


async def test_proxy_without_fault_forwards_messages_in_order() -> None:
    async with _socket_proxied() as proxy:
        got, code = await _receive(proxy)
    assert [json.loads(m)["data"].get("value") for m in got[:-1]] == [None, *range(10)]
    assert got[-1] == b"x" * 100_000
    assert code == 0


@pytest.mark.parametrize(
    ("fault", "count", "code"),
    [
        (catalogue.closed(1011), 4, 1011),
        (catalogue.cut_1006, 4, 1006),
        (catalogue.reset_1006, 4, 1006),
        (catalogue.half_open, 4, 0),
        (catalogue.duplicated, 24, 0),
        (catalogue.without("progress"), 2, 0),
        (catalogue.sid_swallowed, 11, 0),
        (catalogue.dropped(1.0), 0, 0),
        (catalogue.garbage, 24, 0),
    ],
)
async def test_socket_fault_changes_messages_or_close_code(
    fault: catalogue.SocketFault, count: int, code: int
) -> None:
    async with _socket_proxied() as proxy:
        proxy.arm_socket(fault)
        got, seen_code = await _receive(proxy)
    assert (len(got), seen_code) == (count, code)


def test_phase_of_maps_requests_to_phases() -> None:
    assert phase_of("POST", "/prompt") == phase_of("POST", "/api/prompt") == "submit"
    assert phase_of("GET", "/history/x") == phase_of("GET", "/api/jobs?limit=1") == "run"
    assert phase_of("GET", "/ws?clientId=x") == "connect"
    assert phase_of("GET", "/view?filename=x") == "fetch"
    assert phase_of("GET", "/prompt") == phase_of("POST", "/queue") == "other"
