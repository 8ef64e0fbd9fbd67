"""Middleware in front of the whole app: access by path, security headers, same-site checks.

Gradio's login guards only some of its routes, and its app has many that this page does not need.
Only the paths listed here are open, and all but the login page require a login if there is one.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Match

from ..auth.access import Access, AccessMode, is_loopback
from ..auth.accounts import Role, TooManyTriesError
from .body_limit import MAX_BODY_BYTES, BodyLimit, Reading
from .security_headers import HUGGING_FACE, page_policy, shields

__all__ = ["OPEN", "AccessMiddleware", "door"]

Message = MutableMapping[str, Any]

# Paths of Gradio's app. A trailing "/" stands for all below it.
OPEN: Final = (
    "/",
    "/login",
    "/login/",
    "/logout",
    "/theme.css",
    "/gradio_api/theme.css",
    "/gradio_api/app_id",
    "/gradio_api/startup-events",
    "/favicon.ico",
    "/icons/",
    "/languages/",
    "/manifest.json",
    "/robots.txt",
    "/static/",
    "/assets/",
)
_FOR_VISITORS: Final = (
    "/config",
    "/gradio_api/info",
    "/gradio_api/queue/join",
    "/gradio_api/queue/data",
    "/gradio_api/call/",
    "/gradio_api/cancel",
    "/gradio_api/reset",
    "/gradio_api/heartbeat/",
)
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_MAX_EVENT_BYTES: Final = 16 * 2**20
"""The limit of an event or API call to Gradio, which reads the body before any check."""


def door(path: str) -> Role | None:
    """Return the lowest role that may request that path of Gradio's app; None if it is closed.

    >>> door("/gradio_api/queue/join"), door("/gradio_api/upload"), door("/assets/../config")
    (<Role.USER: 1>, None, None)
    """
    if ".." in path.split("/"):
        return None
    for role, paths in ((Role.ANONYMOUS, OPEN), (Role.USER, _FOR_VISITORS)):
        for listed in paths:
            if path == listed or (
                listed != "/" and listed.endswith("/") and path.startswith(listed)
            ):
                return role
    return None


class AccessMiddleware:
    """ASGI middleware in front of the whole app.

    Args:
        app: the wrapped app.
        access: the access rules.
        ours: routes that were added to Gradio's; each checks ``access`` itself.
        open_paths: those of them that need no login.
        hashes: of inline scripts of the page (see :func:`.security_headers.script_hash`).
        ready: awaited before a request that needs a login continues.
    """

    def __init__(
        self,
        app: Any,
        access: Access,
        *,
        ours: Iterable[BaseRoute] = (),
        open_paths: Iterable[str] = (),
        hashes: Iterable[str] = (),
        ready: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._app = app
        self._ready = ready
        self._access = access
        self._ours = tuple(ours)
        self._open_paths = frozenset(open_paths)
        self._hashes = tuple(hashes)
        self._framed = access.mode is AccessMode.SPACE
        self._shields = shields(framed=self._framed)
        self._tokens: dict[str, str] = {}
        self._intake = BodyLimit()

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # the page uses no WebSocket
            await send({"type": "websocket.close", "code": 1008})
            return
        most = MAX_BODY_BYTES if self._is_ours(scope) else _MAX_EVENT_BYTES
        reading = self._intake.reading(receive, most)
        reading.whole = not _brings_a_body(Headers(scope=scope))
        reply = _Reply(self, send, page=scope["path"] in OPEN[:3], reading=reading)
        refused = self._refused(scope) or await self._not_logged_in(scope)
        if refused is not None:
            await refused(scope, reading, reply)
            return
        if self._ready is not None and door(scope["path"]) is not Role.ANONYMOUS:
            await self._ready()
        if scope["path"].rstrip("/") == "/logout":
            # By default Gradio ends every session of that name, and guests share theirs.
            scope["query_string"] = b"all_session=false"
        try:
            await self._app(scope, reading, reply)
        finally:
            reading.close()

    def _refused(self, scope: Message) -> JSONResponse | None:
        headers = Headers(scope=scope)
        if self._access.mode is AccessMode.LOCAL and not is_loopback(
            _host(headers.get("host", ""))
        ):
            # A site whose name resolves to this machine (DNS rebinding), or another site.
            return _error(
                403, "Open the page as http://localhost, or start it with --host to share it."
            )
        changes = scope["method"] not in _SAFE_METHODS or scope["path"].rstrip("/") == "/logout"
        # Reading, too: a layer of Gradio's around this one lets the page of any site read any
        # response with the user's login, unless the app is called localhost.
        if _read_by_another(headers) or (changes and _from_elsewhere(headers)):
            return _error(403, "Only this page may do that.")
        if int(headers.get("content-length", 0)) > MAX_BODY_BYTES:  # the server checked that
            return _error(413, "That is too large.")
        if scope["method"] not in _SAFE_METHODS and self._intake.full:
            return _error(503, "Too much is being sent just now.", {"Retry-After": "10"})
        return None

    async def _not_logged_in(self, scope: Message) -> JSONResponse | None:
        path = scope["path"]
        least = Role.ANONYMOUS if path in self._open_paths else door(path)
        if least is None:
            if not self._is_ours(scope):
                return _error(404, "There is no such thing here.")
            least = Role.USER
        try:
            await self._take_credentials(scope)
        except TooManyTriesError as error:
            return _error(429, str(error), {"Retry-After": f"{error.wait_s:.0f}"})
        if self._access.role(Request(scope)) < least:
            return _error(401, "Log in first.")
        return None

    def _is_ours(self, scope: Message) -> bool:
        return any(route.matches(scope)[0] is not Match.NONE for route in self._ours)

    async def _take_credentials(self, scope: Message) -> None:
        """Turn HTTP Basic credentials into the cookie of a login.

        Programs send name and password with each request; Gradio only accepts its cookie.
        """
        authorization = Headers(scope=scope).get("authorization", "")
        kind, _, encoded = authorization.partition(" ")
        if kind.lower() != "basic" or not self._access.accounts:
            return
        try:
            name, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return
        if not await self._access.accounts.verify_often(name, password):
            return
        app = scope["app"]
        token = self._tokens.setdefault(name, secrets.token_urlsafe(32))
        app.tokens[token] = name
        cookie = f"access-token-{app.cookie_id}={token}"
        MutableHeaders(scope=scope)["cookie"] = cookie

    def dress(self, headers: MutableHeaders, *, nonce: str | None) -> None:
        """Add our headers to a response; headers set by a route stay."""
        for name, value in self._shields.items():
            headers.setdefault(name, value)
        if nonce is not None:
            frames = HUGGING_FACE if self._framed else ()
            policy = page_policy(nonce=nonce, hashes=self._hashes, frames=frames)
            headers["Content-Security-Policy"] = policy
            headers["Cache-Control"] = "private, no-cache"
        else:
            headers.setdefault("Content-Security-Policy", "default-src 'none'; sandbox")


class _Reply:
    """Sends a response with our headers; a page also with its nonce on each script."""

    def __init__(self, gate: AccessMiddleware, send: Any, *, page: bool, reading: Reading) -> None:
        self._gate = gate
        self._reading = reading
        self._send = send
        self._page = page
        self._start: Message | None = None
        self._body = bytearray()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if (
                not self._reading.whole
            ):  # otherwise the server keeps reading a body that is not used
                headers["connection"] = "close"
            html = headers.get("content-type", "").startswith("text/html")
            if self._page and html:
                self._start = message  # its length is known only with the nonces in it
                return
            self._gate.dress(headers, nonce=None)
        elif self._start is not None:
            self._body += message.get("body", b"")
            if message.get("more_body"):
                return
            nonce = secrets.token_urlsafe(16)
            body = bytes(self._body).replace(b"<script", f'<script nonce="{nonce}"'.encode())
            headers = MutableHeaders(scope=self._start)
            headers["content-length"] = str(len(body))
            self._gate.dress(headers, nonce=nonce)
            await self._send(self._start)
            message = {"type": "http.response.body", "body": body}
        await self._send(message)


def _brings_a_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _error(status: int, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
    # "detail" is what Gradio's clients read.
    return JSONResponse({"error": text, "detail": text}, status_code=status, headers=headers)


def _host(header: str) -> str:
    """Return the name in a Host header, without its port.

    >>> _host("localhost:7860"), _host("[::1]:7860"), _host("evil.example")
    ('localhost', '::1', 'evil.example')
    """
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _from_elsewhere(headers: Headers) -> bool:
    """Whether the request comes from a page of another site. Programs send neither header."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in {"same-origin", "none"}
    return _read_by_another(headers)


def _read_by_another(headers: Headers) -> bool:
    """Whether a page of another site could read the response.

    For requests that only show it (pictures, frames) or navigate to it, browsers send no origin;
    other headers cover them.
    """
    origin = headers.get("origin")
    try:
        return origin is not None and urlsplit(origin).netloc != headers.get("host", "")
    except ValueError:
        return True
