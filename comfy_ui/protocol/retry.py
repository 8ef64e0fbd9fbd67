"""Whether to retry a failed request, and how long to wait first.

Waits use "full jitter": a random time up to an exponentially growing ceiling, so that many clients
of one server do not retry in step.
"""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum


class Failure(StrEnum):
    """How safe it is to retry a failed request."""

    SAFE = "safe"
    """Safe to retry: nothing was done, or the request is idempotent."""

    UNKNOWN = "unknown"
    """It may have been done. Check (for a job: queue and history) before sending it again."""

    FINAL = "final"
    """The same request would fail the same way."""


# Refused before anything was done: too early, too many, not now.
_NOT_DONE = frozenset({408, 425, 429, 503})
# Failed on the way or in progress. ComfyUI's own 500 may follow after it has queued a job.
_MAYBE_DONE = frozenset({500, 502, 504})


def classify_status(status: int, *, idempotent: bool) -> Failure:
    """The class of an answer with an error status."""
    if status in _NOT_DONE:
        return Failure.SAFE
    if status in _MAYBE_DONE or 520 <= status <= 529:  # 52x: proxies that lost their origin
        return Failure.SAFE if idempotent else Failure.UNKNOWN
    return Failure.FINAL


def classify_transport(*, sent: bool, idempotent: bool) -> Failure:
    """The class of a request without an answer. ``sent``: some of it may have left this machine."""
    return Failure.UNKNOWN if sent and not idempotent else Failure.SAFE


@dataclass(frozen=True, slots=True)
class Backoff:
    """The pace of retries. ``attempts`` includes the first one; None: until the deadline."""

    base_s: float = 0.25
    cap_s: float = 30.0
    attempts: int | None = 5

    def ceiling_s(self, attempt: int) -> float:
        """The longest wait after failure number ``attempt`` (from 1)."""
        return min(self.cap_s, self.base_s * 2.0 ** min(attempt - 1, 64))

    def delay_s(
        self,
        attempt: int,
        *,
        jitter: float,
        now: float = 0.0,
        deadline: float | None = None,
        retry_after_s: float | None = None,
    ) -> float | None:
        """Seconds to wait after failure number ``attempt`` (from 1); None: give up.

        Args:
            attempt: how many attempts have failed.
            jitter: a random number from 0 to 1.
            now: seconds, of the same clock as ``deadline``.
            deadline: no attempt begins after it.
            retry_after_s: the server's Retry-After. It is always respected: if it lies beyond the
                deadline, there is no further attempt.
        """
        if self.attempts is not None and attempt >= self.attempts:
            return None
        delay = max(jitter * self.ceiling_s(attempt), retry_after_s or 0.0)
        return None if deadline is not None and now + delay > deadline else delay


def parse_retry_after(value: str | None, *, unix_now: float) -> float | None:
    """Parse a ``Retry-After`` header, seconds or a date, to seconds; None if it is neither."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - unix_now)
    except (ValueError, OverflowError):
        return None
