"""A proxy that misbehaves on purpose, between a client and a ComfyUI server.

Plain asyncio on TCP streams. It reads requests and WebSocket messages only so far as to know
what they are, forwards them as they came, and lets one armed fault act on them::

    with FaultProxy(server.url).in_thread() as proxy:
        proxy.arm("lost_response", phase="submit", times=1)
        ComfyClient(url=proxy.url).run(graph)

What went through is on record (``accepted``, ``hits``, ``leaked``), for the oracle.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from comfy_ui.demo.demo_server import stop_accepting
from tests.faults import wire

Phase = Literal["connect", "submit", "run", "fetch", "other"]
Fault = Callable[["Exchange"], Awaitable[None]]
SocketFault = Callable[["Connection", AsyncIterator[wire.Frame]], AsyncIterator[wire.Frame]]


class Reset(Exception):  # noqa: N818 -- an order, not an error
    """Raised by a fault: end this connection with a TCP reset."""


class Cut(Exception):  # noqa: N818
    """Raised by a fault: close this connection with a FIN and no close frame."""


def phase_of(method: str, path: str) -> Phase:
    """Return the phase of a job that a request belongs to."""
    route = path.partition("?")[0].removeprefix("/api")
    if route == "/prompt" and method == "POST":
        return "submit"
    if route == "/view":
        return "fetch"
    if route == "/ws":
        return "connect"
    if route.startswith(("/queue", "/history", "/jobs")) and method == "GET":
        return "run"
    return "other"


@dataclass
class Armed:
    """A fault waiting for its requests."""

    act: Fault
    phase: Phase
    times: int


@dataclass
class ArmedSocket:
    """A fault waiting for WebSocket connections."""

    act: SocketFault
    times: int


@dataclass
class Exchange:
    """One HTTP request that a fault acts on."""

    proxy: FaultProxy
    connection: Connection
    head: wire.Head

    async def body(self) -> bytes:
        return await self.connection.request_body(self.head)

    async def forward(self) -> wire.Response:
        """Send the request to the server; its response is not sent to the client yet."""
        return await self.connection.forward(self.head, await self.body())

    async def answer(self, response: wire.Response) -> None:
        await self.connection.send(response.encode())


class Connection:
    """One TCP connection of the client, with its own connection to the server behind it."""

    def __init__(
        self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.proxy = proxy
        self.number = 0  # of the WebSocket connections, counting from 1
        self._reader, self._writer = reader, writer
        self._upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._body: bytes | None = None

    async def serve(self) -> None:
        try:
            while (head := await wire.read_head(self._reader)) is not None:
                self._body = None
                if key := head.get("Authorization"):
                    self.proxy.secrets.append(key)
                if head.get("Upgrade").lower() == "websocket":
                    await self._serve_upgrade(head)
                    return
                await self._serve_request(head)
        except Reset:
            self._reset()
        except (Cut, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.close()

    def abort(self) -> None:
        self._writer.transport.abort()
        if self._upstream:
            self._upstream[1].transport.abort()

    def close(self) -> None:
        self._writer.close()
        if self._upstream:
            self._upstream[1].close()

    def _reset(self) -> None:
        sock: socket.socket = self._writer.get_extra_info("socket")
        with suppress(OSError):  # the client may be gone already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def hold(self) -> None:
        """Send nothing until the client closes the connection."""
        while await self._reader.read(2**16):
            pass
        raise Cut

    async def request_body(self, head: wire.Head) -> bytes:
        if self._body is None:
            self._body = await wire.read_body(self._reader, head)
        return self._body

    async def forward(self, head: wire.Head, body: bytes) -> wire.Response:
        method, path = head.line.split(" ")[:2]
        reader, writer = await self._server()
        writer.write(head.encode() + body)
        await writer.drain()
        response = await wire.read_response(reader, method)
        self.proxy.note(method, path, body, response)
        return response

    async def _server(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._upstream is None:
            host, port = self.proxy.upstream
            self._upstream = await asyncio.open_connection(host, port, limit=wire.LIMIT_BYTES)
        return self._upstream

    async def _serve_request(self, head: wire.Head) -> None:
        method, path = head.line.split(" ")[:2]
        exchange = Exchange(self.proxy, self, head)
        if fault := self.proxy.take(phase_of(method, path)):
            await fault(exchange)
        else:
            await exchange.answer(await exchange.forward())

    async def _serve_upgrade(self, head: wire.Head) -> None:
        if fault := self.proxy.take("connect"):
            await fault(Exchange(self.proxy, self, head))
            return
        self.proxy.sockets += 1
        self.number = self.proxy.sockets
        response = await self.forward(head.without("Sec-WebSocket-Extensions"), b"")
        await self.send(response.encode())
        if response.status != 101:
            return
        pumps = [asyncio.create_task(pump) for pump in (self._pump_up(), self._pump_down())]
        try:
            done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        for task in done:
            task.result()

    async def _pump_up(self) -> None:
        _, writer = await self._server()
        while data := await self._reader.read(2**16):
            writer.write(data)
            await writer.drain()

    async def _pump_down(self) -> None:
        frames = self._frames()
        if fault := self.proxy.take_socket():
            frames = fault(self, frames)
        async for frame in frames:
            await self.send(frame.encode())
            if frame.opcode == wire.CLOSE:
                await asyncio.sleep(0.05)  # the other side may answer with its own close frame
                return

    async def _frames(self) -> AsyncIterator[wire.Frame]:
        reader, _ = await self._server()
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                yield await wire.read_frame(reader)


class FaultProxy:
    """Stands before the server at ``upstream_url``; transparent until a fault is armed."""

    def __init__(
        self, upstream_url: str, *, seed: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        parts = urlsplit(upstream_url)
        self.upstream = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.rng = random.Random(seed)
        self.sockets = 0
        self.thief: FaultProxy | None = None  # where cross-origin redirects point to
        self._tls = tls
        self._armed: list[Armed] = []
        self._armed_sockets: list[ArmedSocket] = []
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        self._server: asyncio.Server | None = None
        self._port = 0
        self._background: set[asyncio.Task[None]] = set()
        self.forget()

    # -- what the tests see

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    @property
    def open_connections(self) -> int:
        """Connections that the client holds open. Zero after it is closed, or it leaks."""
        return len(self._connections)

    def forget(self) -> None:
        """Disarm everything and clear the record: the next job starts from nothing."""
        self._armed, self._armed_sockets = [], []
        self.accepted: list[tuple[str, dict[str, Any]]] = []  # (prompt_id, graph) the server took
        self.hits = 0  # how often a fault acted
        self.sockets = 0
        self.seen: list[str] = []  # "METHOD /path" of each request that reached the server
        self.secrets: list[str] = []  # received Authorization headers

    def arm(self, act: Fault, *, phase: Phase, times: int = 1) -> None:
        self._armed.append(Armed(act, phase, times))

    def arm_socket(self, act: SocketFault, *, times: int = 1) -> None:
        self._armed_sockets.append(ArmedSocket(act, times))

    # -- what connections ask

    def take(self, phase: Phase) -> Fault | None:
        for armed in self._armed:
            if armed.phase == phase and armed.times > 0:
                armed.times -= 1
                self.hits += 1
                return armed.act
        return None

    def take_socket(self) -> SocketFault | None:
        for armed in self._armed_sockets:
            if armed.times > 0:
                armed.times -= 1
                self.hits += 1
                return armed.act
        return None

    def note(self, method: str, path: str, body: bytes, response: wire.Response) -> None:
        self.seen.append(f"{method} {path}")
        if phase_of(method, path) == "submit" and response.status == 200:
            self.accepted.append((response.json()["prompt_id"], json.loads(body)["prompt"]))

    async def refuse_for(self, seconds: float) -> None:
        """Refuse connections to this port for a while, and reset established ones."""
        if self._server is None:
            return
        await self._close()
        for connection in self._connections:
            connection._reset()
        task = asyncio.create_task(self._listen_after(seconds))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _listen_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._listen()

    # -- start and stop

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._background:
            task.cancel()
        await self._close()
        open_ = dict(self._connections)
        for task in open_.values():
            task.cancel()
        await asyncio.gather(*open_.values(), *self._background, return_exceptions=True)
        for connection in open_:  # discard the rest of their data
            connection.abort()
        for _ in range(5):  # let connections that were just accepted fail
            await asyncio.sleep(0)

    async def _close(self) -> None:
        server, self._server = self._server, None
        if server:
            await stop_accepting(server)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self._port, limit=wire.LIMIT_BYTES, ssl=self._tls
        )
        self._port = self._server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None:  # accepted while the proxy was closing
            writer.transport.abort()
            return
        connection = Connection(self, reader, writer)
        task = asyncio.current_task()
        assert task is not None
        self._connections[connection] = task
        try:
            await connection.serve()
        finally:
            del self._connections[connection]

    @contextmanager
    def in_thread(self) -> Iterator[FaultProxy]:
        """Run the proxy in a thread with its own loop, so that a test cannot block it."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="fault-proxy", daemon=True)
        thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self.__aenter__(), loop).result(5)
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self.__aexit__(), loop).result(5)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(5)
            loop.close()
