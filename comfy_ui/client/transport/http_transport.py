"""HTTP transports of both clients: send an :class:`ApiRequest`, return its :class:`ApiResponse`.

Every HTTP exchange passes :meth:`SyncTransport.send` or :meth:`AsyncTransport.send`, and
:func:`translate` turns every error of httpx into ours. So the circuit breaker and tracing are here.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeVar
from urllib.parse import quote_plus, urlsplit

import httpx

from ...errors import (
    AuthenticationError,
    ComfyHeadlessError,
    ComfyUIConnectionError,
    ComfyUIOfflineError,
    InvalidAddressError,
    ValidationError,
)
from ...logging import redact
from ...telemetry import inject
from .answer_body import AnswerBody, SlowAnswerError
from .circuit_breakers import CircuitBreaker
from .deadline import DeadlineTransport, deadline
from .request import SMALL_BYTES, ApiRequest, ApiResponse, Receiver
from .resolver import GuardedTransport
from .server_address import PLAIN_HEADERS, ServerAddress
from .threads import run_in_thread

if TYPE_CHECKING:
    from .aiohttp_transport import AiohttpTransport, DirectResponse

T = TypeVar("T")
logger = logging.getLogger(__name__)

_MAX_REDIRECTS = 5
_SLOWEST_UPLOAD = 16 * 1024  # bytes per second


def closed_client() -> ComfyUIConnectionError:
    """The error of any call after the client was closed."""
    return ComfyUIConnectionError(
        "This client is closed.", hint="Use it inside its 'with' block.", retryable=False
    )


def checked_transport(http: object, kind: type[T]) -> T | None:
    """Return ``http=`` of a client as a transport of this kind.

    Raises:
        ValidationError: it is something else.
    """
    if http is None or isinstance(http, kind):
        return http
    raise ValidationError(
        f"http= must be an httpx.{kind.__name__}, not a {type(http).__name__}.",
        hint="Pass httpx.HTTPTransport(…) to ComfyClient, httpx.AsyncHTTPTransport(…) to "
        "ComfyWSClient.",
    )


class _Transport:
    """What both transports share: the circuit breaker, the log and the translation of errors."""

    def __init__(self, server: ServerAddress, breaker: CircuitBreaker | None) -> None:
        self._server, self._breaker = server, breaker
        self._closed = False

    def _begin(self) -> float:
        """Let a request through; return when it began."""
        if self._closed:
            raise closed_client()
        if self._breaker:
            self._breaker.check()
        return time.monotonic()

    def _answered(self, answer: ApiResponse, began: float) -> ApiResponse:
        if self._breaker:
            self._breaker.record(reached=True)
        self._log(answer.where, answer.status, began)
        return answer

    def _failed(self, error: Exception, call: ApiRequest[Any], began: float) -> ComfyHeadlessError:
        if self._breaker:
            self._breaker.record(reached=False)
        self._log(call.where, type(error).__name__, began)
        return translate(error, self._server, call)

    def _log(self, where: str, outcome: object, began: float) -> None:
        took_ms = (time.monotonic() - began) * 1000
        logger.debug("%s %s: %s in %.0f ms", self._server.address, where, outcome, took_ms)


class SyncTransport(_Transport):
    """HTTP for :class:`~comfy_ui.client.ComfyClient`. Safe to use from several threads."""

    def __init__(
        self,
        server: ServerAddress,
        *,
        breaker: CircuitBreaker | None = None,
        http: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__(server, breaker)
        limits = _limits(server)
        if http is None and server.guarded:
            fresh = httpx.Limits(
                max_connections=limits.max_connections, max_keepalive_connections=0
            )
            http = GuardedTransport(DeadlineTransport(verify=server.tls or False, limits=fresh))
        elif http is None and not server.trust_env:  # httpx knows the proxies
            http = DeadlineTransport(
                verify=server.tls or False, limits=limits, proxy=server.options.proxy
            )
        self._client = httpx.Client(
            verify=server.tls or False,
            trust_env=server.trust_env,
            limits=limits,
            transport=http,
        )

    def send(self, call: ApiRequest[Any], receiver: Receiver | None = None) -> ApiResponse:
        """Send a request and return its answer, whatever the status.

        A ``receiver`` that accepts the body gets it in pieces; the answer's content is empty then.

        Raises:
            ComfyUIConnectionError: there was no complete answer (ComfyUIOfflineError: nothing was
                sent).
        """
        began = self._begin()
        try:
            with _Exchange(self._server, call) as exchange:
                answer = self._exchanged(exchange, receiver)
        except _HTTPX_ERRORS as error:
            raise self._failed(error, call, began) from error
        return self._answered(answer, began)

    def _exchanged(self, exchange: _Exchange, receiver: Receiver | None) -> ApiResponse:
        while True:
            response = self._head(exchange)
            try:
                if exchange.redirected(response):
                    continue
                answer = exchange.answer(response)
                if response.is_stream_consumed:  # by a transport that sends whole answers
                    return _whole(answer, response.content, receiver)
                streamed = receiver is not None and receiver.begin(answer)
                body = AnswerBody(
                    exchange.call,
                    answer.headers,
                    receiver if streamed else None,
                    now=time.monotonic(),
                )
                for chunk in response.iter_raw():
                    body.add(chunk, time.monotonic())
                return answer if streamed else _with(answer, body.content())
            finally:
                response.close()

    def _head(self, exchange: _Exchange) -> httpx.Response:
        started = time.monotonic()
        try:
            with deadline(exchange.head_s):
                return self._client.send(exchange.request(), stream=True)
        except httpx.ReadTimeout as error:
            if exchange.head_s is not None and time.monotonic() - started >= exchange.head_s:
                raise SlowAnswerError from error
            raise

    def close(self) -> None:
        """Close all connections."""
        self._closed = True
        self._client.close()


class AsyncTransport(_Transport):
    """HTTP for :class:`~comfy_ui.client.ComfyWSClient`, within one event loop."""

    def __init__(
        self,
        server: ServerAddress,
        *,
        breaker: CircuitBreaker | None = None,
        http: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(server, breaker)
        options = server.options
        if http is None and (server.trust_env or options.proxy):  # httpx knows proxies
            http = _ByClient(
                httpx.AsyncClient(
                    verify=server.tls or False,
                    trust_env=server.trust_env,
                    limits=_limits(server),
                    proxy=options.proxy,
                )
            )
        self._direct: AiohttpTransport | None = None
        if http is None:
            from .aiohttp_transport import AiohttpTransport  # of the extra, like this client

            http = self._direct = AiohttpTransport(
                tls=server.tls,
                max_connections=options.max_connections,
                keep_s=options.keep_alive_s,
                resolve_timeout_s=server.connect_timeout_s,
                guarded=server.guarded,
            )
        self._http = http
        self._places = asyncio.Semaphore(options.max_connections)

    async def send(self, call: ApiRequest[Any], receiver: Receiver | None = None) -> ApiResponse:
        """Send a request and return its answer, whatever the status.

        A ``receiver`` that accepts the body gets it in pieces, in a thread if it blocks; the
        answer's content is empty then.

        Raises:
            ComfyUIConnectionError: there was no complete answer (ComfyUIOfflineError: nothing was
                sent).
        """
        began = self._begin()
        try:
            with _Exchange(self._server, call) as exchange:
                # A place may take long while others use all of them, so the limit begins after it.
                async with self._places, asyncio.timeout(exchange.head_s) as limit:
                    answer = await self._exchanged(exchange, receiver, limit)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise self._failed(SlowAnswerError(), call, began) from error
        except _HTTPX_ERRORS as error:
            raise self._failed(error, call, began) from error
        return self._answered(answer, began)

    async def _exchanged(
        self, exchange: _Exchange, receiver: Receiver | None, limit: asyncio.Timeout
    ) -> ApiResponse:
        clock = asyncio.get_running_loop().time
        while True:
            response, whole = await self._respond(exchange)
            try:
                if exchange.redirected(response):
                    continue
                answer = exchange.answer(response)
                if response.is_stream_consumed:  # by a transport that sends whole answers
                    return _whole(answer, response.content, receiver)
                streamed = receiver is not None and receiver.begin(answer)
                body = AnswerBody(
                    exchange.call, answer.headers, receiver if streamed else None, now=clock()
                )
                if whole is not None:
                    await _add(body, whole, clock())
                else:
                    limit.reschedule(body.deadline)
                    async for chunk in response.aiter_raw():
                        await _add(body, chunk, clock())
                        if limit.when() != body.deadline:
                            limit.reschedule(body.deadline)
                return answer if streamed else _with(answer, body.content())
            finally:
                await response.aclose()

    async def _respond(
        self, exchange: _Exchange
    ) -> tuple[httpx.Response | DirectResponse, bytes | None]:
        """The answer, and its raw body if all of it has come with the head."""
        if self._direct is None or not exchange.is_small:
            return await self._http.handle_async_request(exchange.request()), None
        response = await self._direct.send(
            exchange.call.method,
            exchange.url,
            exchange.headers(),
            exchange.call.body,
            exchange.timeouts,
        )
        return response, response.arrived()

    async def close(self) -> None:
        """Close all connections."""
        self._closed = True
        await self._http.aclose()


def _whole(answer: ApiResponse, content: bytes, receiver: Receiver | None) -> ApiResponse:
    if receiver is not None and receiver.begin(answer):
        receiver.write(content)
        return answer
    return _with(answer, content)


async def _add(body: AnswerBody, chunk: bytes, now: float) -> None:
    if body.blocking:
        await run_in_thread(body.add, chunk, now)
    else:
        body.add(chunk, now)


def _with(head: ApiResponse, content: bytes) -> ApiResponse:
    return ApiResponse(head.status, head.headers, content, head.where)


def _limits(server: ServerAddress) -> httpx.Limits:
    options = server.options
    return httpx.Limits(
        max_connections=options.max_connections,
        max_keepalive_connections=options.max_connections,
        keepalive_expiry=options.keep_alive_s,
    )


class _ByClient(httpx.AsyncBaseTransport):
    """An httpx client as a transport, for proxies."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._client.send(request, stream=True)

    async def aclose(self) -> None:
        await self._client.aclose()


# httpx does not translate TLS errors of a connection that breaks in the middle of a body.
_HTTPX_ERRORS = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ssl.SSLError)


def translate(error: Exception, server: ServerAddress, call: ApiRequest[Any]) -> ComfyHeadlessError:
    """The error of this package for an error of httpx.

    :class:`ComfyUIOfflineError` means that nothing of the request was sent.
    """
    where = server.address
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return InvalidAddressError(f"'{where}' is not the address of a server.")
    causes = list(_causes(error))
    if any(isinstance(cause, ssl.SSLError) or "[SSL" in str(cause) for cause in causes):
        return _tls_error(error, server)
    if isinstance(error, httpx.ConnectError):
        if any(isinstance(cause, socket.gaierror) for cause in causes):
            return ComfyUIOfflineError(
                f"There is no host '{where.host}'.", hint="Check the spelling of the address."
            )
        return ComfyUIOfflineError(f"Nothing answers at {where}.", hint=_port_hint(server))
    if isinstance(error, httpx.ConnectTimeout):
        return ComfyUIOfflineError(
            f"No connection to {where} within {server.connect_timeout_s:g} s.",
            hint=_port_hint(server),
        )
    if isinstance(error, httpx.ProxyError):
        return ComfyUIConnectionError(
            f"The proxy failed: {redact(str(error))}.",
            hint="Check ClientOptions.proxy, or HTTP_PROXY and HTTPS_PROXY with trust_env=True.",
        )
    if isinstance(error, SlowAnswerError):
        return ComfyUIConnectionError(
            f"{where} did not complete its answer to {call.where} in time.",
            hint="It, or the network in between, sends too slowly: try again later.",
        )
    if isinstance(error, httpx.TimeoutException):
        timeout_s = call.timeout_s or server.timeout_s
        silence = ComfyUIConnectionError(
            f"{where} was silent for {timeout_s:g} s on {call.where}.",
            hint="It may be busy loading a model: try again, or raise timeout=.",
        )
        silence.silent = isinstance(error, httpx.ReadTimeout)
        return silence
    return ComfyUIConnectionError(
        f"The connection to {where} broke on {call.where}.",
        hint="Check that ComfyUI is still running, then try again.",
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _tls_error(error: Exception, server: ServerAddress) -> ComfyUIConnectionError:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return ComfyUIConnectionError(
            f"The certificate of {server.address} is not trusted.",
            hint="Pass verify='path/to/ca.pem' for a certificate of your own, "
            "or verify=False to accept it unchecked.",
            retryable=False,
        )
    if "CERTIFICATE_REQUIRED" in text:
        return AuthenticationError(
            f"{server.address} requires a client certificate, or a different one.",
            hint="Pass cert='path/to/certificate.pem', or (certificate, key).",
        )
    if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER" in text:
        return ComfyUIConnectionError(
            f"{server.address} does not speak TLS.",
            hint="Use http:// instead of https://.",
            retryable=False,
        )
    return ComfyUIConnectionError(f"The secure connection to {server.address} failed.")


def _port_hint(server: ServerAddress) -> str:
    if server.address.port in (80, 443) and not server.address.is_cloud:
        return "ComfyUI usually listens on port 8188: is the port missing from the address?"
    return ""


class _Exchange:
    """One request and its redirects; the file that it sends is open inside the block."""

    def __init__(self, server: ServerAddress, call: ApiRequest[Any]) -> None:
        self._server, self.call = server, call
        route = _checked_url(server.http_url(call.path))
        # Parsing each address of a file would take longer than the rest of this method.
        self.url = f"{route}?{_query(call.query)}" if call.query else route
        self._elsewhere = False
        if call.url:
            self.url = str(_linked(call.url))
            self._elsewhere = _origin(call.url) != _origin(server.address.base_url)
        self._redirects = 0
        self._file: BinaryIO | bytes | None = None
        self._sent_bytes = len(call.body) if call.body else 0

    def __enter__(self) -> Self:
        if self.call.file is not None:
            self._file = _opened(self.call.file.source)
            self._sent_bytes = _size_bytes(self._file)
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None and not isinstance(self._file, bytes):
            self._file.close()

    @property
    def head_s(self) -> float | None:
        """Longest time from the connection to the head of the answer; None: no limit.

        Each single silence has its own, shorter limit.
        """
        call, server = self.call, self._server
        silence_s = call.timeout_s or server.timeout_s
        if not math.isfinite(silence_s):
            return None
        return silence_s + server.connect_timeout_s + self._sent_bytes / _SLOWEST_UPLOAD

    @property
    def is_small(self) -> bool:
        """Whether the request has no body, or one that a single write takes."""
        return self.call.file is None and self._sent_bytes <= SMALL_BYTES

    @property
    def timeouts(self) -> dict[str, float | None]:
        """The time-outs of each read, write and connection."""
        silence_s = self.call.timeout_s or self._server.timeout_s
        limit_s = silence_s if math.isfinite(silence_s) else None
        connect_s = self._server.connect_timeout_s
        return {"connect": connect_s, "read": limit_s, "write": limit_s, "pool": limit_s}

    def headers(self) -> dict[str, str]:
        """The headers of the next request."""
        if self._elsewhere:  # credentials go to their own server only
            headers = {**PLAIN_HEADERS, **self.call.headers}
        else:
            headers = {
                "connection": "keep-alive",
                **self._server.headers,
                **self.call.headers,
            }
            inject(headers)
        if self.call.file is None and self.call.body is not None:
            headers.setdefault("content-type", "application/json")
        return headers

    def request(self) -> httpx.Request:
        """The next request to send."""
        call, headers = self.call, self.headers()
        extensions = {"timeout": self.timeouts}
        if call.file is None or self._file is None:
            return httpx.Request(
                call.method, self.url, headers=headers, content=call.body, extensions=extensions
            )
        if not isinstance(self._file, bytes):
            self._file.seek(0)
        part = (call.file.filename, self._file, call.file.content_type)
        return httpx.Request(
            call.method,
            self.url,
            headers=headers,
            data=dict(call.fields),
            files={call.file.field: part},
            extensions=extensions,
        )

    def redirected(self, response: httpx.Response | DirectResponse) -> bool:
        """Whether to follow a redirect: of GET requests, on the same server.

        Comfy Cloud redirects files to signed URLs on other hosts.
        """
        if self.call.method != "GET" or response.status_code not in (301, 302, 303, 307, 308):
            return False
        try:
            target = str(httpx.URL(self.url).join(response.headers.get("location", "")))
            origin = _origin(target)
        except (ValueError, httpx.InvalidURL):  # an impossible port, for example
            return False
        if origin[0] not in ("http", "https"):
            return False
        elsewhere = origin != _origin(self._server.address.base_url)
        if elsewhere and not (self._server.address.is_cloud and self.call.path == "/view"):
            return False
        self._redirects += 1
        if self._redirects == _MAX_REDIRECTS:
            raise ComfyUIConnectionError(
                f"{self.call.where} is in a redirect loop.", retryable=False
            )
        self.url, self._elsewhere = target, elsewhere
        return True

    def answer(self, response: httpx.Response | DirectResponse) -> ApiResponse:
        """The head of the answer."""
        return ApiResponse(response.status_code, response.headers, b"", self.call.where)


def _opened(source: bytes | Path) -> BinaryIO | bytes:
    if not isinstance(source, Path):
        return source
    try:
        return source.open("rb")
    except OSError as error:
        raise ValidationError(
            f"The file '{source}' cannot be read: {error.strerror or error}."
        ) from error


def _size_bytes(file: BinaryIO | bytes) -> int:
    return len(file) if isinstance(file, bytes) else os.fstat(file.fileno()).st_size


def _query(values: Mapping[str, str]) -> str:
    return "&".join([f"{_quoted(name)}={_quoted(value)}" for name, value in values.items()])


_quoted = lru_cache(maxsize=256)(quote_plus)


@lru_cache(maxsize=64)
def _checked_url(url: str) -> str:
    """A URL as httpx writes it; cached, as each job posts to the same one.

    Raises:
        httpx.InvalidURL: it is not one.
    """
    return str(httpx.URL(url))


def _linked(url: str) -> httpx.URL:
    """A link that a server has sent.

    Raises:
        ComfyUIConnectionError: it is no web address.
    """
    try:
        link = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        link = httpx.URL("")
    if link.scheme not in ("http", "https") or not link.host:
        raise ComfyUIConnectionError("The server's link to a file is no web address.")
    return link


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
