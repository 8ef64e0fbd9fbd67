"""HTTP/1.1 over asyncio for the async client: kept connections, one exchange at a time on each.

h11 speaks the protocol; here are only the connections and a pool of them. It takes httpx's requests
and gives its responses and errors, so it stands where httpx's own transport would, which costs four
times the CPU, and thirteen times in a burst: jobs whose pictures come from a cache take no longer
than that at the server. HTTP proxies and HTTP/2 are left to httpx.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import h11
import httpx

from .resolver import connected

_HEAD_LIMIT_BYTES = 128 * 1024
_PIECE_BYTES = 64 * 1024
_UNREAD_LIMIT_BYTES = 1024 * 1024


class Http1Transport(httpx.AsyncBaseTransport):
    """A pool of connections, used from one event loop.

    Args:
        tls: for https addresses; None trusts what this machine trusts.
        max_connections: at a time; further requests wait for one.
        keep_s: how long an unused connection is kept.
        guarded: whether addresses are looked at before they are connected to (see dial.py).
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        max_connections: int,
        keep_s: float,
        guarded: bool = False,
    ) -> None:
        self._tls, self._keep_s, self._guarded = tls, keep_s, guarded
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
            await _send(wire, request, timeouts.get("write"))
            head = await _head(wire, timeouts.get("read"))
        except BaseException:
            self._release(wire)
            raise
        return httpx.Response(
            head.status_code,
            headers=head.headers.raw_items(),
            stream=_Body(wire, timeouts.get("read"), self._release),
            request=request,
        )

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
        tls = (self._tls or True) if scheme == "https" else None
        try:
            async with asyncio.timeout(timeouts.get("connect")):
                _, wire = await asyncio.get_running_loop().create_connection(
                    lambda: _Wire(origin),
                    sock=await connected(host, port, guarded=self._guarded),
                    ssl=tls,
                    server_hostname=host if tls else None,
                )
        except TimeoutError as error:
            raise httpx.ConnectTimeout("no connection in time", request=request) from error
        except OSError as error:  # ssl.SSLError and socket.gaierror are kinds of it
            raise httpx.ConnectError(str(error), request=request) from error
        return wire

    def _release(self, wire: _Wire | None) -> None:
        self._free.release()
        if wire is None:
            return
        self._busy.discard(wire)
        if wire.renewed():
            wire.idle_since = time.monotonic()
            self._idle.append(wire)
        else:
            wire.abort()


class _Wire(asyncio.Protocol):
    """One connection: h11's view of it, what has arrived, and a way to wait for more."""

    def __init__(self, origin: tuple[str, str, int]) -> None:
        self.origin = origin
        self.http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_LIMIT_BYTES)
        self.idle_since = 0.0
        self._arrived = bytearray()
        self._ended = False
        self._error: Exception | None = None
        self._changed: asyncio.Future[None] | None = None
        self._writable = True
        self._reading = True
        self._transport: Any = None

    @property
    def quiet(self) -> bool:
        """Open, with nothing unread: whatever came unasked belongs to no answer."""
        return not self._ended and not self._arrived and not self.http.trailing_data[0]

    def renewed(self) -> bool:
        """Make ready for the next exchange; False when this one is not over, or was the last."""
        if self.http.our_state is not h11.DONE or self.http.their_state is not h11.DONE:
            return False
        self.http.start_next_cycle()
        return self.quiet

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def write(self, data: bytes, timeout_s: float | None) -> bool:
        """Whether to go on: not when the other side has something to say already."""
        self._transport.write(data)
        while not self._writable and self.quiet:
            await self._wait(timeout_s, httpx.WriteTimeout)
        return self.quiet

    async def event(self, timeout_s: float | None) -> Any:
        """The next thing that h11 makes of what arrives."""
        with _translated():
            while (event := self.http.next_event()) is h11.NEED_DATA:
                self.http.receive_data(await self._more(timeout_s))
        return event

    async def _more(self, timeout_s: float | None) -> bytes:
        """What has arrived; nothing at the end of the stream."""
        while not self._arrived:
            if self._error is not None:
                raise httpx.ReadError(str(self._error)) from self._error
            if self._ended:
                break
            if not self._reading:
                self._reading = True
                self._transport.resume_reading()
            await self._wait(timeout_s, httpx.ReadTimeout)
        arrived = bytes(self._arrived)
        self._arrived.clear()
        return arrived

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
        self._arrived += data
        if len(self._arrived) > _UNREAD_LIMIT_BYTES and self._reading:
            self._reading = False
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended, self._error = True, exc
        self._wake()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._wake()


class _Body(httpx.AsyncByteStream):
    """The body of one answer; closing it gives the connection back."""

    def __init__(
        self, wire: _Wire, timeout_s: float | None, release: Callable[[_Wire], None]
    ) -> None:
        self._wire, self._timeout_s = wire, timeout_s
        self._release: Callable[[_Wire], None] | None = release

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while isinstance(event := await self._wire.event(self._timeout_s), h11.Data):
            yield bytes(event.data)

    async def aclose(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release(self._wire)


async def _send(wire: _Wire, request: httpx.Request, timeout_s: float | None) -> None:
    """Send it all, or as much as the server wants to hear before it answers."""
    with _translated():
        head = h11.Request(
            method=request.method, target=request.url.raw_path, headers=request.headers.raw
        )
        waiting = wire.http.send(head) or b""
        async for part in cast("httpx.AsyncByteStream", request.stream):
            waiting += wire.http.send(h11.Data(data=part)) or b""
            # Small requests go in one piece: one packet, one system call.
            if len(waiting) >= _PIECE_BYTES:
                if not await wire.write(waiting, timeout_s):
                    return
                waiting = b""
        await wire.write(waiting + (wire.http.send(h11.EndOfMessage()) or b""), timeout_s)


async def _head(wire: _Wire, timeout_s: float | None) -> h11.Response:
    while isinstance(event := await wire.event(timeout_s), h11.InformationalResponse):
        pass
    return cast("h11.Response", event)  # h11 lets nothing else come first


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except h11.RemoteProtocolError as error:
        raise httpx.RemoteProtocolError(str(error)) from error
    except h11.LocalProtocolError as error:
        raise httpx.LocalProtocolError(str(error)) from error


def _origin(request: httpx.Request) -> tuple[str, str, int]:
    url = request.url
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)
