"""Parse the address of a ComfyUI server in any form that users paste.

Accepted, among others: ``192.168.1.100:8188``, ``[::1]:8188``, ``:8188``, ``0.0.0.0:8188``,
``https://gpu.example.com/comfy/``, ``ws://host:8188/ws?clientId=…``, ``http://me:secret@host``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv6Address, ip_address
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

from ...errors import InvalidAddressError

DEFAULT_HOST = "localhost"
DEFAULT_PORT = 8188
MAX_PARALLEL_JOBS = 64

_STANDARD_PORTS = {"http": 80, "https": 443}
# Addresses to listen on, as a server's log prints them; clients cannot connect to them everywhere.
_WILDCARDS = {"0.0.0.0", "::", "*"}  # noqa: S104 -- user input, never listened on
# Tunnels and hosts that answer on https only and are pasted without a scheme.
_HTTPS_SUFFIXES = (
    ".comfy.org",
    ".gradio.live",
    ".hf.space",
    ".ngrok-free.app",
    ".ngrok.app",
    ".ngrok.io",
    ".proxy.runpod.net",
    ".trycloudflare.com",
)
_SCHEME = re.compile(r"^(https?|wss?):/*", re.IGNORECASE)
_OTHER_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_HOST = re.compile(r"^[^\s/\\?#@:\[\]%<>\"'`{}|^]+$")


@dataclass(frozen=True)
class Address:
    """The address of a server. ``prefix`` is ``""`` or ``"/some/path"``, without a final slash."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    prefix: str = ""
    userinfo: tuple[str, str] | None = field(default=None, repr=False)
    parallel_jobs: int | None = None
    """How many jobs the server runs at a time, by ``#jobs=3`` at the end; None: not given."""

    @property
    def origin(self) -> str:
        """``http://host:port``, without the scheme's default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _STANDARD_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    @cached_property
    def base_url(self) -> str:
        """The base of HTTP routes, without user and password."""
        return self.origin + self.prefix

    @property
    def ws_base_url(self) -> str:
        """The base of WebSocket routes."""
        return "ws" + self.base_url.removeprefix("http")

    @cached_property
    def is_cloud(self) -> bool:
        """Whether this is Comfy Cloud's compatible API, whose routes differ a little."""
        return self.host == "cloud.comfy.org" and not self.ends_in_v2

    @property
    def ends_in_v2(self) -> bool:
        """Whether the path is that of a Comfy API v2, as in ``/api/v2``."""
        return self.prefix.endswith("/v2")

    def __str__(self) -> str:
        return self.base_url


def parse_address(text: str, *, default_port: int = DEFAULT_PORT) -> Address:
    """Parse an address.

    Args:
        text: host, host and port, or URL.
        default_port: the port if the text has none. A full URL keeps the port of its scheme, as in
            a browser, unless this differs from 8188.

    Raises:
        InvalidAddressError: it has no host, names another kind of server, or its number of jobs
            is out of range.

    >>> parse_address("https://cloud.comfy.org#jobs=3").parallel_jobs
    3
    """
    pasted = text.strip().strip("<>\"'`").replace("\\", "/")
    if not pasted:
        raise InvalidAddressError("The address is empty.")
    pasted, _, fragment = pasted.partition("#")
    scheme, rest = _split_scheme(pasted, text)
    netloc, path = _split_path(rest, text)
    userinfo, netloc = _split_userinfo(netloc)
    host, port = _split_port(netloc, text)
    if host in _WILDCARDS or not host:
        host = DEFAULT_HOST
    if scheme is None:
        scheme = "https" if f".{host}".endswith(_HTTPS_SUFFIXES) else "http"
        fallback = _STANDARD_PORTS["https"] if scheme == "https" else default_port
    else:
        fallback = _STANDARD_PORTS[scheme] if default_port == DEFAULT_PORT else default_port
    return Address(scheme, host, port or fallback, path, userinfo, _parallel_jobs(fragment))


def _split_scheme(pasted: str, text: str) -> tuple[Literal["http", "https"] | None, str]:
    if match := _SCHEME.match(pasted):
        secure = match[1].lower() in ("https", "wss")
        return ("https" if secure else "http"), pasted[match.end() :]
    if match := _OTHER_SCHEME.match(pasted):
        raise InvalidAddressError(
            f"'{_shown(text)}' is a {match[1].lower()} address; ComfyUI speaks http or https."
        )
    return None, pasted.lstrip("/")


def _parallel_jobs(fragment: str) -> int | None:
    name, _, number = fragment.partition("=")
    if name != "jobs":  # as copied from a browser
        return None
    jobs = int(number) if number.isascii() and number.isdigit() and len(number) < 3 else 0
    if not 1 <= jobs <= MAX_PARALLEL_JOBS:
        raise InvalidAddressError(
            f"'#{_shown(fragment)}' must be a number of jobs from 1 to {MAX_PARALLEL_JOBS}.",
            hint="As in https://cloud.comfy.org#jobs=3.",
        )
    return jobs


def _split_path(rest: str, text: str) -> tuple[str, str]:
    try:
        parts = urlsplit(f"//{rest}")
    except ValueError as error:  # an unclosed bracket, for instance
        raise _refused(text) from error
    path = re.sub(r"/{2,}", "/", parts.path).rstrip("/")
    for page in ("/index.html", "/ws"):  # as copied from a browser or a WebSocket
        path = path.removesuffix(page)
    return parts.netloc, quote(unquote(path), safe="/~:@!$&'()*+,;=-._")


def _split_userinfo(netloc: str) -> tuple[tuple[str, str] | None, str]:
    credentials, at, rest = netloc.rpartition("@")
    if not at:
        return None, netloc
    user, _, password = credentials.partition(":")
    return (unquote(user), unquote(password)), rest


def _split_port(netloc: str, text: str) -> tuple[str, int | None]:
    if netloc.isascii() and netloc.isdigit():  # "8188" alone
        return "", _port(netloc, text)
    if netloc.count(":") > 1 and not netloc.startswith("["):
        return _ipv6(netloc, text), None
    if netloc.startswith("["):
        inside, _, after = netloc[1:].partition("]")
        host = _ipv6(inside, text)
        if after and not after.startswith(":"):
            raise _refused(text)
        return host, _port(after[1:], text) if after[1:] else None
    host, _, port = netloc.partition(":")
    if host and not _HOST.match(host):
        raise _refused(text)
    if host.lower() in _STANDARD_PORTS:  # "http//host": a colon was lost
        raise _refused(text)
    if not host and not port:
        raise InvalidAddressError(f"'{_shown(text)}' names no host.")
    return host.lower(), _port(port, text) if port else None


def _ipv6(text: str, pasted: str) -> str:
    try:
        return str(IPv6Address(text))
    except ValueError as error:
        raise _refused(pasted) from error


def _port(text: str, pasted: str) -> int:
    port = int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else 0
    if not 1 <= port <= 65535:
        raise InvalidAddressError(
            f"'{_shown(pasted)}' has no valid port: it must be a number from 1 to 65535."
        )
    return port


def _refused(text: str) -> InvalidAddressError:
    return InvalidAddressError(f"'{_shown(text)}' is not an address of a server.")


def _shown(text: str) -> str:
    """The pasted text without a password, shortened to one line."""
    short = re.sub(r"//[^/@\s]*@", "//…@", text.strip())
    short = re.sub(r"^[^/@\s]*:[^/@\s]*@", "…@", short)
    return short if len(short) <= 100 else short[:99] + "…"


def is_loopback(host: str) -> bool:
    """Whether a host of an address is this machine itself.

    >>> is_loopback("localhost"), is_loopback("[::1]"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
