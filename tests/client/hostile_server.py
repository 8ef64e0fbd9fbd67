"""A server that misbehaves on purpose, over raw sockets."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
CLOSE = b"connection: close\r\n\r\n"
PIECE = b" " * 65536


@dataclass
class Peer:
    """One request, and the way to answer it."""

    path: str
    server: HostileServer
    writer: asyncio.StreamWriter

    async def send(self, content: bytes) -> None:
        self.writer.write(content)
        await self.writer.drain()
        self.server.sent_bytes += len(content)


Behavior = Callable[[Peer], Awaitable[None]]


@dataclass
class HostileServer:
    """Answers each request as ``behave`` says."""

    behave: Behavior
    url: str = ""
    sent_bytes: int = 0
    paths: list[str] = field(default_factory=list)
    talks: set[asyncio.Task[None]] = field(default_factory=set)

    def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.talks.add(asyncio.create_task(self._talk(reader, writer)))

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split()[1].decode()
            self.paths.append(path)
            await self.behave(Peer(path, self, writer))
            writer.close()
            await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has closed the connection
        finally:
            writer.transport.abort()

    async def close(self) -> None:
        """End all connections."""
        for talk in self.talks:
            talk.cancel()
        await asyncio.gather(*self.talks, return_exceptions=True)


@asynccontextmanager
async def hostile(behave: Behavior) -> AsyncIterator[HostileServer]:
    """Run a hostile server."""
    server = HostileServer(behave)
    listener = await asyncio.start_server(server, "127.0.0.1", 0)
    server.url = "http://127.0.0.1:%d" % listener.sockets[0].getsockname()[1]  # noqa: UP031
    try:
        yield server
    finally:
        listener.close()
        await server.close()


async def endless(peer: Peer) -> None:
    """A body without an end."""
    await peer.send(OK + CLOSE + b"{")
    while True:
        await peer.send(PIECE)


async def trickle(peer: Peer) -> None:
    """A body without an end, byte by byte."""
    await peer.send(OK + CLOSE)
    while True:
        await peer.send(b" ")
        await asyncio.sleep(0.02)


async def trickled_head(peer: Peer) -> None:
    """A head without an end, byte by byte."""
    await peer.send(OK + b"x: ")
    while True:
        await peer.send(b"x")
        await asyncio.sleep(0.02)


async def endless_head(peer: Peer) -> None:
    """Headers without an end."""
    await peer.send(OK)
    number = 0
    while True:
        number += 1
        await peer.send(b"".join(b"x-%d-%d: y\r\n" % (number, i) for i in range(1000)))


@cache
def gzip_bomb(size_bytes: int) -> bytes:
    """A compressed answer of this many blanks."""
    packer = zlib.compressobj(1, wbits=31)
    parts = [packer.compress(b" " * 2**20) for _ in range(size_bytes >> 20)]
    return OK + b"content-encoding: gzip\r\n" + CLOSE + b"".join(parts) + packer.flush()


def answering(content: bytes) -> Behavior:
    """A server that sends these bytes to each request."""

    async def behave(peer: Peer) -> None:
        await peer.send(content)

    return behave
