"""Reverse proxies: the client's address and scheme, and the path below which the app is served."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from ...settings import Settings, root_path_problem
from ..auth.access import AccessMode
from .handlers import refusal
from .request_budgets import BUDGETS
from .security_headers import NO_SCRIPTS

__all__ = ["ReverseProxyMiddleware", "own_path_problem", "trusted_proxies"]

Message = MutableMapping[str, Any]

_PREFIX_HEADER: Final = "x-forwarded-prefix"
_LOOPBACK: Final = "127.0.0.1,::1"
_PRIVATE_NETWORKS: Final = "127.0.0.1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16"
_OWN_NAMES: Final = frozenset(budget.path.split("/")[1] for budget in BUDGETS) - {""}
_ROOT_COOKIE: Final = re.compile(r"(;\s*path=)/(?=;|$)", re.IGNORECASE)


def trusted_proxies(settings: Settings, mode: AccessMode, environ: Mapping[str, str]) -> str:
    """Return the addresses and networks of the proxies whose headers count, comma-separated.

    >>> trusted_proxies(Settings(trusted_proxies="10.0.0.5"), AccessMode.SHARED, {})
    '10.0.0.5'
    """
    configured = settings.trusted_proxies or environ.get("FORWARDED_ALLOW_IPS")
    # Only the proxies of Hugging Face reach a Space.
    return configured or (_PRIVATE_NETWORKS if mode is AccessMode.SPACE else _LOOPBACK)


def own_path_problem(root_path: str) -> str | None:
    """Return why the app cannot be served below a path; None if it can.

    The proxy may remove the path or not, so it must not look like a path of the app.

    >>> own_path_problem("/comfy"), own_path_problem("/files/comfy")
    (None, "'/files/comfy' begins like a path of the app.")
    """
    if problem := root_path_problem(root_path):
        return problem
    if root_path.split("/")[1:2] and root_path.split("/")[1] in _OWN_NAMES:
        return f"'{root_path}' begins like a path of the app."
    return None


class ReverseProxyMiddleware:
    """ASGI middleware outside of all others, which then see paths without the proxy's prefix.

    ``X-Forwarded-For``, ``-Proto`` and ``-Prefix`` count if a trusted proxy sends them. Redirects
    and cookies of the app, which are for ``/``, get the prefix.

    Args:
        app: the wrapped app.
        trusted: see :func:`trusted_proxies`.
        root_path: the prefix of requests without ``X-Forwarded-Prefix``.
    """

    def __init__(self, app: Any, *, trusted: str, root_path: str = "") -> None:
        self._app = ProxyHeadersMiddleware(app, trusted)
        self._root_path = root_path

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)  # type: ignore[arg-type]  # uvicorn's own types
            return
        root = self._prefix(scope)
        if root and (problem := own_path_problem(root)):
            headers = {"Content-Security-Policy": NO_SCRIPTS, "Connection": "close"}
            await refusal(400, problem, headers)(scope, receive, send)
            return
        path = scope["path"]
        if root and path == root:  # links of the page are relative to its folder
            query = scope["query_string"].decode("latin-1")
            target = urlunsplit(("", "", f"{root}/", query, ""))
            await RedirectResponse(target, status_code=308)(scope, receive, send)
            return
        if root and path.startswith(f"{root}/"):
            path = path[len(root) :]
        below = {**scope, "root_path": root, "path": path}
        if not root:
            await self._app(below, receive, send)  # type: ignore[arg-type]
            return
        hosts = {Headers(scope=scope).get(name) for name in ("host", "x-forwarded-host")}

        async def send_below(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add_prefix(MutableHeaders(scope=message), root, hosts)
            await send(message)

        await self._app(below, receive, send_below)  # type: ignore[arg-type]

    def _prefix(self, scope: Message) -> str:
        """Return the path below which the app is served, without a slash at its end."""
        client = scope.get("client")
        if client and client[0] in self._app.trusted_hosts:
            # Clients may send the header too; the proxy's own value is the last one.
            sent = ",".join(Headers(scope=scope).getlist(_PREFIX_HEADER)).rpartition(",")[2]
            if sent.strip():
                return sent.strip().rstrip("/")
        return self._root_path


def _add_prefix(headers: MutableHeaders, root: str, hosts: set[str | None]) -> None:
    """Change a response's redirect and cookies for ``/`` into ones below ``root``."""
    if location := headers.get("location"):
        target = urlsplit(location)
        of_the_app = target.netloc in hosts or (not target.netloc and target.path[:1] == "/")
        if of_the_app and not f"{target.path}/".startswith(f"{root}/"):
            headers["location"] = urlunsplit(target._replace(path=root + (target.path or "/")))
    cookies = headers.getlist("set-cookie")
    if cookies:
        del headers["set-cookie"]
        for cookie in cookies:
            headers.append("set-cookie", _ROOT_COOKIE.sub(rf"\g<1>{root}", cookie))
