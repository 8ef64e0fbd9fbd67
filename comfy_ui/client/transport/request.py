"""HTTP requests and answers as values, and the errors that unsuccessful answers mean.

An :class:`ApiRequest` reads its own :class:`ApiResponse`, so all about a route is in one place
(``endpoints.py``) and both transports only carry bytes.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import urlsplit

from ...errors import (
    AuthenticationError,
    ComfyHeadlessError,
    ComfyUIConnectionError,
    ServerRejectedError,
)
from ...logging import redact
from ...protocol.retry import parse_retry_after

T = TypeVar("T")

SMALL_BYTES = 32 * 1024
"""A body up to this size is written at once: asyncio buffers 64 KiB before a writer has to wait."""
LARGE_BYTES = 2**20
"""From this size on, parsing an answer takes long enough to delay other tasks."""
# Far above the object_info of servers with hundreds of node packs, and parsed within a second.
_MAX_LISTS, _MAX_VALUES = 1_000_000, 5_000_000
_ENCODER = json.JSONEncoder(separators=(",", ":"))
_NOT_COMFYUI = "Check that the address is ComfyUI's own and that no proxy changes answers."


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePart:
    """The file of a multipart body. ``source`` is read when it is sent, piece by piece."""

    field: str
    filename: str
    source: bytes | Path
    content_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """The answer. Headers are found by their names in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    where: str
    """Method and path, for messages; carries no query, so no secrets."""

    @property
    def is_large(self) -> bool:
        """Whether the content is to be parsed in a thread."""
        return len(self.content) > LARGE_BYTES

    @property
    def text(self) -> str:
        """The content as UTF-8."""
        return self.content.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequest(Generic[T]):
    """A request below the server's base address, and the reader of its answer."""

    method: str
    path: str
    url: str = ""
    """An absolute address to use instead of ``path``. Another server gets no credentials."""
    parse: Callable[[ApiResponse], T]
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    file: FilePart | None = None
    repeatable: bool = True
    """Whether the request is idempotent, so that it may be retried."""
    timeout_s: float | None = None
    """Longest silence of the server; None: the client's own timeout."""
    accepts: tuple[int, ...] = ()
    """Error statuses that ``parse`` handles."""
    max_bytes: int = 2**20
    """Largest answer, compressed or not. Files that go to a :class:`Receiver` have its limit."""
    body_s: float = 120.0
    """Longest time from the head of the answer to its end; renewed by every 64 KB for a
    :class:`Receiver`."""

    @property
    def where(self) -> str:
        """Method and path, for messages."""
        return f"{self.method} {self.path}"


class Receiver(Protocol):
    """Takes the body of an answer as it arrives; see ``DownloadTarget``."""

    @property
    def blocking(self) -> bool:
        """Whether ``write`` may block on a disk."""

    def begin(self, answer: ApiResponse) -> bool:
        """Judge the head of an answer. False: the body is not wanted and not streamed."""

    def write(self, chunk: bytes) -> None:
        """Take the next bytes."""


def json_body(value: Any) -> bytes:
    """Compact JSON. Raises TypeError or ValueError for values that JSON cannot represent."""
    return _ENCODER.encode(value).encode()


def read_json(answer: ApiResponse) -> Any:
    """The JSON of a successful answer.

    Raises:
        AuthenticationError: it is a login page.
        ComfyUIConnectionError: it is not JSON, or it has too many values.
    """
    content = answer.content
    if answer.is_large and (content.count(b"[") > _MAX_LISTS or content.count(b",") > _MAX_VALUES):
        raise ComfyUIConnectionError(
            f"The answer to {answer.where} has more values than any of ComfyUI's.",
            hint=_NOT_COMFYUI,
            retryable=False,
        )
    try:
        # json parses in one call that lets no other thread run, except in the hook.
        return json.loads(content, object_hook=_same if answer.is_large else None)
    except (ValueError, RecursionError) as error:
        raise _not_json(answer) from error


def _same(value: dict[str, Any]) -> dict[str, Any]:
    return value


def read_object(answer: ApiResponse) -> dict[str, Any]:
    """The JSON object of a successful answer; raises as :func:`read_json`."""
    body = read_json(answer)
    if not isinstance(body, dict):
        raise unexpected(answer)
    return body


def read_names(answer: ApiResponse) -> list[str]:
    """The JSON list of strings; raises as :func:`read_json`."""
    body = read_json(answer)
    if not isinstance(body, list):
        raise unexpected(answer)
    return [name for name in body if isinstance(name, str)]


def unexpected(answer: ApiResponse) -> ComfyUIConnectionError:
    """The error for JSON of another shape than ComfyUI's."""
    return ComfyUIConnectionError(f"The answer to {answer.where} is not in ComfyUI's form.")


def as_list(value: Any) -> list[Any]:
    """The value if it is a list, else an empty list."""
    return value if isinstance(value, list) else []


def read_nothing(answer: ApiResponse) -> None:
    """For routes with an empty body; a web page instead of it is an error."""
    if is_page(answer):
        raise _not_json(answer)


def rejection(answer: ApiResponse) -> ComfyHeadlessError | None:
    """The error for an answer's status; None for a success."""
    status, where = answer.status, answer.where
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return _redirected(answer)
    reason = _reason(answer)
    if status in (401, 403, 407):
        return AuthenticationError(
            f"The server refused {where} with {status}: it requires a login or a key{reason}."
        )
    if status == 402:
        return ServerRejectedError(
            f"The account has no credits left{reason}.",
            status=status,
            hint="Add credits to the Comfy account, then try again.",
        )
    if status == 413:
        return ServerRejectedError(
            f"The server does not accept a body of that size{reason}.",
            status=status,
            hint="Send a smaller file, or start ComfyUI with --max-upload-size MEGABYTES "
            "(and raise the limit of the proxy in front of it).",
        )
    if status == 429:
        return ServerRejectedError(
            f"Too many requests, or the server's queue is full{reason}.",
            status=status,
            hint="Wait a moment, then try again.",
            retryable=True,
            retry_after_s=retry_after_s(answer),
        )
    if status in (502, 503, 504):
        return ComfyUIConnectionError(
            f"A proxy answered {where} with {status}: it cannot reach ComfyUI{reason}.",
            hint="Check that ComfyUI is running behind the proxy, then try again.",
        )
    if status == 404:
        return ServerRejectedError(
            f"The server has no route {where}.",
            status=status,
            hint="This ComfyUI may be too old for it, or the path of the address is wrong.",
        )
    return ServerRejectedError(
        f"The server answered {where} with {status}{reason}.",
        status=status,
        hint="See ComfyUI's own log." if status >= 500 else "",
    )


def retry_after_s(answer: ApiResponse) -> float | None:
    """The seconds that the server asks to wait; None if it does not."""
    return parse_retry_after(answer.headers.get("retry-after"), unix_now=time.time())


def _redirected(answer: ApiResponse) -> ComfyHeadlessError:
    try:
        target = urlsplit(answer.headers.get("location", ""))
    except ValueError:  # no address
        target = urlsplit("")
    place = f"{target.scheme}://{target.hostname}" if target.hostname else target.path or "nowhere"
    if re.search(r"log-?in|sign-?in|auth|sso", f"{target.netloc}{target.path}", re.IGNORECASE):
        return AuthenticationError(
            f"The server redirects {answer.where} to a login page ({place})."
        )
    return ComfyUIConnectionError(
        f"The server redirects {answer.where} elsewhere ({place}); credentials are not sent there.",
        hint="If ComfyUI has moved, use the new address.",
        retryable=False,
    )


def is_page(answer: ApiResponse) -> bool:
    """Whether the answer is a web page, which no route of ComfyUI sends."""
    kind = answer.headers.get("content-type", "")
    return kind.startswith("text/html") or answer.content[:64].lstrip().lower().startswith(
        (b"<!doctype", b"<html")
    )


def _not_json(answer: ApiResponse) -> ComfyHeadlessError:
    if is_page(answer):
        return page_error(answer)
    return ComfyUIConnectionError(
        f"The answer to {answer.where} is not JSON ({len(answer.content)} bytes of "
        f"{answer.headers.get('content-type', 'an unnamed kind')}).",
        hint=_NOT_COMFYUI,
    )


def too_large(where: str, max_bytes: int) -> ComfyUIConnectionError:
    """The error for an answer above its limit."""
    return ComfyUIConnectionError(
        f"The answer to {where} is larger than {max_bytes / 2**20:.3g} MB.",
        hint=_NOT_COMFYUI,
        retryable=False,
    )


def page_error(answer: ApiResponse) -> ComfyUIConnectionError:
    """The error for a web page instead of an answer (AuthenticationError: a login page)."""
    page = answer.content[:200_000].decode("utf-8", "replace")
    match = re.search(r"<title[^>]*>(.*?)</title>", page, re.IGNORECASE | re.DOTALL)
    title = " ".join(unescape(match[1]).split())[:80] if match else "untitled"
    if re.search(r"type=[\"']?password|log ?in|sign ?in", page, re.IGNORECASE):
        return AuthenticationError(f"A login page ('{title}') answered instead of ComfyUI.")
    return ComfyUIConnectionError(
        f"A web page ('{title}') answered instead of ComfyUI.",
        hint="Check host, port and path: another program is listening there.",
        retryable=False,
    )


def _reason(answer: ApiResponse) -> str:
    """The server's own message in parentheses; empty for web pages and large answers."""
    if is_page(answer) or answer.is_large:
        return ""
    try:
        body = json.loads(answer.content)
    except (ValueError, RecursionError):
        message: Any = answer.text
    else:
        message = ""
        if isinstance(body, dict):
            error = body.get("error", body)
            message = error.get("message", "") if isinstance(error, dict) else error
    line = redact(" ".join(str(message).split()))  # a proxy may echo the request's headers
    return f" ({line[:200]})" if line else ""
