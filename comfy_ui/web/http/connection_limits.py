"""Limits for TCP connections: their number, and the time for a request's head.

uvicorn has neither, so a client that opens connections and sends nothing uses up the process's
file descriptors. :func:`limit_connections` makes the server that Gradio starts use
:class:`LimitedProtocol`, and lets it take its time to start.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from ...client.transport.address import is_loopback
from ..auth.login_limits import network_of
from .handlers import RefusalLog

__all__ = ["ConnectionLimits", "Connections", "LimitedProtocol", "limit_connections"]

logger = logging.getLogger(__name__)

_MAX_CONNECTIONS: Final = 4096
_MAX_FILES: Final = 10_240  # macOS refuses more
_OTHER_FILES: Final = 256  # for the database, downloads, ComfyUI and libraries
_SHUTDOWN_S: Final = 3  # then requests that are still open are cancelled
_BACKLOG: Final = 128  # asyncio accepts as many at once, before any limit applies
_STARTED_POLL_S: Final = 0.01
_HTTP: Any = AutoHTTPProtocol  # httptools, which is much faster than h11, where it is installed


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits of one server.

    Attributes:
        total: connections at a time.
        per_address: of them, from one address, or from one /64 network of IPv6. Loopback addresses
            have no limit of their own: tunnels and proxies connect from there for all their users.
        head_s: seconds until the head of a request must be complete.
        head_bytes: the size of a head.
        pipelined: requests that one connection may send before it reads the responses.
    """

    total: int = _MAX_CONNECTIONS
    per_address: int = 256
    head_s: float = 10.0
    head_bytes: int = 64 * 1024
    pipelined: int = 8


@dataclass(slots=True)
class _Address:
    """The connections from one address; ``idle`` ones, oldest first, can be evicted."""

    count: int = 0
    idle: dict[LimitedProtocol, None] = field(default_factory=dict)


class Connections:
    """All open connections of a server, by address.

    At a limit, a new connection replaces the oldest idle one: one that has sent no complete
    request, or that does not read its response.
    """

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._addresses: dict[str, _Address] = {}
        self._open: dict[LimitedProtocol, str] = {}
        self._refusals = RefusalLog(logger)

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: LimitedProtocol, host: str) -> bool:
        """Add a connection, in place of an idle one if necessary; False if there is no room."""
        host = network_of(host)
        address = self._addresses.get(host)
        if (
            address is not None
            and address.count >= self.limits.per_address
            and not is_loopback(host)
            and not self._evict(address)
        ):
            self._refusals.add(f"Refused a connection: {host} has {address.count}.")
            return False
        if len(self._open) >= self.limits.total:
            candidates = [each for each in self._addresses.values() if each.idle]
            largest = max(candidates, key=lambda each: each.count, default=None)
            if largest is None or not self._evict(largest):
                self._refusals.add(f"Refused a connection: {len(self._open):,} are open.")
                return False
        self._addresses.setdefault(host, _Address()).count += 1
        self._open[connection] = host
        return True

    def set_idle(self, connection: LimitedProtocol, *, idle: bool) -> None:
        """Record whether a connection can be evicted."""
        host = self._open.get(connection)
        if host is None:
            return
        others = self._addresses[host].idle
        if not idle:
            others.pop(connection, None)
        else:
            others.setdefault(connection)

    def remove(self, connection: LimitedProtocol) -> None:
        """Remove a connection that has been closed."""
        host = self._open.pop(connection, None)
        if host is None:
            return
        address = self._addresses[host]
        address.idle.pop(connection, None)
        address.count -= 1
        if not address.count:
            del self._addresses[host]

    def _evict(self, address: _Address) -> bool:
        oldest = next(iter(address.idle), None)
        if oldest is None:
            return False
        self._refusals.add("Closed an idle connection to make room for a new one.")
        self.remove(oldest)
        oldest.transport.abort()
        return True


class LimitedProtocol(_HTTP):  # type: ignore[misc]  # uvicorn chooses the class
    """uvicorn's HTTP protocol with the limits of ``connections``."""

    def __init__(self, connections: Connections, **options: Any) -> None:
        super().__init__(**options)
        self._connections = connections
        self._limits = connections.limits
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    @property
    def _busy(self) -> bool:
        """Whether a request is complete up to its body and not yet answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        if not self._connections.add(self, self.client[0] if self.client else ""):
            transport.abort()
            return
        self._wait_for_head()

    def connection_lost(self, error: Exception | None) -> None:
        self._stop_timer()
        self._connections.remove(self)
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._busy:
            self._stop_timer()
            self._head_bytes = 0
            self._connections.set_idle(self, idle=False)
            return
        self._head_bytes += len(data)
        if self._head_bytes > self._limits.head_bytes:
            self.transport.close()
        elif self._head_timer is None:
            self._wait_for_head()

    def on_headers_complete(self) -> None:
        """Start a request, unless the connection has sent many without reading a response."""
        if len(self.pipeline) >= self._limits.pipelined:
            self.transport.close()
        elif not self.transport.is_closing():
            super().on_headers_complete()

    def shutdown(self) -> None:
        """Close the connection, or wait for the response to a request that is complete."""
        super().shutdown()
        if self._busy and self.cycle.more_body:
            self.transport.close()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._busy:
            self._connections.set_idle(self, idle=True)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._connections.set_idle(self, idle=True)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._connections.set_idle(self, idle=not self._busy)

    def _should_upgrade(self) -> bool:
        # A WebSocket would leave this protocol and its limits; the page uses none.
        return False

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing: a client could fill the log with these requests."""

    def _wait_for_head(self) -> None:
        self._connections.set_idle(self, idle=True)
        self._head_timer = self.loop.call_later(self._limits.head_s, self.transport.close)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


@contextmanager
def limit_connections(limits: ConnectionLimits | None = None) -> Iterator[Connections]:
    """Apply the limits to the server that Gradio starts inside the ``with`` block.

    Gradio passes its own options to uvicorn, so its server class is replaced for that time.
    """
    from gradio import http_server as gradio_server

    http_server: Any = gradio_server

    connections = Connections(limits or ConnectionLimits(total=_room()))

    def protocol(**options: Any) -> LimitedProtocol:
        return LimitedProtocol(connections, **options)

    class LimitedServer(http_server.Server):  # type: ignore[misc]  # Gradio has no types
        def __init__(self, config: Any, *args: Any, **options: Any) -> None:
            config.http = protocol
            config.backlog = _BACKLOG
            config.proxy_headers = False  # see proxy_headers.py
            config.timeout_graceful_shutdown = _SHUTDOWN_S
            super().__init__(config, *args, **options)

        def run_in_thread(self) -> None:
            # Gradio waits for five seconds, and then says that the port is in use. On a busy
            # machine, opening the database takes longer.
            self.thread = threading.Thread(target=self.run, daemon=True)
            self.thread.start()
            while not self.started:
                self.thread.join(_STARTED_POLL_S)
                if not self.thread.is_alive():
                    raise http_server.ServerFailedToStartError("The server failed to start.")

    original = http_server.Server
    http_server.Server = LimitedServer
    try:
        yield connections
    finally:
        http_server.Server = original


def _room() -> int:
    """Raise the limit of open files as far as possible; return how many connections fit."""
    try:
        import resource
    except ImportError:  # Windows has no such limit for sockets
        return _MAX_CONNECTIONS
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY or most > _MAX_FILES:
        most = max(files, _MAX_FILES)
    if files < most:
        with suppress(OSError, ValueError):
            resource.setrlimit(
                resource.RLIMIT_NOFILE, (most, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
            )
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files == resource.RLIM_INFINITY:
        return _MAX_CONNECTIONS
    return max(32, min(_MAX_CONNECTIONS, files - _OTHER_FILES - _BACKLOG))
