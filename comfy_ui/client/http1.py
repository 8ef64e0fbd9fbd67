"""HTTP/1.1 over asyncio for the async client: kept connections, one exchange at a time on each.

Takes httpx's requests and gives its responses and errors, so it stands where httpx's own transport
would. That one costs about 1.5 ms of CPU a request; jobs whose pictures come from a cache take no
longer than that at the server. HTTP proxies and HTTP/2 are left to httpx.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple, cast

import httpx

_HEAD_LIMIT_BYTES = 128 * 1024
_BUFFER_LIMIT_BYTES = 1024 * 1024
# Of two addresses of a name (localhost is ::1 and 127.0.0.1), the second gets its turn this soon.
_NEXT_ADDRESS_S = 0.25


class Http1Transport(httpx.AsyncBaseTransport):
    """A pool of connections, used from one event loop.

    Args:
        tls: for https addresses; None trusts what this machine trusts.
        max_connections: at a time; further requests wait for one.
        keep_s: how long an unused connection is kept.
    """

    def __init__(
        self, *, tls: ssl.SSLContext | None = None, max_connections: int, keep_s: float
    ) -> None:
        self._tls, self._keep_s = tls, keep_s
        self._free = asyncio.Semaphore(max_connections)
        self._idle: deque[_Wire] = deque()
        self._busy: set[_Wire] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it, and give the head of the answer; the body is read through the response.

        Raises:
            httpx.TransportError: ConnectError and ConnectTimeout mean that nothing was sent.
        """
        timeouts: dict[str, float | None] = request.extensions.get("timeout", {})
        await self._free.acquire()
        wire: _Wire | None = None
        try:
            wire = self._reusable(_origin(request)) or await self._open(request, timeouts)
            self._busy.add(wire)
            sent_all = await _send(wire, request, timeouts.get("write"))
            head = await _read_head(wire, timeouts.get("read"))
        except BaseException:
            self._release(wire, keep=False)
            raise
        body = _Body(
            wire,
            head,
            empty=request.method == "HEAD" or head.status in (204, 304),
            timeout_s=timeouts.get("read"),
            release=lambda whole: self._release(wire, keep=whole and sent_all and head.keep),
        )
        return httpx.Response(head.status, headers=head.headers, stream=body, request=request)

    async def aclose(self) -> None:
        for wire in (*self._idle, *self._busy):
            wire.abort()
        self._idle.clear()

    def _reusable(self, origin: tuple[str, str, int]) -> _Wire | None:
        """The connection used last, so that those not needed grow old."""
        old = time.monotonic() - self._keep_s
        while self._idle and (self._idle[0].idle_since < old or not self._idle[0].quiet):
            self._idle.popleft().abort()
        for _ in range(len(self._idle)):
            wire = self._idle.pop()
            if not wire.quiet:
                wire.abort()
            elif wire.origin == origin:
                return wire
            else:
                self._idle.appendleft(wire)
        return None

    async def _open(self, request: httpx.Request, timeouts: dict[str, float | None]) -> _Wire:
        scheme, host, port = origin = _origin(request)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeouts.get("connect")):
                _, wire = await loop.create_connection(
                    lambda: _Wire(origin),
                    host,
                    port,
                    ssl=(self._tls or True) if scheme == "https" else None,
                    happy_eyeballs_delay=_NEXT_ADDRESS_S,
                )
        except TimeoutError as error:
            raise httpx.ConnectTimeout("no connection in time", request=request) from error
        except OSError as error:  # ssl.SSLError and socket.gaierror are kinds of it
            raise httpx.ConnectError(str(error), request=request) from error
        return wire

    def _release(self, wire: _Wire | None, *, keep: bool) -> None:
        self._free.release()
        if wire is None:
            return
        self._busy.discard(wire)
        if keep and wire.quiet:
            wire.idle_since = time.monotonic()
            self._idle.append(wire)
        else:
            wire.abort()


class _Head(NamedTuple):
    status: int
    headers: list[tuple[bytes, bytes]]
    length_bytes: int | None
    """None: until the connection closes, unless chunked."""
    chunked: bool
    keep: bool


class _Wire(asyncio.Protocol):
    """One connection: what has arrived, and a way to wait for more."""

    def __init__(self, origin: tuple[str, str, int]) -> None:
        self.origin = origin
        self.idle_since = 0.0
        self.buffer = bytearray()
        self.ended = False
        self.error: Exception | None = None
        self._changed: asyncio.Future[None] | None = None
        self._writable = True
        self._reading = True
        self._transport: Any = None

    @property
    def quiet(self) -> bool:
        """Open, with nothing unread: whatever came unasked belongs to no answer."""
        return not self.ended and not self.buffer

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def writable(self, timeout_s: float | None) -> None:
        """Until the other side takes more, or has something to say before it has heard all."""
        while not self._writable and self.quiet:
            await self._wait(timeout_s, httpx.WriteTimeout)

    async def more(self, timeout_s: float | None) -> bool:
        """Wait for bytes; False at the end of the stream."""
        had = len(self.buffer)
        while len(self.buffer) == had:
            if self.error is not None:
                raise httpx.ReadError(str(self.error)) from self.error
            if self.ended:
                return False
            if not self._reading:
                self._reading = True
                self._transport.resume_reading()
            await self._wait(timeout_s, httpx.ReadTimeout)
        return True

    def take(self, count: int) -> bytes:
        data = bytes(memoryview(self.buffer)[:count])
        del self.buffer[:count]
        return data

    async def _wait(self, timeout_s: float | None, late: type[httpx.TimeoutException]) -> None:
        self._changed = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed
        except TimeoutError as error:
            raise late("the server was silent") from error
        finally:
            self._changed = None

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    # -- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if len(self.buffer) > _BUFFER_LIMIT_BYTES and self._reading:
            self._reading = False
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self.ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended, self.error = True, exc
        self._wake()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._wake()


class _Body(httpx.AsyncByteStream):
    """The body of one answer; closing it gives the connection back."""

    def __init__(
        self,
        wire: _Wire,
        head: _Head,
        *,
        empty: bool,
        timeout_s: float | None,
        release: Callable[[bool], None],
    ) -> None:
        self._wire, self._head, self._timeout_s = wire, head, timeout_s
        self._release: Callable[[bool], None] | None = release
        self._whole = empty or head.length_bytes == 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._whole:
            return
        if self._head.chunked:
            parts = self._chunks()
        elif self._head.length_bytes is not None:
            parts = self._counted(self._head.length_bytes)
        else:
            parts = self._until_closed()
        async for part in parts:
            yield part
        self._whole = True

    async def aclose(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release(self._whole)

    async def _counted(self, left: int) -> AsyncIterator[bytes]:
        wire = self._wire
        while left:
            if not wire.buffer and not await wire.more(self._timeout_s):
                raise _cut()
            part = wire.take(min(left, len(wire.buffer)))
            left -= len(part)
            yield part

    async def _until_closed(self) -> AsyncIterator[bytes]:
        wire = self._wire
        while wire.buffer or await wire.more(self._timeout_s):
            yield wire.take(len(wire.buffer))

    async def _chunks(self) -> AsyncIterator[bytes]:
        while size := _chunk_size(await self._line()):
            async for part in self._counted(size):
                yield part
            if await self._line():
                raise httpx.RemoteProtocolError("a chunk is longer than announced")
        while await self._line():  # trailers say nothing that is asked for here
            pass

    async def _line(self) -> bytes:
        wire = self._wire
        while (end := wire.buffer.find(b"\r\n")) < 0:
            if len(wire.buffer) > _HEAD_LIMIT_BYTES:
                raise httpx.RemoteProtocolError("a line of a chunked body has no end")
            if not await wire.more(self._timeout_s):
                raise _cut()
        return wire.take(end + 2)[:-2]


async def _send(wire: _Wire, request: httpx.Request, timeout_s: float | None) -> bool:
    """Whether all went out. Not all does when the server answers before it has heard all."""
    lines = [b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [b"%s: %s" % (name, value) for name, value in request.headers.raw]
    head = b"\r\n".join(lines) + b"\r\n\r\n"
    stream = request.stream
    if isinstance(stream, httpx.ByteStream):
        wire.write(head + request.content)  # in one piece: one packet, one system call
        return True
    wire.write(head)
    chunked = "transfer-encoding" in request.headers
    async for part in cast("httpx.AsyncByteStream", stream):
        wire.write(b"%x\r\n%s\r\n" % (len(part), part) if chunked and part else part)
        await wire.writable(timeout_s)
        if not wire.quiet:
            return False
    if chunked:
        wire.write(b"0\r\n\r\n")
    return True


async def _read_head(wire: _Wire, timeout_s: float | None) -> _Head:
    while True:
        while (end := wire.buffer.find(b"\r\n\r\n")) < 0:
            if len(wire.buffer) > _HEAD_LIMIT_BYTES:
                raise httpx.RemoteProtocolError("the head of the answer has no end")
            if not await wire.more(timeout_s):
                raise httpx.RemoteProtocolError("the server closed without an answer")
        head = _parse_head(wire.take(end + 4))
        if head.status >= 200:
            return head


def _parse_head(raw: bytes) -> _Head:
    first, *lines = raw[:-4].split(b"\r\n")
    version, _, rest = first.partition(b" ")
    code = rest[:3]
    if version not in (b"HTTP/1.1", b"HTTP/1.0") or not code.isdigit() or code < b"100":
        raise httpx.RemoteProtocolError("the answer is not HTTP")
    headers: list[tuple[bytes, bytes]] = []
    lengths: set[bytes] = set()
    chunked, keep = False, version == b"HTTP/1.1"
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip():
            raise httpx.RemoteProtocolError("a header of the answer cannot be read")
        value = value.strip()
        headers.append((name, value))
        match name.lower():
            case b"content-length":
                lengths.add(value)
            case b"transfer-encoding":
                chunked = value.lower().endswith(b"chunked")
            case b"connection":
                told = value.lower()
                keep = b"close" not in told and (keep or b"keep-alive" in told)
    if len(lengths) > 1 or not all(length.isdigit() for length in lengths):
        raise httpx.RemoteProtocolError("the length of the answer cannot be read")
    length = int(lengths.pop()) if lengths and not chunked else None
    return _Head(int(code), headers, length, chunked, keep)


def _chunk_size(line: bytes) -> int:
    digits = line.partition(b";")[0].strip()
    try:
        if digits[:1] in b"+-":
            raise ValueError
        return int(digits, 16)
    except ValueError as error:
        raise httpx.RemoteProtocolError("the size of a chunk cannot be read") from error


def _cut() -> httpx.RemoteProtocolError:
    return httpx.RemoteProtocolError("the connection closed before the whole answer had come")


def _origin(request: httpx.Request) -> tuple[str, str, int]:
    url = request.url
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)
