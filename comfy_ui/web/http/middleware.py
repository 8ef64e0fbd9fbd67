"""Middleware in front of the whole app: access by path, security headers, same-site checks.

Gradio's login guards only some of its routes, and its app has many that this page does not need.
Only the paths listed here are open, and all but the login page require a login if there is one.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
import math
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import AsyncExitStack
from typing import Any, Final, TypeGuard

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Match, Route

from ...client.transport.address import is_loopback
from ...worker_processes.process_pool import work_limited_to
from ..auth.access import Access, AccessMode
from ..auth.accounts import Role, TooManyTriesError
from ..auth.api_keys import InvalidKeyError
from ..auth.key_limits import KeyRequests
from ..auth.login_limits import Caller, network_of
from ..openai.api_errors import API_PATH, ApiError, error_response
from .body_limit import BodyLimit, Reading, json_problem
from .handlers import RefusalLog, refusal
from .request_budgets import LARGE_JSON, SMALL_BODY_BYTES, RequestBudget, budget_of
from .request_slots import RequestSlots, TooManyRequestsError
from .security_headers import NO_SCRIPTS, shields

__all__ = ["OPEN", "AccessMiddleware", "door"]

logger = logging.getLogger(__name__)

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
_MAX_SMALL_TOGETHER_BYTES: Final = 32 * 2**20
_MAX_TOKENS: Final = 5_000  # of 10,000 sessions, see LoginSessions


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
        ready: awaited before a request that needs a login continues.
        slots: the requests in progress.
        key_requests: those of API keys.
    """

    def __init__(
        self,
        app: Any,
        access: Access,
        *,
        ours: Iterable[BaseRoute] = (),
        open_paths: Iterable[str] = (),
        ready: Callable[[], Awaitable[None]] | None = None,
        slots: RequestSlots | None = None,
        key_requests: KeyRequests | None = None,
    ) -> None:
        self._app = app
        self._ready = ready
        self._access = access
        ours = tuple(ours)
        self._exact_paths = {route.path for route in ours if _is_exact(route)}
        self._other_routes = tuple(route for route in ours if not _is_exact(route))
        self._open_paths = frozenset(open_paths)
        self._shields = shields(framed=access.mode is AccessMode.SPACE)
        self._tokens: OrderedDict[str, str] = OrderedDict()
        self._slots = RequestSlots() if slots is None else slots
        self._key_requests = key_requests or KeyRequests()
        self._refusals = RefusalLog(logger)
        # Small bodies have a total of their own: large ones must not keep logins out.
        self._small = BodyLimit(most_bytes=_MAX_SMALL_TOGETHER_BYTES)
        self._large = BodyLimit()

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # the page uses no WebSocket
            await send({"type": "websocket.close", "code": 1008})
            return
        budget = budget_of(scope["method"], scope["path"])
        intake = self._small if budget.body_bytes <= SMALL_BODY_BYTES else self._large
        reading = intake.reading(receive, budget)
        headers = Headers(scope=scope)
        reading.whole = not _brings_a_body(headers)
        reply = _Reply(self, send, reading, budget)
        try:
            refused = _too_large(headers, budget) or await self._not_logged_in(scope)
            if refused is None:
                refused = await self._in_key_limits(scope, budget, reading, reply)
        except _AnswerTooLargeError:
            if reply.begun:
                raise
            refused = refusal(500, "The answer is too large.")
        finally:
            reading.close()
        if refused is not None:
            if refused.status_code not in {401, 404}:
                self._refusals.add(f"Refused {budget.method} {budget.path}: {refused.status_code}")
            if scope["path"].startswith(API_PATH):
                refused = _in_envelope(refused)
            await refused(scope, receive, reply)

    async def _in_key_limits(
        self, scope: Message, budget: RequestBudget, reading: Reading, reply: Any
    ) -> JSONResponse | None:
        """Run the app within the limits of the request's API key, or return the refusal."""
        key = self._access.key_of(Request(scope))
        if key is None:
            return await self._in_budget(scope, budget, reading, reply)
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self._key_requests.request(key.id, key.limits))
            except TooManyTriesError as error:
                headers = {"Retry-After": f"{math.ceil(error.wait_s)}"}
                return refusal(429, error.message, headers)
            return await self._in_budget(scope, budget, reading, reply)

    async def _in_budget(
        self, scope: Message, budget: RequestBudget, reading: Reading, reply: Any
    ) -> JSONResponse | None:
        """Run the app within the budget of the request, or return the refusal."""
        caller = self._access.caller(Request(scope))
        address = _address(scope)
        reading.caller = caller
        # A caller without a login at a loopback address may be everyone behind a proxy.
        anonymous = caller == self._access.address(Request(scope))
        mine = "" if anonymous and not address else caller
        try:
            async with self._slots.of_caller(budget, mine, address):
                receive: Any = reading
                body: bytes | None = b""
                read_ahead = budget.read_ahead and not reading.whole
                if read_ahead:
                    body = await reading.all()
                    receive = _replayed(body or b"", reading)
                async with self._slots.of_all(_place(budget, body), caller):
                    if read_ahead:
                        role = self._access.role(Request(scope))
                        problem = _problem(body, budget, reading, role)
                        if problem is not None:
                            return problem
                    with work_limited_to(budget.work):
                        await self._run(scope, receive, reply)
        except TooManyRequestsError:
            return refusal(429, "Too many requests at once.", {"Retry-After": "5"})
        return None

    async def _run(self, scope: Message, receive: Any, reply: Any) -> None:
        is_open = scope["path"] in self._open_paths or door(scope["path"]) is Role.ANONYMOUS
        if self._ready is not None and not is_open:
            await self._ready()
        if scope["path"].rstrip("/") == "/logout":
            # By default Gradio ends every session of that name, and guests share theirs.
            scope["query_string"] = b"all_session=false"
            if (remembered := self._access.remembered_login(scope)) and self._access.remembered:
                await asyncio.to_thread(self._access.remembered.forget, remembered[0])
        await self._app(scope, receive, reply)

    async def _not_logged_in(self, scope: Message) -> JSONResponse | None:
        path = scope["path"]
        least = Role.ANONYMOUS if path in self._open_paths else door(path)
        if least is None:
            if not self._is_ours(scope):
                return refusal(404, "There is no such thing here.")
            least = Role.USER
        try:
            await self._take_credentials(scope)
        except TooManyTriesError as error:
            return refusal(429, str(error), {"Retry-After": f"{error.wait_s:.0f}"})
        except InvalidKeyError as error:
            return refusal(401, str(error))
        if self._access.role(Request(scope)) < least:
            return refusal(401, "Log in first.")
        return None

    def _is_ours(self, scope: Message) -> bool:
        if scope["path"] in self._exact_paths:
            return True
        return any(route.matches(scope)[0] is not Match.NONE for route in self._other_routes)

    async def _take_credentials(self, scope: Message) -> None:
        """Turn HTTP Basic credentials, an API key or a remembered login into a login.

        Programs send them with each request; Gradio only accepts the cookie of a login.
        """
        kind, _, credentials = Headers(scope=scope).get("authorization", "").partition(" ")
        match kind.lower():
            case "bearer":
                name = await self._owner_of_key(scope, credentials.strip())
            case "basic":
                name = await self._name_of_basic(scope, credentials)
            case _:
                name = None
                if self._access.login_name(scope) is None:
                    self._resume_login(scope)
        if name is not None and self._access.accounts:
            MutableHeaders(scope=scope)["cookie"] = self._log_in(scope, name, key=name)

    def _resume_login(self, scope: Message) -> None:
        remembered = self._access.remembered_login(scope)
        if remembered is None:
            return
        token, name = remembered
        headers = MutableHeaders(scope=scope)
        # At the end: of two cookies with the same name, the later one counts.
        headers["cookie"] = f"{headers['cookie']}; {self._log_in(scope, name, key=token)}"

    def _log_in(self, scope: Message, name: str, *, key: str) -> str:
        """Open a session of Gradio's, the same one for each ``key``, and return its cookie.

        The browser does not get it, so one that was not used for long may end.
        """
        app = scope["app"]
        token = self._tokens.setdefault(key, secrets.token_urlsafe(32))
        self._tokens.move_to_end(key)
        app.tokens[token] = name
        if len(self._tokens) > _MAX_TOKENS:
            app.tokens.pop(self._tokens.popitem(last=False)[1], None)
        return f"access-token-{app.cookie_id}={token}"

    async def _name_of_basic(self, scope: Message, encoded: str) -> str | None:
        if not self._access.accounts:
            return None
        try:
            name, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        right = await self._access.accounts.verify_often(name, password, Caller(_address(scope)))
        return name if right else None

    async def _owner_of_key(self, scope: Message, text: str) -> str | None:
        """Log in by an API key and return its owner; None for tokens that are not ours.

        Raises:
            InvalidKeyError, TooManyTriesError: the key is wrong, or its owner is gone.
        """
        key = await self._access.keys.verify(text, Caller(_address(scope)))
        if key is None:
            return None
        if self._access.key_role(key) is Role.ANONYMOUS:
            raise InvalidKeyError
        self._access.log_in_by_key(scope, key)
        budget = budget_of(scope["method"], scope["path"])
        host = scope["client"][0] if scope.get("client") else ""
        self._access.keys.used(key, host, f"{scope['method']} {budget.path}")
        return key.owner

    def dress(self, headers: MutableHeaders) -> None:
        """Add our headers to a response; headers set by a route stay."""
        for name, value in self._shields.items():
            headers.setdefault(name, value)
        headers.setdefault("Content-Security-Policy", NO_SCRIPTS)


class _AnswerTooLargeError(Exception):
    """A response exceeds its budget."""


class _Reply:
    """Sends a response with our headers, up to the size in its budget."""

    def __init__(
        self, gate: AccessMiddleware, send: Any, reading: Reading, budget: RequestBudget
    ) -> None:
        self._gate = gate
        self._reading = reading
        self._send = send
        self._most_bytes = budget.answer_bytes
        self._sent_bytes = 0
        self.begun = False

    async def __call__(self, message: Message) -> None:
        if self._most_bytes:
            self._sent_bytes += len(message.get("body", b""))
            if self._sent_bytes > self._most_bytes:
                raise _AnswerTooLargeError
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if 0 < self._most_bytes < int(headers.get("content-length", 0)):
                raise _AnswerTooLargeError
            self.begun = True
            if not self._reading.whole:
                # Otherwise the server keeps reading a body that is not used.
                headers["connection"] = "close"
            self._gate.dress(headers)
        await self._send(message)


def _in_envelope(refused: JSONResponse) -> JSONResponse:
    """Return a refusal as OpenAI's clients read it."""
    status, text = refused.status_code, str(json.loads(bytes(refused.body))["detail"])
    code = "rate_limit_exceeded" if status == 429 else None
    response = error_response(ApiError(status, text, code=code))
    if (wait := refused.headers.get("retry-after")) is not None:
        response.headers["retry-after"] = wait
    return response


def _is_exact(route: BaseRoute) -> TypeGuard[Route]:
    """Whether a route matches its own path only."""
    return isinstance(route, Route) and "{" not in route.path


def _brings_a_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _too_large(headers: Headers, budget: RequestBudget) -> JSONResponse | None:
    length = int(headers.get("content-length", 0))  # the server checked that
    return refusal(413, "That is too large.") if length > budget.body_bytes else None


def _place(budget: RequestBudget, body: bytes | None) -> RequestBudget:
    """Return the budget whose places a request shares with those of other callers."""
    large = len(body or b"") > SMALL_BODY_BYTES
    return LARGE_JSON if large and budget.json_items and not budget.lasting else budget


def _problem(
    body: bytes | None, budget: RequestBudget, reading: Reading, role: Role
) -> JSONResponse | None:
    """Return the refusal of a body that was read ahead, if there is a reason for one."""
    if body is None:
        reason = reading.refusal
        return refusal(reason.status, reason.text) if reason else refusal(400, "No body came.")
    if budget.json_items:
        problem = json_problem(body, items=budget.json_items_of(role), depth=budget.json_depth)
        if problem is not None:
            return refusal(400, problem)
    return None


def _replayed(body: bytes, reading: Reading) -> Callable[[], Awaitable[Message]]:
    """Return a ``receive`` that yields ``body``, then waits for the end of the connection."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else await reading()

    return receive


def _address(scope: Message) -> str:
    """Return the client's network; empty for loopback, where tunnels and proxies connect from.

    uvicorn has replaced it by the one in X-Forwarded-For if it trusts the proxy.
    """
    host = scope["client"][0] if scope.get("client") else ""
    return "" if is_loopback(host) else network_of(host)
