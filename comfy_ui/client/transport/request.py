"""One HTTP call and its answer as values, and what an answer that is no success means.

A :class:`ApiRequest` knows how to read its own :class:`ApiResponse`, so everything about a
route stands in
one place (``routes.py``) and both transports only carry bytes.
"""

from __future__ import annotations

import json
import re
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

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePart:
    """The file of a multipart body. ``source`` is read when it is sent, piece by piece."""

    field: str
    filename: str
    source: bytes | Path
    content_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """What came back. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    where: str
    """Method and path, for messages; carries no query, so no secrets."""

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequest(Generic[T]):
    """A request below the server's base address, and the reader of its answer."""

    method: str
    path: str
    parse: Callable[[ApiResponse], T]
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    file: FilePart | None = None
    repeatable: bool = True
    """Whether sending it twice does what sending it once does."""
    timeout_s: float | None = None
    """Longest silence of the server; None: the client's own timeout."""
    accepts: tuple[int, ...] = ()
    """Error statuses that ``parse`` knows what to make of."""

    @property
    def where(self) -> str:
        return f"{self.method} {self.path}"


class Receiver(Protocol):
    """Takes the body of an answer as it arrives; see ``DownloadTarget``."""

    blocking: bool
    """Whether ``write`` may block on a disk."""

    def begin(self, answer: ApiResponse) -> bool:
        """Judge the head of an answer. False: the body is not wanted and not streamed."""

    def write(self, chunk: bytes) -> None:
        """Take the next bytes."""


def json_body(value: Any) -> bytes:
    """Compact JSON. Raises TypeError or ValueError for what JSON cannot carry."""
    return json.dumps(value, separators=(",", ":")).encode()


def read_json(answer: ApiResponse) -> Any:
    """The JSON of a successful answer.

    Raises:
        AuthenticationError: it is a login page.
        ComfyUIConnectionError: it is something else than JSON.
    """
    try:
        return json.loads(answer.content)
    except ValueError as error:
        raise _not_json(answer) from error


def read_object(answer: ApiResponse) -> dict[str, Any]:
    """The JSON object of a successful answer; raises as :func:`read_json`."""
    body = read_json(answer)
    if not isinstance(body, dict):
        raise unexpected(answer)
    return body


def read_names(answer: ApiResponse) -> list[str]:
    """The JSON list of texts; raises as :func:`read_json`."""
    body = read_json(answer)
    if not isinstance(body, list):
        raise unexpected(answer)
    return [name for name in body if isinstance(name, str)]


def unexpected(answer: ApiResponse) -> ComfyUIConnectionError:
    """The error for JSON of another shape than ComfyUI's."""
    return ComfyUIConnectionError(f"The answer to {answer.where} is not in ComfyUI's form.")


def as_list(value: Any) -> list[Any]:
    """The value itself, if it is a list."""
    return value if isinstance(value, list) else []


def read_nothing(answer: ApiResponse) -> None:
    """For routes that answer with an empty body; a web page in its place is an error."""
    if is_page(answer):
        raise _not_json(answer)


def rejection(answer: ApiResponse) -> ComfyHeadlessError | None:
    """The error that an answer's status stands for, or None for a success."""
    status, where = answer.status, answer.where
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return _redirected(answer)
    told = _told(answer)
    if status in (401, 403, 407):
        return AuthenticationError(
            f"The server refused {where}: {status}, it wants a login or a key{told}."
        )
    if status == 402:
        return ServerRejectedError(
            f"The account has no credits left{told}.",
            status=status,
            hint="Add credits to the Comfy account, then try again.",
        )
    if status == 413:
        return ServerRejectedError(
            f"The server takes no body of that size{told}.",
            status=status,
            hint="Send a smaller file, or start ComfyUI with --max-upload-size MEGABYTES "
            "(and raise the limit of the proxy before it).",
        )
    if status == 429:
        return ServerRejectedError(
            f"The server is asked too often or its queue is full{told}.",
            status=status,
            hint="Wait a little and try again.",
            retryable=True,
        )
    if status in (502, 503, 504):
        return ComfyUIConnectionError(
            f"A proxy answered {where} with {status}: it cannot reach ComfyUI{told}.",
            hint="Check that ComfyUI is running behind it, then try again.",
        )
    if status == 404:
        return ServerRejectedError(
            f"The server has no {where}.",
            status=status,
            hint="Either this ComfyUI is too old for it, or the address lacks a path "
            "(or has one too many).",
        )
    return ServerRejectedError(
        f"The server answered {where} with {status}{told}.",
        status=status,
        hint="ComfyUI's own log says more." if status >= 500 else "",
    )


def _redirected(answer: ApiResponse) -> ComfyHeadlessError:
    try:
        target = urlsplit(answer.headers.get("location", ""))
    except ValueError:  # no address
        target = urlsplit("")
    place = f"{target.scheme}://{target.hostname}" if target.hostname else target.path or "nowhere"
    if re.search(r"log-?in|sign-?in|auth|sso", f"{target.netloc}{target.path}", re.IGNORECASE):
        return AuthenticationError(f"The server sends {answer.where} to a login page ({place}).")
    return ComfyUIConnectionError(
        f"The server sends {answer.where} elsewhere ({place}); credentials are not taken there.",
        hint="If ComfyUI has moved, use that address.",
        retryable=False,
    )


def is_page(answer: ApiResponse) -> bool:
    """Whether a web page came, which no route of ComfyUI's gives: its files are never text/html."""
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
        hint="Check that the address is ComfyUI's own and that no proxy changes answers.",
    )


def page_error(answer: ApiResponse) -> ComfyUIConnectionError:
    """The error for a web page in place of an answer (AuthenticationError: a login page)."""
    page = answer.content[:200_000].decode("utf-8", "replace")
    found = re.search(r"<title[^>]*>(.*?)</title>", page, re.IGNORECASE | re.DOTALL)
    title = " ".join(unescape(found[1]).split())[:80] if found else "untitled"
    if re.search(r"type=[\"']?password|log ?in|sign ?in", page, re.IGNORECASE):
        return AuthenticationError(f"A login page ('{title}') answered in ComfyUI's place.")
    return ComfyUIConnectionError(
        f"A web page ('{title}') answered in ComfyUI's place.",
        hint="Check host, port and path: another program is listening there.",
        retryable=False,
    )


def _told(answer: ApiResponse) -> str:
    """What the server itself says, as one short clause; pages say nothing worth showing."""
    if is_page(answer):
        return ""
    try:
        body = json.loads(answer.content)
    except ValueError:
        said = answer.text
    else:
        said = ""
        if isinstance(body, dict):
            error = body.get("error", body)
            said = error.get("message", "") if isinstance(error, dict) else error
    line = redact(" ".join(str(said).split()))  # a proxy may repeat the headers it was sent
    return f" ({line[:200]})" if line else ""
