"""Who asks, and what they may do. Every handler and every route asks here.

``local``: the page is reachable from this machine only; whoever sits at it may do all.
``shared``: a share link, a network address: visitors run presets and see what is theirs.
``space``: the same on Hugging Face.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import secrets
from collections.abc import Mapping, MutableMapping
from enum import StrEnum
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, Final, Literal

from starlette.requests import Request

from ..errors import StorageError, ValidationError
from ..settings import Settings

__all__ = ["Access", "Action", "IdentityMiddleware", "Mode", "load_secret", "mode_of"]

Action = Literal["run", "see_own", "free_memory", "reconnect", "see_server"]

COOKIE: Final = "comfy_ui_browser"
GUEST: Final = "guest"
"""The login that ``--share`` makes by itself. Many people use it, so it names nobody."""
_YEAR_S: Final = 365 * 86400
_LOCAL_OWNER: Final = "local"


class Mode(StrEnum):
    """How far the page reaches."""

    LOCAL = "local"
    SHARED = "shared"
    SPACE = "space"


_EVERYBODY: Final[frozenset[Action]] = frozenset({"run", "see_own"})
_ALLOWED: Final[Mapping[Mode, frozenset[Action]]] = {
    Mode.LOCAL: _EVERYBODY | {"free_memory", "reconnect", "see_server"},
    Mode.SHARED: _EVERYBODY,
    Mode.SPACE: _EVERYBODY,
}


def mode_of(settings: Settings, environ: Mapping[str, str] | None = None) -> Mode:
    """Local only where nobody else can reach the page."""
    if (os.environ if environ is None else environ).get("SPACE_ID"):
        return Mode.SPACE
    return Mode.SHARED if settings.share or not is_loopback(settings.host) else Mode.LOCAL


def is_loopback(host: str) -> bool:
    """
    >>> is_loopback("localhost"), is_loopback("[::1]"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def load_secret(data_dir: Path) -> bytes:
    """The key that signs browser identities: made once, kept beside the database.

    Raises:
        StorageError: the folder cannot be read or written.
    """
    path = data_dir / "secret.key"
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        try:
            with os.fdopen(
                os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb"
            ) as file:
                file.write(secrets.token_bytes(32))
        except FileExistsError:
            pass
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"Cannot use the folder {data_dir}: {error.strerror}.") from error


class Access:
    """The rules for one running page."""

    def __init__(self, mode: Mode, secret: bytes) -> None:
        self.mode = mode
        self._secret = secret

    def allows(self, action: Action) -> bool:
        """Whether people who reach this page may do that."""
        return action in _ALLOWED[self.mode]

    def owner(self, request: Any) -> str:
        """Whose jobs and results a request is about.

        ``request`` is Gradio's or Starlette's. A login names its person, on every device;
        without one, in the shared modes, the signed cookie names a browser. Callers without
        any (API clients) are known for as long as their session.
        """
        user = _user(request)
        if user and user != GUEST:
            return f"user:{user}"
        if self.mode is Mode.LOCAL:
            return _LOCAL_OWNER
        browser = self.browser(request.cookies.get(COOKIE))
        if browser:
            return f"browser:{browser}"
        session = getattr(request, "session_hash", None)
        return f"session:{session}" if session else f"nobody:{secrets.token_hex(8)}"

    def require(self, action: Action, request: Any) -> str:
        """The owner, if they may do that.

        Raises:
            ValidationError: they may not.
        """
        if not self.allows(action):
            raise ValidationError(
                "Only the owner of this machine can do that.",
                hint="Open the app on the machine it runs on, without --share.",
            )
        return self.owner(request)

    def browser(self, cookie: str | None) -> str | None:
        """The identity in a cookie, if the signature is ours."""
        identity, _, signature = (cookie or "").partition(".")
        right = hmac.compare_digest(signature.encode(), self.sign(identity).encode())
        return identity if identity and right else None

    def new_cookie(self) -> str:
        """A new signed identity."""
        identity = secrets.token_urlsafe(18)
        return f"{identity}.{self.sign(identity)}"

    def sign(self, text: str) -> str:
        """A signature that only this installation can make, as 64 hex digits."""
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()


def _user(request: Any) -> str | None:
    """The login name: Gradio's requests know it, others carry its cookie."""
    if not isinstance(request, Request):
        return request.username or None
    app: Any = request.scope.get("app")
    tokens = getattr(app, "tokens", None) or {}
    for kind in ("access-token", "access-token-unsecure"):
        user = tokens.get(request.cookies.get(f"{kind}-{app.cookie_id}"))
        if user:
            return str(user)
    return None


def login_missing(request: Any) -> bool:
    """Whether the page wants a login that this request to a route of ours does not carry.

    Gradio guards its own routes only.
    """
    app = request.scope.get("app")
    wanted = getattr(app, "auth", None) is not None
    return wanted and _user(request) is None


class IdentityMiddleware:
    """Gives each browser its signed cookie when it loads the page (shared modes only)."""

    def __init__(self, app: Any, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if self._access.mode is Mode.LOCAL or scope["type"] != "http" or not _is_page(scope):
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        jar = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
        known = self._access.browser(jar[COOKIE].value if COOKIE in jar else None)
        if known:
            await self._app(scope, receive, send)
            return
        https = scope["scheme"] == "https" or headers.get(b"x-forwarded-proto") == b"https"
        # A Space is shown in a frame of another site, where only such cookies are kept.
        framed = "; SameSite=None; Secure; Partitioned" if self._access.mode is Mode.SPACE else ""
        kind = framed or f"; SameSite=Lax{'; Secure' if https else ''}"
        cookie = f"{COOKIE}={self._access.new_cookie()}; Path=/; HttpOnly; Max-Age={_YEAR_S}{kind}"

        async def send_with_cookie(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", []),
                    (b"set-cookie", cookie.encode("latin-1")),
                ]
            await send(message)

        await self._app(scope, receive, send_with_cookie)


def _is_page(scope: Mapping[str, Any]) -> bool:
    return scope["method"] == "GET" and b"text/html" in dict(scope["headers"]).get(b"accept", b"")
