"""Download the file of a web address, to upload it."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import httpx

from ... import __version__
from ...errors import ValidationError
from ..transport.deadline import DeadlineTransport, deadline
from ..transport.resolver import GuardedTransport
from ..transport.server_address import tls_context
from ..transport.ssrf import public

_MAX_BYTES = 512 * 2**20
_SILENCE_S, _WHOLE_S = 30.0, 300.0


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
        fresh = httpx.Limits(max_keepalive_connections=0)
        inner = DeadlineTransport(verify=tls_context(verify=True), limits=fresh)
        transport = GuardedTransport(inner, may_connect=public)
    headers = {"user-agent": f"comfy-ui/{__version__}"}
    content = bytearray()
    try:
        with (
            httpx.Client(
                transport=transport, follow_redirects=True, timeout=_SILENCE_S, headers=headers
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


def _failed(url: str, reason: str) -> ValidationError:
    host = urlsplit(url).hostname  # the rest of the address may hold a key
    return ValidationError(
        f"The file at {host} cannot be downloaded: {reason}.",
        hint="Addresses in private networks are refused: download the file yourself and pass it.",
    )
