"""One circuit breaker per server, shared by every client of it in this process.

It comes with the extra [health]; every client there uses it unless told otherwise.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

from ...errors import CircuitOpenError
from ...protocol.circuit_breaker import CircuitBreaker


class SharedBreaker:
    """The pure state machine with a lock and a clock; see ``protocol/circuit_breaker.py``."""

    def __init__(
        self,
        where: str,
        *,
        rules: CircuitBreaker | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._where, self._clock = where, clock
        # Five failures in a row open it: one cut connection must not. Five seconds are long
        # enough to spare a server that is starting, and short enough not to be noticed after.
        self._breaker = rules or CircuitBreaker(failures=5, reset_s=5.0)
        self._lock = threading.Lock()

    @property
    def state(self) -> Literal["closed", "open", "half_open"]:
        return self._breaker.state

    @property
    def retry_after_s(self) -> float:
        """Seconds until a call is let through; 0 when one would be now."""
        return self._breaker.retry_after_s(self._clock())

    def check(self) -> None:
        """Let a call out.

        Raises:
            CircuitOpenError: the server failed too often just now.
        """
        with self._lock:
            now = self._clock()
            admitted = self._breaker.admit(now)
            if admitted is None:
                wait_s = self._breaker.retry_after_s(now)
                raise CircuitOpenError(
                    f"No answer from {self._where} ({self._breaker.failed} attempts).",
                    retry_after_s=wait_s,
                )
            self._breaker = admitted

    def record(self, *, reached: bool) -> None:
        """How a call that was let out ended; an error status is an answer too."""
        with self._lock:
            if reached:
                self._breaker = self._breaker.succeeded()
            else:
                self._breaker = self._breaker.went_wrong(self._clock())


_breakers: dict[str, SharedBreaker] = {}
_lock = threading.Lock()


def breaker_for(base_url: str) -> SharedBreaker:
    """The breaker of that server."""
    with _lock:
        if base_url not in _breakers:
            _breakers[base_url] = SharedBreaker(base_url)
        return _breakers[base_url]
