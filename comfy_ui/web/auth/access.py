"""Who asks, and what they may do. Every handler, route, endpoint and tool asks here.

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
import time
from collections.abc import Callable, Collection, Mapping, MutableMapping
from enum import StrEnum
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any, Final, Literal

from itsdangerous import BadData, Signer, URLSafeSerializer
from starlette.requests import Request

from ...errors import StorageError, ValidationError
from ...settings import Settings
from ...storage.records import LOCAL_USER_ID
from .accounts import ADMIN_LOGIN, GUEST, Accounts, Role
from .oauth import said_by
from .rate_limit import RateLimit, RateLimiter

__all__ = [
    "TABLE",
    "Access",
    "AccessMode",
    "Action",
    "IdentityMiddleware",
    "load_secret",
    "mode_of",
]

Action = Literal[
    "see",  # the page itself, its presets and whether they are ready
    "see_own",  # one's own jobs and results
    "run",  # presets, and what the owner put beside them
    "cancel",  # one's own jobs
    "upload",  # a file for an input of a job
    "enhance",  # let a model or the rules write a prompt
    "open_workflow",  # run any graph, which is code on the GPU's machine; keep it as a preset
    "get_models",  # from their publishers onto this machine's disk
    "see_server",  # the server's address, devices and errors
    "free_memory",
    "reconnect",  # to another server
    "import_folder",  # of this machine, into one's own library
]

COOKIE: Final = "comfy_ui_browser"
SESSION_HEADER: Final = "mcp-session-id"
_YEAR_S: Final = 365 * 86400
_DIGEST: Final = hashlib.sha384
"""48 bytes are whole base64 characters: no second spelling of a signature is accepted."""
_SAID_BY_PROXIES: Final = (
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
)


class AccessMode(StrEnum):
    """How far the page reaches."""

    LOCAL = "local"
    SHARED = "shared"
    SPACE = "space"


def _in_all_modes(role: Role) -> dict[AccessMode, Role | None]:
    return dict.fromkeys(AccessMode, role)


TABLE: Final[Mapping[Action, Mapping[AccessMode, Role | None]]] = {
    "see": _in_all_modes(Role.USER),
    "see_own": _in_all_modes(Role.USER),
    "run": _in_all_modes(Role.USER),
    "cancel": _in_all_modes(Role.USER),
    "upload": _in_all_modes(Role.USER),
    "enhance": _in_all_modes(Role.USER),
    "open_workflow": _in_all_modes(Role.ADMIN),
    "get_models": _in_all_modes(Role.ADMIN),
    "see_server": _in_all_modes(Role.ADMIN),
    "free_memory": _in_all_modes(Role.ADMIN),
    # In the shared modes the client keeps away from addresses where clouds keep their keys, as
    # somebody may have got hold of an owner's password (see client/transport/ssrf.py).
    "reconnect": _in_all_modes(Role.ADMIN),
    "import_folder": {
        AccessMode.LOCAL: Role.ADMIN,
        AccessMode.SHARED: None,
        AccessMode.SPACE: None,
    },
}
"""The lowest role that may do it; None: nobody may."""

PACES: Final[Mapping[Action, RateLimit]] = {
    "run": RateLimit(burst=30, per_minute=30),
    "upload": RateLimit(burst=20, per_minute=20),
    "enhance": RateLimit(burst=10, per_minute=15),
    "reconnect": RateLimit(burst=5, per_minute=6),
}
"""How often one visitor may. Owners may as often as they like, but for connecting to another server
in the shared modes: how long that takes tells something of the network behind the app.
"""


def may(role: Role, action: Action, mode: AccessMode) -> bool:
    """The rule: nothing else decides.

    >>> may(Role.USER, "run", Mode.SHARED), may(Role.USER, "free_memory", Mode.SHARED)
    (True, False)
    """
    least = TABLE[action][mode]
    return least is not None and role >= least


def mode_of(settings: Settings, environ: Mapping[str, str] | None = None) -> AccessMode:
    """Local only where nobody else can reach the page."""
    if (os.environ if environ is None else environ).get("SPACE_ID"):
        return AccessMode.SPACE
    return (
        AccessMode.SHARED if settings.share or not is_loopback(settings.host) else AccessMode.LOCAL
    )


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
    """The rules for one running page.

    Args:
        mode: how far the page reaches.
        secret: signs identities and the names of files.
        accounts: who may log in; without any, nobody has to.
        hub_admins: names at Hugging Face that are owners here (see :mod:`.oauth`).
        paces: how often a visitor may do what.
        now: a clock that only goes forward, in seconds.
    """

    def __init__(
        self,
        mode: AccessMode,
        secret: bytes,
        accounts: Accounts | None = None,
        *,
        hub_admins: Collection[str] = (),
        paces: Mapping[Action, RateLimit] = PACES,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.mode = mode
        self.accounts = accounts if accounts is not None else Accounts()
        self._secret = secret
        self._browsers = Signer(secret, salt="comfy-ui browser", digest_method=_DIGEST)
        self._files = URLSafeSerializer(
            secret, salt="comfy-ui file", signer_kwargs={"digest_method": _DIGEST}
        )
        self._hub_owners = frozenset(name.lower() for name in hub_admins)
        self._paces = RateLimiter({str(action): pace for action, pace in paces.items()})
        self._now = now

    def role(self, request: Any) -> Role:
        """What the one who asks is. ``request`` is Gradio's or Starlette's."""
        user = _user(request)
        if user is not None:
            return self.accounts.role(user)
        if self.accounts or login_missing(request):
            return Role.ANONYMOUS
        if self.mode is AccessMode.LOCAL and not _forwarded(request):
            return Role.ADMIN
        if (name := self.hub_name(request)) and name.lower() in self._hub_owners:
            return Role.ADMIN
        return Role.USER

    def hub_name(self, request: Any) -> str | None:
        """The name of somebody who logged in with Hugging Face; only Spaces ask for that."""
        return said_by(request, time.time()) if self.mode is AccessMode.SPACE else None

    def allows(self, action: Action, request: Any = None) -> bool:
        """Whether the one who asks may do that; without ``request``, whether a passer-by may."""
        passer_by = Role.ADMIN if self.mode is AccessMode.LOCAL else Role.USER
        return may(passer_by if request is None else self.role(request), action, self.mode)

    def user_id(self, request: Any) -> str:
        """Whose jobs and results a request is about.

        A login names its person, on every device, also one with Hugging Face; without one, in the
        shared modes, the signed cookie names a browser. Callers without any (API clients) are known
        for as long as their session.
        """
        user = _user(request)
        if user == ADMIN_LOGIN or (user is None and self.role(request) is Role.ADMIN):
            return LOCAL_USER_ID
        if user and user != GUEST:
            return f"user:{user}"
        if user is None and (name := self.hub_name(request)):
            return f"hub:{name.lower()}"
        for signed in (request.cookies.get(COOKIE), request.headers.get(SESSION_HEADER)):
            browser = self.browser(signed)
            if browser:
                return f"browser:{browser}"
        session = getattr(request, "session_hash", None)
        return f"session:{session}" if session else f"nobody:{secrets.token_hex(8)}"

    def require(self, action: Action, request: Any) -> str:
        """Whose request it is, if they may do that now.

        Raises:
            ValidationError: they may not, or not so often.
        """
        role = self.role(request)
        if not may(role, action, self.mode):
            if role is Role.ANONYMOUS:
                raise ValidationError("Log in first.", hint="Open the page and log in.")
            raise ValidationError(
                "Only admins can do that.",
                hint="Open the app on the machine it runs on, without --share."
                if role is Role.ADMIN
                else "Log in as an admin, or open the app on the machine it runs on.",
            )
        user_id = self.user_id(request)
        free = role is Role.ADMIN and (action != "reconnect" or self.mode is AccessMode.LOCAL)
        wait_s = 0.0 if free else self._paces.wait_s(action, user_id, self._now())
        if wait_s > 0:
            raise ValidationError("Too many requests.", hint=f"Try again in {wait_s:.0f} s.")
        return user_id

    def browser(self, cookie: str | None) -> str | None:
        """The identity in a cookie; None if this installation did not sign it."""
        try:
            return self._browsers.unsign(cookie or "").decode() or None
        except BadData:
            return None

    def new_cookie(self) -> str:
        """A new signed identity."""
        return self._browsers.sign(secrets.token_urlsafe(18)).decode()

    def sign(self, text: str) -> str:
        """A signature that only this installation can make, as 64 hex digits."""
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()

    def file_key(self, item_id: int, user_id: str) -> str:
        """A key that opens one result of a user without the user's cookie, for links.

        It replaces the cookie, not a login.
        """
        key: str = self._files.dumps([item_id, user_id])
        return key

    def opened_by(self, item_id: int, key: str) -> str | None:
        """The ``user_id`` that ``key`` opens this result for; None if the key is not valid."""
        try:
            signed_id, user_id = self._files.loads(key)
        except BadData:
            return None
        return str(user_id) if signed_id == item_id else None


def _user(request: Any) -> str | None:
    """The login name: Gradio's requests know it, others carry its cookie."""
    if not isinstance(request, Request):
        return request.username or None
    app: Any = request.scope["app"]
    tokens = getattr(app, "tokens", {})
    for kind in ("access-token", "access-token-unsecure"):
        user = tokens and tokens.get(request.cookies.get(f"{kind}-{app.cookie_id}"))
        if user:
            return str(user)
    return None


def _forwarded(request: Any) -> bool:
    """Whether a proxy passed it on: then it need not come from this machine.

    nginx does so as HTTP/1.0 and without a word, if told no more than an address.
    """
    inner = request if isinstance(request, Request) else getattr(request, "request", None)
    old = getattr(inner, "scope", {}).get("http_version") == "1.0"
    return old or any(request.headers.get(name) for name in _SAID_BY_PROXIES)


def login_missing(request: Any) -> bool:
    """Whether the page wants a login that this request to a route of ours does not carry.

    Gradio guards its own routes only.
    """
    inner = request if isinstance(request, Request) else getattr(request, "request", None)
    app = getattr(inner, "scope", {}).get("app")
    wanted = getattr(app, "auth", None) is not None
    return wanted and _user(request) is None


class IdentityMiddleware:
    """Gives each browser its signed cookie when it loads the page (shared modes only)."""

    def __init__(self, app: Any, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if self._access.mode is AccessMode.LOCAL or scope["type"] != "http" or not _is_page(scope):
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if self._access.browser(_cookie(headers.get(b"cookie", b"").decode("latin-1"))):
            await self._app(scope, receive, send)
            return
        https = scope["scheme"] == "https" or headers.get(b"x-forwarded-proto") == b"https"
        # A Space is shown in a frame of another site, where only such cookies are kept.
        framed = (
            "; SameSite=None; Secure; Partitioned" if self._access.mode is AccessMode.SPACE else ""
        )
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


def _cookie(header: str) -> str | None:
    """Ours, out of the header; None too where somebody sends what is no header of cookies."""
    try:
        jar = SimpleCookie(header)
    except CookieError:
        return None
    return jar[COOKIE].value if COOKIE in jar else None
