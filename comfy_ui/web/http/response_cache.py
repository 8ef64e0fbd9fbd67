"""Caches for responses that are the same for many users: Gradio's page and its files.

Gradio builds the page for each request and compresses each file for each request. The caches save
more than half of the CPU time of a first visit, and browsers keep the files.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.datastructures import Headers

from ..auth.access import Access, AccessMode
from .security_headers import HUGGING_FACE, page_policy, script_hash

__all__ = ["FileCache", "PageCache"]

Message = MutableMapping[str, Any]

_PAGE: Final = "/"
_PER_LOGIN: Final = (_PAGE, "/config", "/gradio_api/info")
_FILES: Final = ("/assets/", "/static/", "/languages/", "/theme.css", "/gradio_api/theme.css")
_ADDRESS_HEADERS: Final = ("host", "x-forwarded-host", "x-forwarded-proto", "x-gradio-server")
"""Gradio builds the page's own address from them."""
_OF_ONE_RESPONSE: Final = {"connection", "content-length", "etag", "last-modified", "accept-ranges"}
_UNCACHED_QUERY: Final = re.compile(rb"(^|&)(deep_link|page)=")
_HASH_IN_NAME: Final = re.compile(r"/assets/[^/]+-[\w-]{8,10}\.\w+$")
_TEXTS: Final = ("text/", "application/javascript", "application/json", "image/svg")
_MAX_ENTRY_BYTES: Final = 4 * 2**20
_MAX_BYTES: Final = 32 * 2**20
_CONFIG: Final = re.compile(
    rb"<script>window\.gradio_config = (.*?);</script>"
    rb"<script>window\.gradio_api_info = .*?;</script>",
    re.DOTALL,
)
"""Two scripts of Gradio's page. ``<`` is escaped in what they assign."""
_INLINE_SCRIPT: Final = re.compile(r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Cached:
    """A response. ``body`` is compressed if ``gzipped``."""

    body: bytes
    gzipped: bool
    etag: bytes
    headers: tuple[tuple[bytes, bytes], ...]


class _Uncacheable(Exception):  # noqa: N818 -- never leaves this module
    """The response is an error, too large, or sets a cookie."""


class _ResponseCache(ABC):
    """ASGI middleware that keeps responses.

    Args:
        app: the wrapped app.
        most_bytes: the total size; the responses that were used longest ago make room.
    """

    unforwarded: tuple[bytes, ...] = (b"range", b"if-")
    """Beginnings of the request headers that the app does not see when a response is loaded."""

    def __init__(self, app: Any, *, most_bytes: int = _MAX_BYTES) -> None:
        self._app = app
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

    @abstractmethod
    def _key(self, scope: Message) -> tuple[str | None, ...] | None:
        """Return what a response depends on; None if it is not cached."""

    @abstractmethod
    def _cache(self, scope: Message, received: Headers, body: bytes) -> _Cached:
        """Return a response as it is kept. Runs in a thread."""

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
        headers = [pair for pair in scope["headers"] if not pair[0].startswith(self.unforwarded)]
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


class PageCache(_ResponseCache):
    """Keeps the page for each login and each address under which it is opened.

    It is inside of the access checks and of the middleware that sets cookies. Pages get our
    scripts, and a content security policy with the hashes of inline scripts. They lose the
    endpoints of programs, which Gradio's scripts would go through for each component.

    Args:
        app: the wrapped app.
        access: identifies the login of a request, which the page contains.
        first_script: JavaScript that runs at once, inline.
        script_path: of a file of JavaScript that runs before Gradio's.
        most_bytes: as for every cache.
    """

    def __init__(
        self,
        app: Any,
        access: Access,
        *,
        first_script: str,
        script_path: str,
        most_bytes: int = _MAX_BYTES,
    ) -> None:
        super().__init__(app, most_bytes=most_bytes)
        self._access = access
        first = f"<head><script>{first_script}</script>"
        self._login_head = first.encode()
        # Deferred scripts and modules run in their order, when the page has been read.
        self._head = f'{first}<script defer src="{script_path}"></script>'.encode()
        self._frames = HUGGING_FACE if access.mode is AccessMode.SPACE else ()

    def _key(self, scope: Message) -> tuple[str | None, ...] | None:
        path = scope["path"]
        if scope["method"] != "GET" or path not in _PER_LOGIN:
            return None
        if _UNCACHED_QUERY.search(scope["query_string"]):
            return None
        headers, root = Headers(scope=scope), scope.get("root_path", "")
        address = (headers.get(name) for name in _ADDRESS_HEADERS)
        return path, root, self._access.login_name(scope), scope["scheme"], *address

    def _cache(self, scope: Message, received: Headers, body: bytes) -> _Cached:
        headers = {
            "content-type": received.get("content-type", ""),
            "cache-control": received.get("cache-control", "private, no-cache"),
        }
        if scope["path"] == _PAGE:
            body, is_app = _CONFIG.subn(_trimmed, body, count=1)
            head = self._head if is_app else self._login_head  # which brings scripts of its own
            body = body.replace(b"<head>", head, 1)
            body = body.replace(b'href="/manifest.json"', b'href="manifest.json"', 1)
            scripts = _INLINE_SCRIPT.findall(body.decode().replace("\r\n", "\n"))
            policy = page_policy(hashes=[*map(script_hash, scripts)], frames=self._frames)
            headers["content-security-policy"] = policy
        return _compressed(headers, body)


class FileCache(_ResponseCache):
    """Keeps public files, which have no login, no cookie and no user.

    It is outside of the access checks, of budgets and of Gradio's layers, because a page needs 50
    of these files. Only a file that is not kept yet passes through all of them.
    """

    # Without Accept, no file is taken for a page, which would get a cookie.
    unforwarded = (*_ResponseCache.unforwarded, b"accept", b"authorization", b"cookie")

    def _key(self, scope: Message) -> tuple[str | None, ...] | None:
        path = scope["path"]
        if scope["method"] != "GET" or not path.startswith(_FILES):
            return None
        if _header(scope, b"content-length") or _header(scope, b"transfer-encoding"):
            return None  # a body, which the app has to read
        return path, "versioned" if b"v=" in scope["query_string"] else None

    def _cache(self, scope: Message, received: Headers, body: bytes) -> _Cached:
        headers = {name: value for name, value in received.items() if name not in _OF_ONE_RESPONSE}
        if _HASH_IN_NAME.search(scope["path"]) or b"v=" in scope["query_string"]:
            headers["cache-control"] = "public, max-age=31536000, immutable"
        else:
            headers.setdefault("cache-control", "public, max-age=86400")
        return _compressed(headers, body)


def _trimmed(match: re.Match[bytes]) -> bytes:
    """Return the scripts of :data:`_CONFIG` without the endpoints that nothing on a page calls.

    Programs read them from ``/config`` and ``/gradio_api/info``.
    """
    config = json.loads(match[1])
    components = [part for part in config["components"] if part["type"] != "api"]
    dependencies = [event for event in config["dependencies"] if event["targets"]]
    config |= {"components": components, "dependencies": dependencies}
    shown, events = ({part["id"] for part in kept} for kept in (components, dependencies))
    for page in (config, *config["page"].values()):
        children = page["layout"].get("children", [])
        page["layout"]["children"] = [child for child in children if child["id"] in shown]
    for page in config["page"].values():
        page["components"] = [number for number in page["components"] if number in shown]
        page["dependencies"] = [number for number in page["dependencies"] if number in events]
    assigned: dict[str, Any] = {
        "gradio_config": config,
        "gradio_api_info": {"named_endpoints": {}, "unnamed_endpoints": {}},
    }
    return "".join(
        f"<script>window.{name} = {_for_script(value)};</script>"
        for name, value in assigned.items()
    ).encode()


def _for_script(value: Any) -> str:
    """Return JSON that cannot end the script it stands in."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _compressed(headers: dict[str, str], body: bytes) -> _Cached:
    media_type = headers.get("content-type", "")
    etag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {**headers, "etag": etag, "vary": "Accept-Encoding"}
    gzipped = media_type.startswith(_TEXTS) and len(body) > 512
    return _Cached(
        gzip.compress(body, 9) if gzipped else body,
        gzipped,
        etag.encode(),
        tuple((name.encode(), value.encode("latin-1")) for name, value in headers.items()),
    )


def _header(scope: Message, name: bytes) -> bytes:
    """Return a request header, empty without one: Starlette would decode all of them."""
    return next((value for key, value in scope["headers"] if key == name), b"")


async def _respond(cached: _Cached, scope: Message, send: Any) -> None:
    headers, body, status = [*cached.headers], cached.body, 200
    if cached.etag in _header(scope, b"if-none-match"):
        body, status = b"", 304
    elif cached.gzipped and b"gzip" in _header(scope, b"accept-encoding"):
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
