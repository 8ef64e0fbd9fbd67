from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn

from comfy_ui.web.http import connection_limits
from comfy_ui.web.http.connection_limits import (
    ConnectionLimits,
    Connections,
    LimitedProtocol,
    limit_connections,
)

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    body = b"x" * 2_000_000 if scope["path"] == "/large" else b"ok"
    if scope["path"] == "/slow":
        await asyncio.sleep(0.3)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(**limits: Any) -> AsyncIterator[tuple[int, Connections]]:
    """Serve the app above; yields its port and its connections."""
    connections = Connections(ConnectionLimits(**limits))
    config = uvicorn.Config(
        app,
        port=0,
        lifespan="off",
        log_level="error",
        http=lambda **options: LimitedProtocol(connections, **options),  # type: ignore[arg-type]
    )
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    try:
        yield server.servers[0].sockets[0].getsockname()[1], connections
    finally:
        await server.shutdown()


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


async def closed(reader: asyncio.StreamReader) -> bool:
    """Whether the server closes the connection within a second, without a response."""
    try:
        async with asyncio.timeout(1):
            return await reader.read(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


async def ask(port: int) -> bytes:
    reader, writer = await connect(port)
    writer.write(REQUEST)
    line = await reader.readline()
    writer.close()
    return line


@pytest.mark.parametrize("sent", [b"", b"GET / HT", REQUEST[:-2]])
async def test_protocol_connection_without_a_complete_head_is_closed(sent: bytes) -> None:
    async with serving(head_s=0.05) as (port, connections):
        reader, writer = await connect(port)
        writer.write(sent)
        assert await closed(reader)
        writer.close()
        await asyncio.sleep(0)
        assert len(connections) == 0


async def test_protocol_second_head_on_a_connection_has_the_same_time() -> None:
    async with serving(head_s=0.05) as (port, _):
        reader, writer = await connect(port)
        writer.write(REQUEST)
        assert b"200" in await reader.readline()
        while await reader.readline() != b"\r\n":
            pass
        await reader.readuntil(b"0\r\n\r\n")
        writer.write(b"GET")
        assert await closed(reader)
        writer.close()


async def test_protocol_slow_response_is_not_closed() -> None:
    async with serving(head_s=0.05) as (port, _):
        reader, writer = await connect(port)
        writer.write(REQUEST.replace(b"GET /", b"GET /slow"))
        assert b"200" in await reader.readline()
        writer.close()


async def test_protocol_large_head_is_closed() -> None:
    async with serving(head_bytes=10_000) as (port, _):
        reader, writer = await connect(port)
        writer.write(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 5000)
        assert await closed(reader)
        writer.close()


async def test_protocol_many_pipelined_requests_are_closed() -> None:
    async with serving(pipelined=4) as (port, _):
        reader, writer = await connect(port)
        writer.write(REQUEST.replace(b"GET /", b"GET /slow") + REQUEST * 10)
        assert await closed(reader)
        writer.close()


async def test_protocol_silent_connections_make_room_for_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(total=5) as (port, connections):
        silent = [await connect(port) for _ in range(20)]
        for _ in range(5):
            assert b"200" in await ask(port)
        assert len(connections) <= 5
        for _, writer in silent:
            writer.close()
    lines = [r.message for r in caplog.records if r.name == connection_limits.__name__]
    assert lines == ["Closed an idle connection to make room for a new one."]


async def test_protocol_unread_responses_make_room_for_others() -> None:
    async with serving(total=5) as (port, _):
        unread = [await connect(port) for _ in range(5)]
        for _, writer in unread:
            writer.write(REQUEST.replace(b"GET /", b"GET /large"))
        await asyncio.sleep(0.1)
        assert b"200" in await ask(port)
        for _, writer in unread:
            writer.transport.abort()


async def test_protocol_requests_in_progress_are_not_evicted() -> None:
    async with serving(total=2) as (port, _):
        working = [await connect(port) for _ in range(2)]
        for _, writer in working:
            writer.write(REQUEST.replace(b"GET /", b"GET /slow"))
        await asyncio.sleep(0.05)
        other, refused = await connect(port)
        assert await closed(other)
        refused.close()
        for reader, writer in working:
            assert b"200" in await reader.readline()
            writer.close()


async def test_protocol_websocket_upgrade_is_answered_as_a_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as (port, connections):
        reader, writer = await connect(port)
        upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        writer.write(REQUEST.replace(b"\r\n\r\n", b"\r\n" + upgrade))
        assert b"200" in await reader.readline()
        assert len(connections) == 1
        writer.close()
    assert not caplog.records


class _Transport:
    aborted = False

    def abort(self) -> None:
        self.aborted = True


class _Connection:
    def __init__(self) -> None:
        self.transport = _Transport()


def _connected(connections: Connections, host: str, *, idle: bool) -> Any:
    connection: Any = _Connection()
    if not connections.add(connection, host):
        return None
    connections.set_idle(connection, idle=idle)
    return connection


async def test_connections_limit_per_address_spares_other_addresses_and_loopback() -> None:
    connections = Connections(ConnectionLimits(per_address=2))
    assert all(_connected(connections, "192.0.2.1", idle=False) for _ in range(2))
    assert _connected(connections, "192.0.2.1", idle=False) is None
    assert _connected(connections, "192.0.2.2", idle=False)
    for host in ("127.0.0.1", "::1"):
        assert all(_connected(connections, host, idle=False) for _ in range(5))
    assert all(_connected(connections, f"2001:db8::{n}", idle=False) for n in (1, 2))
    assert _connected(connections, "2001:db8::3", idle=False) is None, "of the same /64 network"
    assert _connected(connections, "2001:db8:0:1::1", idle=False)


async def test_connections_total_limit_evicts_from_the_address_with_the_most() -> None:
    connections = Connections(ConnectionLimits(total=4))
    honest = _connected(connections, "192.0.2.1", idle=True)
    attacker = [_connected(connections, "192.0.2.2", idle=True) for _ in range(3)]
    assert _connected(connections, "192.0.2.3", idle=False)
    assert [each.transport.aborted for each in attacker] == [True, False, False]
    assert not honest.transport.aborted
    connections.remove(honest)
    assert len(connections) == 3


async def test_limit_connections_changes_the_server_of_gradio_only_inside() -> None:
    from gradio import http_server

    original = http_server.Server
    with limit_connections(ConnectionLimits(total=1)) as connections:
        config = uvicorn.Config(app, log_config=None)
        http_server.Server(config)
        config.load()
        protocol: Any = config.http_protocol_class
        made = protocol(config=config, server_state=uvicorn.server.ServerState(), app_state={})
        assert made._connections is connections
        assert config.backlog < 2048
    assert http_server.Server is original


# uvicorn ends its thread by SystemExit.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("fails", [False, True])
def test_limit_connections_waits_for_a_slow_start_as_long_as_the_server_runs(
    fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradio import http_server

    async def slow_app(_scope: Any, _receive: Any, send: Any) -> None:
        await asyncio.sleep(0.1)
        await send({"type": f"lifespan.startup.{'failed' if fails else 'complete'}"})

    hours = itertools.count(0, 3600)
    clock = SimpleNamespace(time=lambda: next(hours), sleep=time.sleep)
    monkeypatch.setattr(http_server, "time", clock)  # Gradio's five seconds have passed
    with limit_connections(ConnectionLimits(total=1)):
        server = http_server.Server(uvicorn.Config(slow_app, port=0, log_config=None))
    if fails:
        with pytest.raises(http_server.ServerFailedToStartError):
            server.run_in_thread()
    else:
        server.run_in_thread()
        assert server.started
        server.close()


def test_limit_connections_leaves_files_for_the_rest_of_the_app(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resource = pytest.importorskip("resource")
    limits = [(1024, 1024)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits.append(new))
    assert connection_limits._room() == 1024 - 256 - 128
    limits[:] = [(1024, 4096)]
    assert connection_limits._room() == 4096 - 256 - 128
    assert limits[-1] == (4096, 4096)
    limits[:] = [(256, resource.RLIM_INFINITY)]
    assert connection_limits._room() == 4096
    assert limits[-1][1] == resource.RLIM_INFINITY


async def test_refusal_log_counts_what_comes_within_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    from comfy_ui.web.http.handlers import RefusalLog

    log = RefusalLog(logging.getLogger("test.refusals"), interval_s=0.02)
    for _ in range(1000):
        log.add("Refused.")
    log.add("Closed.")
    await asyncio.sleep(0.1)
    assert [r.message for r in caplog.records] == [
        "Refused.",
        "Closed.",
        "Refused. (999 more times)",
    ]
