"""Name resolution of both clients, for HTTP and WebSocket.

A name is resolved once for each connection. A guarded client checks the addresses (see
:mod:`.ssrf`) and connects to exactly those it checked, so DNS rebinding has no effect: an answer
that changes is checked again for the next connection. TLS still verifies the name.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Any

import httpx

from .ssrf import reachable

logger = logging.getLogger(__name__)

AddressInfo = tuple[Any, Any, int, str, Any]
"""An item of what ``socket.getaddrinfo`` returns."""

# After this silence the next address of a name is tried, if it has several.
NEXT_ADDRESS_S = 1.0


async def resolve(host: str, port: int, *, guarded: bool) -> Sequence[AddressInfo]:
    """The addresses of a name that may be connected to.

    Raises:
        OSError: the name has no such address (ConnectionRefusedError), or does not exist
            (socket.gaierror).
    """
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return _allowed(host, addresses, reachable) if guarded else addresses


async def connected(host: str, port: int, *, guarded: bool = False) -> socket.socket:
    """A socket to the first address of the name that answers (localhost is ::1 and 127.0.0.1).

    asyncio's own race between addresses leaks sockets when it is cancelled (seen in 3.11).

    Raises:
        OSError: nothing answers, or :func:`resolve` raised it.
    """
    loop = asyncio.get_running_loop()
    addresses = await resolve(host, port, guarded=guarded)
    for remaining, (family, kind, protocol, _, address) in zip(
        reversed(range(len(addresses))), addresses, strict=True
    ):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            async with asyncio.timeout(NEXT_ADDRESS_S if remaining else None):
                await loop.sock_connect(sock, address)
        except OSError:
            sock.close()
            if not remaining:
                raise
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise OSError("the name has no address")


def _allowed(
    host: str, addresses: Sequence[AddressInfo], may_connect: Callable[[str], bool]
) -> Sequence[AddressInfo]:
    """The addresses that may be connected to.

    Refused ones do not spoil the rest: names of a local network often have a link-local address
    besides their usual one.

    Raises:
        ConnectionRefusedError: there is none. Callers cannot tell it from a closed port.
    """
    allowed = [info for info in addresses if may_connect(info[4][0])]
    if addresses and not allowed:
        logger.warning("Not connected to %s: %s is not allowed", host, addresses[0][4][0])
        raise ConnectionRefusedError("this address is not allowed")
    return allowed


class GuardedTransport(httpx.BaseTransport):
    """Connects the sync client to checked addresses only.

    httpx's transports resolve names themselves, so this puts the address in place of the name; the
    ``Host`` header and TLS keep the name.

    Args:
        inner: carries the requests. It must not keep connections: it would mix up those of
            different names at one address.
        may_connect: judges an IP address.
    """

    def __init__(
        self, inner: httpx.BaseTransport, *, may_connect: Callable[[str], bool] = reachable
    ) -> None:
        self._inner, self._may_connect = inner, may_connect

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            addresses = socket.getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
            allowed = _allowed(url.host, addresses, self._may_connect)
        except OSError as error:
            raise httpx.ConnectError(str(error), request=request) from error
        for remaining, info in zip(reversed(range(len(allowed))), allowed, strict=True):
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
                if not remaining:
                    raise
        raise httpx.ConnectError("the name has no address", request=request)

    def close(self) -> None:
        self._inner.close()
