"""The circuit breaker of one server, as a state machine without a clock.

closed → (``failures`` transport failures in a row) → open → (``reset_s`` later) → half-open: one
probe → closed again, or open for another ``reset_s``. Only missing answers count as failures: an
error status, or a job that failed, shows that the server is alive.

Written by hand because the sync and the async client share one state per server; libraries tie
theirs to one of the two, or to their own clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, slots=True)
class CircuitState:
    """The state of a breaker, with its two limits.

    ``failed`` counts failures in a row. ``retry_at`` is when the next call is let through; None
    while the circuit is closed.
    """

    failures: int = 5
    reset_s: float = 30.0
    failed: int = 0
    retry_at: float | None = None
    probing: bool = False

    @property
    def name(self) -> Literal["closed", "open", "half_open"]:
        if self.retry_at is None:
            return "closed"
        return "half_open" if self.probing else "open"

    def retry_after_s(self, now: float) -> float:
        """Seconds until a call is let through; 0 if one would be now."""
        return 0.0 if self.retry_at is None else max(0.0, self.retry_at - now)

    def admit(self, now: float) -> CircuitState | None:
        """The state after letting a call through; None if the call is refused.

        A probe without an outcome (its task was cancelled) blocks other calls for ``reset_s`` only.
        """
        if self.retry_at is None:
            return self
        if now < self.retry_at:
            return None
        return replace(self, probing=True, retry_at=now + self.reset_s)

    def succeeded(self) -> CircuitState:
        """The state after an answer of any status."""
        if self.retry_at is None and not self.failed:
            return self
        return replace(self, failed=0, retry_at=None, probing=False)

    def failed_at(self, now: float) -> CircuitState:
        """The state after a call without an answer: refused, reset or timed out."""
        failed = self.failed + 1
        if self.retry_at is None and failed < self.failures:
            return replace(self, failed=failed)
        if self.retry_at is not None and not self.probing:
            return replace(self, failed=failed)  # a call from before it opened says nothing new
        return replace(self, failed=failed, retry_at=now + self.reset_s, probing=False)
