"""Refuse requests of other web sites, and those whose Host or Origin header is not exactly one.

Outside of Gradio's own layers: its CORS layer compares names inexactly and answers look-alike
origins. A request that passes has no Origin header any more, so that layer adds nothing.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import MutableMapping
from typing import Any, Final

from starlette.datastructures import Headers

from ...client.transport.address import is_loopback
from ..auth.access import AccessMode
from .handlers import refusal
from .security_headers import NO_SCRIPTS, shields

__all__ = ["SAFE_METHODS", "SameSiteMiddleware"]

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_HOST: Final = re.compile(
    r"(?:(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,252})|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])(?::[0-9]{1,5})?"
)


class SameSiteMiddleware:
    """ASGI middleware outside of all others.

    Args:
        app: the wrapped app.
        mode: in local mode, only names of this machine are served.
    """

    def __init__(self, app: Any, mode: AccessMode) -> None:
        self._app = app
        self._mode = mode
        self._headers = {
            **shields(framed=mode is AccessMode.SPACE),
            "Content-Security-Policy": NO_SCRIPTS,
        }

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            status, text = self._problem(scope) or (0, "")
            if status:
                # The body is not read, so the connection cannot be used again.
                headers = {**self._headers, "Connection": "close"}
                await refusal(status, text, headers)(scope, receive, send)
                return
            scope = {**scope, "headers": [h for h in scope["headers"] if h[0] != b"origin"]}
        await self._app(scope, receive, send)

    def _problem(self, scope: MutableMapping[str, Any]) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        if len(headers.getlist("host")) > 1 or len(headers.getlist("origin")) > 1:
            return 400, "The request has two Host or two Origin headers."
        host, origin = headers.get("host", ""), headers.get("origin")
        name = _name(host)
        if self._mode is AccessMode.LOCAL and not is_loopback(name or ""):
            # A site whose name resolves to this machine (DNS rebinding), or another site.
            return 403, "Open the page as http://localhost, or start it with --host to share it."
        if name is None:
            return 400, "The Host header is not a name or an address."
        # Reading, too: the user's login would be sent with the request.
        if origin is not None and origin.lower() not in _origins(host):
            return 403, "Only this page may do that."
        changes = scope["method"] not in SAFE_METHODS or scope["path"].rstrip("/") == "/logout"
        # Programs send no such header. For requests that only show the response (images, frames)
        # or navigate to it, browsers send no origin; other headers cover them.
        if changes and headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}:
            return 403, "Only this page may do that."
        return None


def _origins(host: str) -> tuple[str, ...]:
    """Return the origins of the pages of a host; a proxy may add TLS."""
    return (f"http://{host.lower()}", f"https://{host.lower()}") if host else ()


def _name(host: str) -> str | None:
    """Return the name in a Host header, without its port; None if the header is malformed.

    An empty header has an empty name: old proxies send none.

    >>> _name("localhost:7860"), _name("[::1]:7860"), _name("[::1].evil"), _name("a@b")
    ('localhost', '::1', None, None)
    """
    if not host:
        return ""
    match = _HOST.fullmatch(host)
    if match is None:
        return None
    if match["name"]:
        return match["name"]
    try:
        return str(ipaddress.IPv6Address(match["ipv6"]))
    except ValueError:
        return None
