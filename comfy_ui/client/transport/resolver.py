"""How a name becomes a connection: the one place where both clients, HTTP and WebSocket, resolve.

A name is resolved once for each connection; a guarded client looks at the answer (see
:mod:`.ssrf`) and connects to exactly what it looked at. So an answer that changes between the two
changes nothing, and one that changes later is looked at again with the next connection. TLS goes on
to verify the name.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from typing import Any

import httpx

from .ssrf import reachable

logger = logging.getLogger(__name__)

AddressInfo = tuple[Any, Any, int, str, Any]
"""As ``socket.getaddrinfo`` gives it."""

# An address that is silent for so long is passed over, if the name has another one.
_NEXT_ADDRESS_S = 1.0


async def connected(host: str, port: int, *, guarded: bool = False) -> socket.socket:
    """A socket to the first address of the name that answers (localhost is ::1 and 127.0.0.1).

    asyncio's own race between addresses leaks sockets when it is cancelled (seen in 3.11).

    Raises:
        OSError: nothing answers, or the name has no address that may be connected to.
        socket.gaierror: there is no such name.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    allowed = _allowed(host, found, guarded=guarded)
    for more, (family, kind, protocol, _, address) in zip(
        reversed(range(len(allowed))), allowed, strict=True
    ):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            async with asyncio.timeout(_NEXT_ADDRESS_S if more else None):
                await loop.sock_connect(sock, address)
        except OSError:
            sock.close()
            if not more:
                raise
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise OSError("the name has no address")


def _allowed(host: str, found: Sequence[AddressInfo], *, guarded: bool) -> Sequence[AddressInfo]:
    """Those of the addresses that may be connected to.

    The others are left out and do not spoil the rest: names of a local network often have a
    link-local address besides.

    Raises:
        ConnectionRefusedError: there is none. To whoever asks it looks like any closed port.
    """
    if not guarded:
        return found
    allowed = [info for info in found if reachable(info[4][0])]
    if found and not allowed:
        logger.warning("No ComfyUI can be at %s: not connected to %s", host, found[0][4][0])
        raise ConnectionRefusedError("no address that may be connected to")
    return allowed


class GuardedTransport(httpx.BaseTransport):
    """What :func:`connected` is for the async client, for the blocking one.

    httpx's transports resolve by themselves, so this puts the address in place of the name; the
    ``Host`` header and TLS keep the name.

    Args:
        inner: carries the requests. It must keep no connection: it would take those of different
            names at one address for the same.
    """

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self._inner = inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            found = socket.getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
            allowed = _allowed(url.host, found, guarded=True)
        except OSError as error:
            raise httpx.ConnectError(str(error), request=request) from error
        for more, info in zip(reversed(range(len(allowed))), allowed, strict=True):
            pinned = httpx.Request(
                request.method,
                url.copy_with(host=info[4][0]),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": url.host},
            )
            try:
                return self._inner.handle_request(pinned)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if not more:
                    raise
        raise httpx.ConnectError("the name has no address", request=request)

    def close(self) -> None:
        self._inner.close()
