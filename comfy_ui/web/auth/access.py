"""Access rules: roles, identities and permissions. Every handler, route and tool checks here.

``local``: the page is reachable from this machine only; its user may do everything.
``shared``: a share link or a network address; users run presets and see only their own data.
``space``: the same on Hugging Face.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from enum import StrEnum
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final, Literal, TypeAlias

from itsdangerous import BadData, Signer, URLSafeSerializer
from starlette.requests import Request

from ...client.transport.address import is_loopback
from ...errors import StorageError, ValidationError
from ...private_files import Documents
from ...settings import Settings
from ...storage.records import LOCAL_USER_ID, JobKey
from .accounts import ADMIN_LOGIN, GUEST, Accounts, Role, TooManyTriesError
from .api_keys import ApiKey, ApiKeys
from .limit_counters import LimitCounters, LocalCounters, counter_key
from .login_devices import CURRENT, LoginRequest
from .login_limits import network_of
from .login_sessions import LoginSessions
from .oauth import said_by
from .rate_limit import RateLimit
from .remembered_logins import LOGIN_COOKIE, REMEMBERED_S, RememberedLogins

__all__ = [
    "LOGIN_USER",
    "TABLE",
    "Access",
    "AccessMode",
    "Action",
    "FreeAction",
    "IdentityMiddleware",
    "LimitedAction",
    "load_secret",
    "login_missing",
    "mode_of",
]

FreeAction = Literal[
    "see",  # the page, its presets and whether they are ready
    "see_own",  # the user's own jobs and results
    "cancel",  # the user's own jobs
    "open_workflow",  # run any graph (code on the GPU's machine) and keep it as a preset
    "get_models",  # download, move and delete the model files of this machine
    "see_server",  # the server's address, devices and errors
    "free_memory",
    "pause_all",  # the queues of all users
    "set_up_engine",  # install programs on this machine, start and stop them
    "import_folder",  # from a folder of this machine into the user's library
    "spend",  # run partner nodes, which cost credits of a Comfy account
    "manage_users",  # invite and remove users, and change their roles
    "change_settings",  # of the running app
]
LimitedAction = Literal[
    "run",  # presets, including those the admin added
    "upload",  # a file for an input of a job
    "enhance",  # have a prompt written by a model or the rules
    "reconnect",  # to another server
    "manage_keys",  # create and revoke the user's own API keys
    "use_webhooks",  # have the ends of the user's own jobs told to an address
]
"""Actions with a rate limit."""
Action = FreeAction | LimitedAction

COOKIE: Final = "comfy_ui_browser"
_SECRET_FILE: Final = "secret.key"  # noqa: S105 -- the name of a document
SESSION_HEADER: Final = "mcp-session-id"
HUB_OWNER: Final = "hub:"
"""Beginning of the owner of an API key who logs in with Hugging Face."""
LOGIN_USER: Final = "user:"
"""Beginning of the ``user_id`` of a login."""
_KEY_SCOPE: Final = "comfy_ui.api_key"
_GRADIO_COOKIE: Final = b"access-token-"
_YEAR_S: Final = 365 * 86400
_KEY_BYTES: Final = 32
_DIGEST: Final = hashlib.sha384
"""48 bytes are whole base64 characters: no second spelling of a signature is accepted."""
_UNPROVEN: Final = ("session:", "anonymous:")
"""Beginnings of a ``user_id`` that a caller can choose."""
_MAX_IDENTITIES: Final = 10_000
_MAX_EVENTS: Final = 100  # as many jobs as a user may have waiting
_MAX_EVENTS_OF_ADDRESS: Final = 30
_SAID_BY_PROXIES: Final = (
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
)


class AccessMode(StrEnum):
    """From where the page is reachable."""

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
    "pause_all": _in_all_modes(Role.ADMIN),
    # In the shared modes the client refuses addresses where clouds keep their keys, because an
    # admin's password may have been stolen (see client/transport/ssrf.py).
    "reconnect": _in_all_modes(Role.ADMIN),
    "set_up_engine": {
        AccessMode.LOCAL: Role.ADMIN,
        AccessMode.SHARED: Role.ADMIN,
        AccessMode.SPACE: None,  # the container is replaced at each restart
    },
    "import_folder": {
        AccessMode.LOCAL: Role.ADMIN,
        AccessMode.SHARED: None,
        AccessMode.SPACE: None,
    },
    "manage_keys": _in_all_modes(Role.USER),
    "spend": _in_all_modes(Role.ADMIN),  # Access(users_spend=True): users, too
    "use_webhooks": _in_all_modes(Role.USER),
    "manage_users": _in_all_modes(Role.ADMIN),
    "change_settings": _in_all_modes(Role.ADMIN),
}
"""The lowest role that may do it; None: not permitted."""

PACES: Final[Mapping[LimitedAction, RateLimit]] = {
    "run": RateLimit(burst=30, per_minute=30),
    "upload": RateLimit(burst=20, per_minute=20),
    "enhance": RateLimit(burst=10, per_minute=15),
    "reconnect": RateLimit(burst=5, per_minute=6),
    "manage_keys": RateLimit(burst=20, per_minute=20),
    "use_webhooks": RateLimit(burst=30, per_minute=30),
}
"""Rate limits for one user. Admins have none, except for connecting to another server in the shared
modes: the duration of an attempt reveals something about the network behind the app.
"""


def may(role: Role, action: Action, mode: AccessMode) -> bool:
    """Whether a role may do something in a mode; the only rule that decides.

    >>> may(Role.USER, "run", Mode.SHARED), may(Role.USER, "free_memory", Mode.SHARED)
    (True, False)
    """
    least = TABLE[action][mode]
    return least is not None and role >= least


def mode_of(settings: Settings, environ: Mapping[str, str] | None = None) -> AccessMode:
    """Return the mode: local only if the page cannot be reached from elsewhere, as by a proxy."""
    if (os.environ if environ is None else environ).get("SPACE_ID"):
        return AccessMode.SPACE
    proxied = settings.root_path or settings.trusted_proxies
    shared = settings.share or proxied or not is_loopback(settings.host)
    return AccessMode.SHARED if shared else AccessMode.LOCAL


def load_secret(documents: Documents) -> bytes:
    """Load the key that signs browser identities, created once beside the database.

    An empty file, as a full disk leaves it, holds no key: it is replaced, so that nothing that was
    signed without a key stays valid.

    Raises:
        StorageError: it cannot be read or written, or the key is too short.
    """
    document = documents.read(_SECRET_FILE)
    if document is None or not document.content:
        documents.update(_SECRET_FILE, lambda old: old or secrets.token_bytes(_KEY_BYTES))
        document = documents.read(_SECRET_FILE)
    secret = document.content if document is not None else b""
    if len(secret) < _KEY_BYTES:
        raise StorageError(
            f"The key in {documents.place(_SECRET_FILE)} is incomplete: {len(secret)} of"
            f" {_KEY_BYTES} bytes.",
            hint="Restore it from a backup, or delete it: then a new key is created, and browsers"
            " without a login no longer see their results.",
        )
    return secret


class Access:
    """The access rules of one running page.

    Args:
        mode: from where the page is reachable.
        secret: signs identities and file names.
        accounts: the logins; without any, no login is required.
        keys: the API keys of programs.
        remembered: the logins of browsers that stay logged in.
        users_spend: whether users may spend, and not only admins.
        hub_admins: Hugging Face names that are admins here (see :mod:`.oauth`).
        paces: rate limits for users.
        counters: where their use is counted; by default in this process.
    """

    def __init__(
        self,
        mode: AccessMode,
        secret: bytes,
        accounts: Accounts | None = None,
        *,
        keys: ApiKeys | None = None,
        remembered: RememberedLogins | None = None,
        users_spend: bool = False,
        hub_admins: Collection[str] = (),
        paces: Mapping[LimitedAction, RateLimit] = PACES,
        counters: LimitCounters | None = None,
    ) -> None:
        self.mode = mode
        self.accounts = accounts if accounts is not None else Accounts()
        self.keys = keys if keys is not None else ApiKeys()
        self.remembered = remembered
        self.users_spend = users_spend
        self._secret = secret
        self._browsers = Signer(secret, salt="comfy-ui browser", digest_method=_DIGEST)
        self._old_files = URLSafeSerializer(
            secret, salt="comfy-ui file", signer_kwargs={"digest_method": _DIGEST}
        )
        self._hub_owners = frozenset(name.lower() for name in hub_admins)
        self._paces = paces
        self._counters = counters or LocalCounters()
        self._identities: dict[str, str] = {}  # by cookie: each request needs it several times

    def role(self, request: Any) -> Role:
        """Return the role of a request's user. ``request`` is Gradio's or Starlette's."""
        if (login := _key_login(request)) is not None:
            return login.role
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

    def key_role(self, key: ApiKey) -> Role:
        """Return the role of an API key: its own, or its owner's if that is lower.

        It is ANONYMOUS once the key is revoked or its owner has no account any more.
        """
        if not self.keys.exists(key):
            return Role.ANONYMOUS
        return min(key.highest_role, self._owner_role(key.owner))

    def _owner_role(self, owner: str) -> Role:
        if self.accounts:
            return self.accounts.role(owner)
        if owner == ADMIN_LOGIN:
            return Role.ADMIN
        hub_name = owner.removeprefix(HUB_OWNER)
        if self.mode is not AccessMode.SPACE or hub_name == owner:
            return Role.ANONYMOUS
        return Role.ADMIN if hub_name in self._hub_owners else Role.USER

    def key_owner(self, request: Any) -> str:
        """Return the owner of the keys that a request may manage.

        Raises:
            ValidationError: it has none, or came with a key: a key cannot create others, which
                would outlive it.
        """
        if _key_login(request) is not None:
            raise ValidationError("API keys cannot manage API keys.", hint="Use the page.")
        user = _user(request)
        if user is not None and user != GUEST:
            return user
        if user is None and (name := self.hub_name(request)):
            return f"{HUB_OWNER}{name.lower()}"
        if user is None and self.role(request) is Role.ADMIN:
            return ADMIN_LOGIN
        raise ValidationError(
            "API keys need a login of your own.", hint="Ask the admin of this page for one."
        )

    def log_in_by_key(self, scope: MutableMapping[str, Any], key: ApiKey) -> None:
        """Make a request one of the key's owner, with the key's role."""
        scope[_KEY_SCOPE] = _KeyLogin(self, key)

    def key_of(self, request: Any) -> ApiKey | None:
        """Return the API key that a request came with."""
        login = _key_login(request)
        return login.key if login is not None else None

    def job_key(self, request: Any) -> JobKey | None:
        """Return the API key of a request as its jobs carry it."""
        key = self.key_of(request)
        return JobKey(key.id, key.limits.jobs) if key is not None else None

    def login_name(self, scope: MutableMapping[str, Any]) -> str | None:
        """Return the name that a request has logged in with, if it has."""
        return _user(Request(scope))

    def remembered_login(self, scope: MutableMapping[str, Any]) -> tuple[str, str] | None:
        """Return the token and the name of a browser that stays logged in."""
        if self.remembered is None:
            return None
        token = Request(scope).cookies.get(LOGIN_COOKIE, "")
        name = self.remembered.name(token) if token else None
        return (token, name) if name is not None else None

    def hub_name(self, request: Any) -> str | None:
        """Return the Hugging Face name of a request's user; Spaces only."""
        return said_by(request, time.time()) if self.mode is AccessMode.SPACE else None

    def allows(self, action: Action, request: Any = None) -> bool:
        """Whether a request's user may do that; without ``request``, a user without a login."""
        local = self.mode is AccessMode.LOCAL and not self.accounts
        role = self.role(request) if request is not None else Role.ADMIN if local else Role.USER
        return self._permits(role, action, request)

    def _permits(self, role: Role, action: Action, request: Any) -> bool:
        """Apply :func:`may`. An API key spends only if it was created for that."""
        if action != "spend":
            return may(role, action, self.mode)
        key = self.key_of(request)
        if key is not None and not key.may_spend:
            return False
        return may(
            Role.ADMIN if self.users_spend and role >= Role.USER else role, action, self.mode
        )

    def user_id(self, request: Any) -> str:
        """Return whose jobs and results a request is about.

        A login, including one with Hugging Face, identifies its user on every device. Without
        one, in the shared modes, the signed cookie identifies a browser. Callers without either
        (API clients) are identified by their session.
        """
        login = _key_login(request)
        user = _user(request) if login is None else login.key.owner
        if user and user.startswith(HUB_OWNER):
            return user
        if user == ADMIN_LOGIN or (user is None and self.role(request) is Role.ADMIN):
            return LOCAL_USER_ID
        if user and user != GUEST:
            return f"{LOGIN_USER}{user}"
        if user is None and (name := self.hub_name(request)):
            return f"hub:{name.lower()}"
        for signed in (request.cookies.get(COOKIE), request.headers.get(SESSION_HEADER)):
            browser = self.browser(signed)
            if browser:
                return f"browser:{browser}"
        session = getattr(request, "session_hash", None)
        if not session:
            return f"anonymous:{secrets.token_hex(8)}"
        # Hashed, because the session's own id is all that its caller has to show.
        return f"session:{self.sign(f'session {session}')[:32]}"

    def caller(self, request: Any) -> str:
        """Return whose limits a request counts against.

        The ``user_id``, or the address for callers without a login and a cookie: they could
        choose a new session for each request.
        """
        user_id = self.user_id(request)
        return self.address(request) if user_id.startswith(_UNPROVEN) else user_id

    def identifies(self, request: Any) -> bool:
        """Whether a login, an API key or a signed cookie says whose request it is.

        Without one, a caller could not find its jobs again.
        """
        return not self.user_id(request).startswith(_UNPROVEN)

    def address(self, request: Any) -> str:
        """Return the client's network as a caller, see :meth:`caller`."""
        client = getattr(request, "client", None)
        return f"address:{network_of(client.host) if client else ''}"

    def event_limit(self, request: Any) -> tuple[str, int]:
        """Return the caller of a request, and the most events in Gradio's queue; 0 for no limit."""
        caller = self.caller(request)
        if self.role(request) is Role.ADMIN:
            return caller, 0
        return caller, _MAX_EVENTS_OF_ADDRESS if caller.startswith("address:") else _MAX_EVENTS

    def require(self, action: FreeAction, request: Any) -> str:
        """Return the ``user_id`` of a request if it is permitted now.

        Raises:
            ValidationError: it is not permitted.
        """
        self._require_role(action, request)
        return self.user_id(request)

    async def admit(self, action: LimitedAction, request: Any) -> str:
        """Return the ``user_id`` of a request if it is permitted now and within the rate limit.

        Raises:
            ValidationError: it is not permitted.
            TooManyTriesError: the rate limit is reached.
        """
        role = self._require_role(action, request)
        free = role is Role.ADMIN and (action != "reconnect" or self.mode is AccessMode.LOCAL)
        if not free and (wait_s := await self._wait_s(action, request)):
            raise TooManyTriesError(wait_s, "Too many requests.")
        return self.user_id(request)

    def _require_role(self, action: Action, request: Any) -> Role:
        role = self.role(request)
        if not self._permits(role, action, request):
            if role is Role.ANONYMOUS:
                raise ValidationError("Log in first.", hint="Open the page and log in.")
            raise ValidationError(
                "Only admins can do that.",
                hint="Open the app on the machine it runs on, without --share."
                if role is Role.ADMIN
                else "Log in as an admin, or open the app on the machine it runs on.",
            )
        return role

    async def _wait_s(self, action: LimitedAction, request: Any) -> float:
        """Take from the user's rate limit, and from the address's if anyone can be a new user."""
        pace = self._paces.get(action)
        if pace is None:
            return 0.0
        address = self.address(request)
        key = counter_key(action, self.caller(request))
        wait_s = await self._counters.update(key, pace.take)
        host = address.removeprefix("address:")
        if wait_s or self.accounts or not host or is_loopback(host):
            return wait_s
        key = counter_key(f"{action} from one address", address)
        return await self._counters.update(key, pace.times(10).take)

    def browser(self, cookie: str | None) -> str | None:
        """Return the identity in a cookie; None if this installation did not sign it."""
        cookie = cookie or ""
        if (identity := self._identities.get(cookie)) is not None:
            return identity
        try:
            identity = self._browsers.unsign(cookie).decode()
        except BadData:
            return None
        if identity:
            if len(self._identities) >= _MAX_IDENTITIES:
                self._identities.pop(next(iter(self._identities)))
            self._identities[cookie] = identity
        return identity or None

    def new_cookie(self) -> str:
        """Create a signed identity."""
        return self._browsers.sign(secrets.token_urlsafe(18)).decode()

    def sign(self, text: str) -> str:
        """Sign a text with this installation's key; 64 hex digits."""
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()

    def file_key(self, item_id: int, user_id: str) -> str:
        """A key that opens one result of a user without the user's cookie, for links.

        It replaces the cookie, not a login.
        """
        return self.sign(f"file {item_id} {user_id}")[:43]

    def opens(self, key: str, item_id: int, user_id: str) -> bool:
        """Whether ``key`` opens this result of the user."""
        if hmac.compare_digest(key.encode(), self.file_key(item_id, user_id).encode()):
            return True
        try:  # keys of earlier versions name the user
            return bool(self._old_files.loads(key) == [item_id, user_id])
        except BadData:
            return False


@dataclass(frozen=True, slots=True)
class _KeyLogin:
    """The API key of a request. Its role is looked up each time: the key may be revoked."""

    access: Access
    key: ApiKey

    @property
    def role(self) -> Role:
        return self.access.key_role(self.key)


def _scope(request: Any) -> Mapping[str, Any]:
    inner = request if isinstance(request, Request) else getattr(request, "request", None)
    return getattr(inner, "scope", None) or {}


def _key_login(request: Any) -> _KeyLogin | None:
    login: _KeyLogin | None = _scope(request).get(_KEY_SCOPE)
    return login


def _user(request: Any) -> str | None:
    """Return the login name, from Gradio's request or its cookie."""
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
    """Whether a proxy forwarded the request, so that it may not come from this machine.

    nginx forwards as HTTP/1.0 and without a header if its configuration names only an address.
    """
    old = _scope(request).get("http_version") == "1.0"
    return old or any(request.headers.get(name) for name in _SAID_BY_PROXIES)


def login_missing(request: Any) -> bool:
    """Whether a request to one of our routes lacks a required login, or its API key has ended.

    Gradio guards only its own routes.
    """
    if (login := _key_login(request)) is not None:
        return login.role is Role.ANONYMOUS
    app = _scope(request).get("app")
    required = getattr(app, "auth", None) is not None
    return required and _user(request) is None


_NewCookies: TypeAlias = Callable[[], Iterable[tuple[str, int | None]]]


class IdentityMiddleware:
    """Give each browser its signed cookies, and keep the sessions of the logins.

    A browser gets its identity when it loads the page (shared modes only), and the mark of a known
    device when it logs in; with ``POST /login?remember=1``, it also stays logged in. Where several
    apps share the logins, each login is remembered, without ``remember=1`` until the browser ends.
    """

    def __init__(self, app: Any, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            scope["app"].tokens = LoginSessions(self._access.accounts)
        remembered = self._access.remembered
        if remembered is not None and scope["type"] == "http" and _is_page(scope):
            await remembered.arrives(_cookies(scope).get(LOGIN_COOKIE, ""))
        new_cookies = self._new_cookies(scope) if scope["type"] == "http" else None
        if new_cookies is None:
            await self._app(scope, receive, send)
            return

        # Gradio's session is known to this app only. Where several share the logins, the browser
        # gets the cookie of a remembered login alone, so that logging out ends it everywhere.
        shared = remembered is not None and remembered.of_all_apps

        def drops(header: tuple[bytes, bytes]) -> bool:
            return shared and header[0] == b"set-cookie" and header[1].startswith(_GRADIO_COOKIE)

        async def send_with_cookies(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                common = f"; Path=/; HttpOnly{self._scope_of(scope)}"
                try:
                    cookies = await asyncio.to_thread(lambda: [*new_cookies()])
                except StorageError:  # the login counts for nothing without its cookie
                    cookies, message["status"] = [], 503
                message["headers"] = [
                    *(each for each in message.get("headers", []) if not drops(each)),
                    *(
                        (b"set-cookie", f"{cookie}{_age(seconds)}{common}".encode("latin-1"))
                        for cookie, seconds in cookies
                    ),
                ]
            await send(message)

        await self._app(scope, receive, send_with_cookies)

    def _new_cookies(self, scope: MutableMapping[str, Any]) -> _NewCookies | None:
        """Return what creates the cookies of the response to a request, each with its age."""
        access = self._access
        path, is_post = scope["path"].rstrip("/"), scope["method"] == "POST"
        if is_post and path == "/login":
            return self._login_cookies(scope)
        if path == "/logout":
            return lambda: [(f"{LOGIN_COOKIE}=", 0)]
        if access.mode is AccessMode.LOCAL or not _is_page(scope):
            return None
        if access.browser(_cookies(scope).get(COOKIE)):
            return None
        return lambda: [(f"{COOKIE}={access.new_cookie()}", _YEAR_S)]

    def _login_cookies(self, scope: MutableMapping[str, Any]) -> _NewCookies:
        access = self._access
        address = (scope.get("client") or ("",))[0]
        login = LoginRequest(access.accounts, access.sign, address, _cookies(scope))
        CURRENT.set(login)
        stays = scope.get("query_string") == b"remember=1"
        remember = access.remembered
        if remember is not None and not stays and not remember.of_all_apps:
            remember = None

        def cookies() -> Iterable[tuple[str, int | None]]:
            if (device := login.cookie()) is not None:
                yield device, _YEAR_S
            if remember is None or not login.name:
                return
            if (token := remember.remember(login.name, stays=stays)) is not None:
                yield f"{LOGIN_COOKIE}={token}", REMEMBERED_S if stays else None
            elif remember.of_all_apps:
                raise StorageError("The login cannot be stored.")

        return cookies

    def _scope_of(self, scope: Mapping[str, Any]) -> str:
        if self._access.mode is AccessMode.SPACE:
            # Embedded in a frame of another site, where browsers keep only such cookies.
            return "; SameSite=None; Secure; Partitioned"
        forwarded = dict(scope["headers"]).get(b"x-forwarded-proto") == b"https"
        https = scope["scheme"] == "https" or forwarded
        return f"; SameSite=Lax{'; Secure' if https else ''}"


def _age(seconds: int | None) -> str:
    """The age of a cookie; None: it ends with the browser."""
    return "" if seconds is None else f"; Max-Age={seconds}"


def _is_page(scope: Mapping[str, Any]) -> bool:
    return scope["method"] == "GET" and b"text/html" in dict(scope["headers"]).get(b"accept", b"")


def _cookies(scope: Mapping[str, Any]) -> dict[str, str]:
    """Return the cookies of a request; none if the header is malformed."""
    header = dict(scope["headers"]).get(b"cookie", b"").decode("latin-1")
    try:
        return {name: cookie.value for name, cookie in SimpleCookie(header).items()}
    except CookieError:
        return {}
