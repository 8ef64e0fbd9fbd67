"""Requests to web addresses that users name: download a file to upload it, post a message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import httpx

from ... import __version__
from ...errors import ValidationError
from ..transport.deadline import DeadlineTransport, deadline
from ..transport.resolver import GuardedTransport
from ..transport.server_address import tls_context
from ..transport.ssrf import public, reachable

_MAX_BYTES = 512 * 2**20
_SILENCE_S, _WHOLE_S = 30.0, 300.0
_POST_S = 10.0
_AGENT = {"user-agent": f"comfy-ui/{__version__}"}


def is_web_address(source: object) -> bool:
    """Whether a source is a URL and not a path."""
    return isinstance(source, str) and source.lower().startswith(("http://", "https://"))


def download_web_file(
    url: str, *, transport: httpx.BaseTransport | None = None, max_bytes: int = _MAX_BYTES
) -> tuple[bytes, str]:
    """Return the content and the file name of a web address.

    Follows redirects. Only addresses of the internet are connected to, so a URL of another user
    cannot reach this machine or its network.

    Args:
        url: starts with ``http://`` or ``https://``.
        transport: replaces the network in tests.
        max_bytes: the largest file.

    Raises:
        ValidationError: the file cannot be downloaded, or is too large.
    """
    if transport is None:
        transport = _guarded(private=False)
    content = bytearray()
    try:
        with (
            httpx.Client(
                transport=transport, follow_redirects=True, timeout=_SILENCE_S, headers=_AGENT
            ) as client,
            deadline(_WHOLE_S),
            client.stream("GET", url) as response,
        ):
            if not response.is_success:
                raise _failed(url, f"the server answered with {response.status_code}")
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > max_bytes:
                    raise _failed(url, f"it is larger than {max_bytes / 2**20:.3g} MB")
            name = unquote(response.url.path.rpartition("/")[2])
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _failed(url, str(error) or type(error).__name__) from error
    return bytes(content), name


@dataclass(frozen=True, slots=True)
class PostAnswer:
    """The answer to a message: its status, if one came, and the seconds that it asks to wait.

    ``problem`` says why the message was not accepted; it is empty if it was.
    """

    status: int | None = None
    problem: str = ""
    retry_after_s: float = 0.0


def post_to_web(
    url: str,
    content: bytes,
    headers: Mapping[str, str],
    *,
    private: bool = False,
    transport: httpx.BaseTransport | None = None,
) -> PostAnswer:
    """Post a message to a web address, and wait ten seconds for the answer.

    Redirects are not followed, and the body of the answer is not read.

    Args:
        url: starts with ``http://`` or ``https://``.
        content: the body.
        headers: describe it.
        private: whether addresses in private networks may be connected to.
        transport: replaces the network in tests.
    """
    transport = transport or _guarded(private=private)
    try:
        with (
            httpx.Client(transport=transport, timeout=_POST_S, headers=_AGENT) as client,
            deadline(_POST_S),
            client.stream("POST", url, content=content, headers={**headers}) as response,
        ):
            retry_after = response.headers.get("retry-after", "")
            wait_s = float(retry_after) if retry_after.isdecimal() else 0.0
            problem = "" if response.is_success else f"Answered with {response.status_code}"
            return PostAnswer(response.status_code, problem, wait_s)
    except httpx.TimeoutException:
        return PostAnswer(problem="No answer in time")
    except (httpx.HTTPError, httpx.InvalidURL):
        # One text for refused addresses and closed ports: it must not reveal the network.
        return PostAnswer(problem="No connection")


def _guarded(*, private: bool) -> httpx.BaseTransport:
    fresh = httpx.Limits(max_keepalive_connections=0)
    inner = DeadlineTransport(verify=tls_context(verify=True), limits=fresh)
    return GuardedTransport(inner, may_connect=reachable if private else public)


def _failed(url: str, reason: str) -> ValidationError:
    host = urlsplit(url).hostname  # the rest of the address may hold a key
    return ValidationError(
        f"The file at {host} cannot be downloaded: {reason}.",
        hint="Addresses in private networks are refused: download the file yourself and pass it.",
    )
