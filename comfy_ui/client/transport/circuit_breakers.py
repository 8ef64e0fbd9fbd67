"""One circuit breaker per route to a server, shared by all clients of this process that use it.

A route is an address with the way to it and the credentials: a wrong proxy or key of one client
does not stop the others. Clients use it unless they are created with ``breaker=False``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

from ...errors import CircuitOpenError
from ...protocol.circuit_breaker import CircuitState

# Five failures in a row: one cut connection must not open it. Five seconds are long enough to spare
# a server that is starting, and short enough to go unnoticed afterwards.
_DEFAULT_STATE = CircuitState(failures=5, reset_s=5.0)


class CircuitBreaker:
    """Refuses calls to a server that failed repeatedly. Safe to use from several threads.

    Args:
        label: the server, as error messages show it.
        state: the initial state, with the limits.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        label: str,
        state: CircuitState = _DEFAULT_STATE,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._label, self._state, self._clock = label, state, clock
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._label}: {self.state}>"

    @property
    def state(self) -> Literal["closed", "open", "half_open"]:
        """Whether calls are let through; ``half_open`` lets one through as a probe."""
        return self._state.name

    @property
    def retry_after_s(self) -> float:
        """Seconds until a call is let through; 0 when one would be now."""
        return self._state.retry_after_s(self._clock())

    def check(self) -> None:
        """Let a call through.

        Raises:
            CircuitOpenError: the server failed too often just now.
        """
        with self._lock:
            now = self._clock()
            admitted = self._state.admit(now)
            if admitted is None:
                wait_s = self._state.retry_after_s(now)
                raise CircuitOpenError(
                    f"No answer from {self._label} ({self._state.failed} attempts).",
                    retry_after_s=wait_s,
                )
            self._state = admitted

    def record(self, *, reached: bool) -> None:
        """Record how a call ended; an error status counts as an answer."""
        with self._lock:
            if reached:
                self._state = self._state.succeeded()
            else:
                self._state = self._state.failed_at(self._clock())


_breakers: dict[str, CircuitBreaker] = {}
_lock = threading.Lock()


def breaker_for(base_url: str, route: str | None = None) -> CircuitBreaker:
    """The breaker that all clients with this route to a server share."""
    key = base_url if route is None else route
    with _lock:
        if key not in _breakers:
            _breakers[key] = CircuitBreaker(base_url)
        return _breakers[key]
