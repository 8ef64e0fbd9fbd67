"""Let pages of chosen origins call the Images API with a key; all others stay refused."""

from __future__ import annotations

from collections.abc import Callable, Collection, MutableMapping
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response

from .api_errors import API_PATH

__all__ = ["CorsMiddleware"]

_DROPPED: Final = frozenset({b"origin", b"cookie", b"sec-fetch-site"})
_EXPOSED: Final = "X-Request-Id, X-Comfy-UI-Model, X-Comfy-UI-Size, X-Comfy-UI-Jobs, Retry-After"


class CorsMiddleware:
    """ASGI middleware outside of :class:`.SameSiteMiddleware`.

    Cookies are dropped from such requests: a page of another origin must send a key, and never acts
    with the login of the browser's user.

    Args:
        app: the wrapped app.
        origins: returns the origins of those pages, in lower case.
    """

    def __init__(self, app: Any, origins: Callable[[], Collection[str]]) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        origin = self._allowed_origin(scope)
        if origin is None:
            await self._app(scope, receive, send)
            return
        headers = {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
        if scope["method"] == "OPTIONS":
            preflight = {
                "Access-Control-Allow-Methods": "GET, POST",
                "Access-Control-Allow-Headers": _allowed_headers(Headers(scope=scope)),
                "Access-Control-Max-Age": "600",
            }
            await Response(status_code=204, headers=headers | preflight)(scope, receive, send)
            return
        headers["Access-Control-Expose-Headers"] = _EXPOSED

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        kept = [pair for pair in scope["headers"] if pair[0] not in _DROPPED]
        await self._app({**scope, "headers": kept}, receive, send_with_headers)

    def _allowed_origin(self, scope: MutableMapping[str, Any]) -> str | None:
        if scope["type"] != "http" or not scope["path"].startswith(API_PATH):
            return None
        origins = Headers(scope=scope).getlist("origin")
        return origins[0] if len(origins) == 1 and origins[0].lower() in self._origins() else None


def _allowed_headers(headers: Headers) -> str:
    """Return our headers, and those of the SDKs that a preflight names."""
    names = headers.get("access-control-request-headers", "").lower().split(",")
    of_sdks = [n for name in names if (n := name.strip()).startswith(("x-stainless-", "openai-"))]
    return ", ".join(("authorization", "content-type", "idempotency-key", "x-request-id", *of_sdks))
