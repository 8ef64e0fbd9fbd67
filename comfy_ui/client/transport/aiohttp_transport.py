"""HTTP for the async client: aiohttp's connections behind httpx's transport interface.

Measured like HTTP/1.1 written by hand over h11, one request after the other; up to a fifth more CPU
in bursts. httpx-aiohttp 0.2 does not fit: it reports a connection that broke after the request was
sent as ``ConnectTimeout``, which means "nothing was sent", so a job could be queued twice; it has
no write time-out, and it keeps cookies.
HTTP proxies and HTTP/2 are left to httpx.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from functools import lru_cache
from typing import Any, Final, cast

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from . import resolver
from .options import CONNECT_TIMEOUT_S
from .request import SMALL_BYTES
from .ssrf import reachable

_MAX_HEADER_BYTES = 64 * 1024
_SLICE_BYTES = 64 * 1024
# httpx.Request has all the headers; aiohttp is to add none.
_NO_AUTO_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class AiohttpTransport(httpx.AsyncBaseTransport):
    """A pool of connections, used from one event loop.

    Args:
        tls: for https addresses; None trusts what this machine trusts.
        max_connections: how many at a time; further requests wait for one.
        keep_s: seconds for which an unused connection is kept.
        resolve_timeout_s: seconds that the name server may take; the connect time-out of a request
            begins after it.
        guarded: whether to refuse addresses that :mod:`.ssrf` refuses.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        max_connections: int,
        keep_s: float,
        resolve_timeout_s: float = CONNECT_TIMEOUT_S,
        guarded: bool = False,
    ) -> None:
        self._tls, self._guarded = tls, guarded
        self._resolve_timeout_s = resolve_timeout_s
        self._max_connections, self._keep_s = max_connections, keep_s
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the head of the answer; the response streams the body.

        Raises:
            httpx.TransportError: ConnectError and ConnectTimeout mean that nothing was sent.
        """
        timeouts: dict[str, float | None] = request.extensions.get("timeout", {})
        with _translated:
            if not _has_body(request):
                response = await self._send(request, timeouts)
            elif (content := _small_body(request)) is not None:
                response = await self._send(request, timeouts, content)
            else:
                response = await self._upload(request, timeouts)
        return httpx.Response(
            response.status,
            headers=response.raw_headers,
            stream=_Body(_checked(response)),
            request=request,
        )

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes | None,
        timeouts: Mapping[str, float | None],
    ) -> DirectResponse:
        """Send a request with a small body or none, without httpx's objects for it.

        They take as long as aiohttp's whole exchange. Arguments and errors are httpx's. ``headers``
        has all of ``PLAIN_HEADERS``, for which aiohttp has values of its own.
        """
        with _translated:
            response = await self._opened().request(
                method,
                _url(url),
                headers=headers,
                data=content,
                allow_redirects=False,
                timeout=_client_timeout(timeouts.get("connect"), timeouts.get("read")),
            )
        return DirectResponse(_checked(response))

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _upload(
        self, request: httpx.Request, timeouts: dict[str, float | None]
    ) -> aiohttp.ClientResponse:
        body = _RequestBody(request, timeouts.get("write"))
        try:
            async with asyncio.timeout(None) as deadline:
                return await self._send(request, timeouts, body.parts(deadline))
        except TimeoutError as error:
            if deadline.expired():
                raise httpx.WriteTimeout("the server does not read", request=request) from error
            raise
        except aiohttp.ClientError:
            if body.error is not None:
                raise body.error from None
            raise
        finally:
            body.finished = True

    async def _send(
        self,
        request: httpx.Request,
        timeouts: dict[str, float | None],
        body: AsyncIterator[bytes] | bytes | None = None,
    ) -> aiohttp.ClientResponse:
        return await self._opened().request(
            request.method,
            _url(str(request.url)),
            headers=[
                (name.decode("ascii"), value.decode("latin-1"))
                for name, value in request.headers.raw
                if name != b"Transfer-Encoding"  # aiohttp sets it
            ],
            data=body,
            skip_auto_headers=_NO_AUTO_HEADERS,
            allow_redirects=False,
            timeout=_client_timeout(timeouts.get("connect"), timeouts.get("read")),
        )

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:  # it belongs to the loop that first uses it
            connector = aiohttp.TCPConnector(
                limit=self._max_connections,
                keepalive_timeout=self._keep_s,
                ssl=self._tls or True,
                resolver=_Resolver(timeout_s=self._resolve_timeout_s, guarded=self._guarded),
                use_dns_cache=False,
                happy_eyeballs_delay=resolver.NEXT_ADDRESS_S,
                socket_factory=_guarded_socket if self._guarded else None,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,  # httpx.Response does that
                max_line_size=_MAX_HEADER_BYTES,
                max_field_size=_MAX_HEADER_BYTES,
            )
        return self._session


class _Resolver(AbstractResolver):
    """Resolves once for each connection; a guarded one leaves refused addresses out."""

    def __init__(self, *, timeout_s: float, guarded: bool) -> None:
        self._timeout_s, self._guarded = timeout_s, guarded

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 -- aiohttp asks for any
    ) -> list[ResolveResult]:
        try:
            async with asyncio.timeout(self._timeout_s):
                addresses = await resolver.resolve(host, port, guarded=self._guarded)
        except TimeoutError as error:
            raise OSError("the name server does not answer") from error
        return [
            ResolveResult(
                hostname=host,
                host=_numeric_host(address),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, _, protocol, _, address in addresses
        ]

    async def close(self) -> None:
        pass


def _numeric_host(address: Any) -> str:
    """The host of a socket address, with the zone of a link-local IPv6 address."""
    host, zone = str(address[0]), address[3] if len(address) > 3 else 0
    return f"{host}%{zone}" if zone and "%" not in host else host


def _guarded_socket(info: Any) -> socket.socket:
    """A socket for one address, refused at the last moment before it is connected.

    aiohttp does not resolve what looks like an IP address to it (``0251.0376.0251.0376``).
    """
    family, kind, protocol, _, address = info
    if not reachable(address[0]):
        raise ConnectionRefusedError("this address is not allowed")
    return socket.socket(family, kind, protocol)


class _RequestBody:
    """The body of a request on its way out, with a time-out for each part of it."""

    def __init__(self, request: httpx.Request, timeout_s: float | None) -> None:
        self.error: Exception | None = None
        length = request.headers.get("content-length")
        self._missing = int(length) if length is not None else None
        self._stream = cast("httpx.AsyncByteStream", request.stream)
        self._timeout_s = timeout_s
        self.finished = False
        """Whether the answer is there, or an error; the time-out is over then."""

    async def parts(self, deadline: asyncio.Timeout) -> AsyncIterator[bytes]:
        """Yield the body to aiohttp, which asks for the next part when it has sent the last."""
        try:
            async for part in self._stream:
                if self._missing is not None:
                    self._missing -= len(part)
                    if self._missing < 0:
                        raise httpx.LocalProtocolError("the body is longer than its length")
                # A slice at a time: one write of a large body would copy it and block the loop.
                for start in range(0, len(part), _SLICE_BYTES):
                    self._postpone(deadline, self._timeout_s)
                    yield part[start : start + _SLICE_BYTES]
            self._postpone(deadline, None)
            if self._missing:
                raise httpx.LocalProtocolError("the body is shorter than its length")
        except Exception as error:
            self.error = error
            raise

    def _postpone(self, deadline: asyncio.Timeout, timeout_s: float | None) -> None:
        if not self.finished:
            loop = asyncio.get_running_loop()
            deadline.reschedule(None if timeout_s is None else loop.time() + timeout_s)


class _Body(httpx.AsyncByteStream):
    """The body of one answer; closing it gives the connection back."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _translated:
            async for part in self._response.content.iter_any():
                yield part

    async def aclose(self) -> None:
        if self._response.content.is_eof():
            self._response.release()
        else:
            self._response.close()


class DirectResponse:
    """The part of :class:`httpx.Response` that :meth:`AsyncTransport.send` uses."""

    is_stream_consumed: Final = False

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.status_code = response.status
        self.headers: Mapping[str, str] = response.headers  # names in any case
        self.content = b""
        self._response = response
        self._body = _Body(response)

    def arrived(self) -> bytes | None:
        """Return the body if all of it is there, which is so for most small answers."""
        body = self._response.content
        if not body.is_eof():
            return None
        with _translated:
            return body.read_nowait()

    def aiter_raw(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives."""
        return aiter(self._body)

    async def aclose(self) -> None:
        await self._body.aclose()


@lru_cache(maxsize=64)
def _url(text: str) -> URL:
    return URL(text, encoded=True)


@lru_cache(maxsize=64)
def _client_timeout(connect_s: float | None, read_s: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(sock_connect=connect_s, sock_read=read_s)


def _has_body(request: httpx.Request) -> bool:
    headers = request.headers
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _small_body(request: httpx.Request) -> bytes | None:
    """The body if one write takes it whole, so that no write can wait for the server."""
    if not isinstance(request.stream, httpx.ByteStream):
        return None
    content, length = request.content, request.headers.get("content-length")
    return content if len(content) <= SMALL_BYTES and length == str(len(content)) else None


def _checked(response: aiohttp.ClientResponse) -> aiohttp.ClientResponse:
    """Refuse answers that aiohttp lets through and that this client never asked for."""
    encoding = response.headers.get("Transfer-Encoding", "chunked").lower()
    if response.status < 200 or encoding != "chunked":
        response.close()
        raise httpx.RemoteProtocolError("the server switches to another protocol or encoding")
    return response


class _Translated:
    """Raises httpx's errors for aiohttp's. A context manager made of a generator takes longer."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        match error:
            case aiohttp.ConnectionTimeoutError():
                raise httpx.ConnectTimeout("no connection in time") from error
            case aiohttp.SocketTimeoutError():
                raise httpx.ReadTimeout("the server was silent") from error
            case aiohttp.ClientConnectorError():
                raise httpx.ConnectError(str(error)) from (error.__cause__ or error)
            case aiohttp.ClientResponseError():
                raise httpx.RemoteProtocolError(str(error)) from error
            case aiohttp.ClientError() | HttpProcessingError() | OSError():
                raise httpx.ReadError(str(error)) from error
            case ValueError():  # a line break in a header
                raise httpx.LocalProtocolError(str(error)) from error


_translated = _Translated()
