"""A cache for responses that are the same for many users: Gradio's page and its files.

Gradio builds the page for each request and compresses each file for each request. This cache halves
the CPU time of a visit, and browsers keep the files.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.datastructures import Headers

from ..auth.access import Access, AccessMode
from .security_headers import HUGGING_FACE, page_policy, script_hash

__all__ = ["ResponseCache"]

Message = MutableMapping[str, Any]

_PAGE: Final = "/"
_PER_LOGIN: Final = (_PAGE, "/config", "/gradio_api/info")
_FILES: Final = ("/assets/", "/static/", "/languages/", "/theme.css", "/gradio_api/theme.css")
_ADDRESS_HEADERS: Final = ("host", "x-forwarded-host", "x-forwarded-proto", "x-gradio-server")
"""Gradio builds the page's own address from them."""
_UNCACHED_QUERY: Final = re.compile(rb"(^|&)(deep_link|page)=")
_HASH_IN_NAME: Final = re.compile(r"/assets/[^/]+-[\w-]{8,10}\.\w+$")
_TEXTS: Final = ("text/", "application/javascript", "application/json", "image/svg")
_MAX_ENTRY_BYTES: Final = 4 * 2**20
_MAX_BYTES: Final = 32 * 2**20
_INLINE_SCRIPT: Final = re.compile(r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Cached:
    """A response. ``body`` is compressed if ``gzipped``."""

    body: bytes
    gzipped: bool
    etag: str
    headers: tuple[tuple[bytes, bytes], ...]


class _Uncacheable(Exception):  # noqa: N818 -- never leaves this module
    """The response is an error, too large, or sets a cookie."""


class ResponseCache:
    """ASGI middleware inside of the access checks and of those that set cookies.

    Pages get ``first_script``, and a content security policy with the hashes of inline scripts.

    Args:
        app: the wrapped app.
        access: identifies the login of a request, which the page contains.
        first_script: JavaScript that runs before Gradio's.
        hashes: of scripts that the page adds to itself later.
        most_bytes: the total size; the responses that were used longest ago make room.
    """

    def __init__(
        self,
        app: Any,
        access: Access,
        *,
        first_script: str,
        hashes: Iterable[str] = (),
        most_bytes: int = _MAX_BYTES,
    ) -> None:
        self._app = app
        self._access = access
        self._first_script = f"<head><script>{first_script}</script>".encode()
        self._hashes = tuple(hashes)
        self._frames = HUGGING_FACE if access.mode is AccessMode.SPACE else ()
        self._most_bytes = most_bytes
        self._held_bytes = 0
        self._cached: OrderedDict[tuple[str | None, ...], _Cached] = OrderedDict()
        self._loading: dict[tuple[str | None, ...], asyncio.Task[_Cached]] = {}

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        key = self._key(scope) if scope["type"] == "http" else None
        if key is None:
            await self._app(scope, receive, send)
            return
        try:
            cached = await self._get(key, scope)
        except _Uncacheable:
            await self._app(scope, receive, send)
            return
        await _respond(cached, scope, send)

    def _key(self, scope: Message) -> tuple[str | None, ...] | None:
        """Return what a response depends on; None if it is not cached."""
        path = scope["path"]
        if scope["method"] != "GET":
            return None
        if path.startswith(_FILES):
            return (path,)
        if path not in _PER_LOGIN or _UNCACHED_QUERY.search(scope["query_string"]):
            return None
        headers, root = Headers(scope=scope), scope.get("root_path", "")
        address = (headers.get(name) for name in _ADDRESS_HEADERS)
        return path, root, self._access.login_name(scope), scope["scheme"], *address

    async def _get(self, key: tuple[str | None, ...], scope: Message) -> _Cached:
        cached = self._cached.get(key)
        if cached is not None:
            self._cached.move_to_end(key)
            return cached
        task = self._loading.get(key)
        if task is None:
            # Of its own: the client that asked first may hang up while others wait.
            task = self._loading[key] = asyncio.create_task(self._load(scope), name="cache a page")
            task.add_done_callback(lambda task: self._store(key, task))
        return await asyncio.shield(task)

    def _store(self, key: tuple[str | None, ...], task: asyncio.Task[_Cached]) -> None:
        del self._loading[key]
        if task.cancelled() or task.exception() is not None:
            return
        self._cached[key] = task.result()
        self._held_bytes += len(task.result().body)
        while self._held_bytes > self._most_bytes:
            _, oldest = self._cached.popitem(last=False)
            self._held_bytes -= len(oldest.body)

    async def _load(self, scope: Message) -> _Cached:
        """Request the whole response from the app.

        Raises:
            _Uncacheable: it depends on more than the key.
        """
        conditions = (b"range", b"if-")
        headers = [pair for pair in scope["headers"] if not pair[0].startswith(conditions)]
        start: Message = {}
        body = bytearray()

        async def collect(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                received = Headers(raw=message["headers"])
                size = int(received.get("content-length", 0))
                if message["status"] != 200 or "set-cookie" in received or size > _MAX_ENTRY_BYTES:
                    raise _Uncacheable
            else:
                body.extend(message.get("body", b""))
                if len(body) > _MAX_ENTRY_BYTES:
                    raise _Uncacheable

        await self._app({**scope, "headers": headers}, _no_body(), collect)
        return await asyncio.to_thread(
            self._cache, scope, Headers(raw=start["headers"]), bytes(body)
        )

    def _cache(self, scope: Message, received: Headers, body: bytes) -> _Cached:
        path, media_type = scope["path"], received.get("content-type", "")
        if path == _PAGE:
            body = body.replace(b"<head>", self._first_script, 1)
            body = body.replace(b'href="/manifest.json"', b'href="manifest.json"', 1)
        etag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = {"content-type": media_type, "etag": etag, "vary": "Accept-Encoding"}
        if path in _PER_LOGIN:
            headers["cache-control"] = received.get("cache-control", "private, no-cache")
        elif _HASH_IN_NAME.search(path) or b"v=" in scope["query_string"]:
            headers["cache-control"] = "public, max-age=31536000, immutable"
        else:
            headers["cache-control"] = received.get("cache-control", "public, max-age=86400")
        if path == _PAGE:
            scripts = _INLINE_SCRIPT.findall(body.decode().replace("\r\n", "\n"))
            hashes = (*map(script_hash, scripts), *self._hashes)
            policy = page_policy(hashes=tuple(dict.fromkeys(hashes)), frames=self._frames)
            headers["content-security-policy"] = policy
        gzipped = media_type.startswith(_TEXTS) and len(body) > 512
        return _Cached(
            gzip.compress(body, 9) if gzipped else body,
            gzipped,
            etag,
            tuple((name.encode(), value.encode("latin-1")) for name, value in headers.items()),
        )


async def _respond(cached: _Cached, scope: Message, send: Any) -> None:
    asked = Headers(scope=scope)
    headers, body, status = [*cached.headers], cached.body, 200
    if cached.etag in asked.get("if-none-match", ""):
        body, status = b"", 304
    elif cached.gzipped and "gzip" in asked.get("accept-encoding", ""):
        headers.append((b"content-encoding", b"gzip"))
    elif cached.gzipped:
        body = gzip.decompress(body)
    if status == 200:
        headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _no_body() -> Callable[[], Awaitable[Message]]:
    """Return a ``receive`` of a request without a body whose client stays connected."""
    messages: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop()

    return receive
