"""Whether to repeat a request that failed, and how long to wait before.

Waits are "full jitter": anything between nothing and an exponentially growing ceiling, so that
many clients of one server do not come back in step.
"""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum


class Failure(StrEnum):
    """What a failed request leaves behind."""

    SAFE = "safe"
    """It may be sent again: nothing was done, or doing it twice is the same as once."""

    UNKNOWN = "unknown"
    """It may have been done. Look (for a job: in queue and history) before sending it again."""

    FINAL = "final"
    """The same request would fail the same way."""


# Refused before anything was done: too early, too many, not now.
_NOT_DONE = frozenset({408, 425, 429, 503})
# Failed on the way, or while it was being done. ComfyUI's own 500 may come after it has queued.
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
    """How patiently to repeat. ``attempts`` counts the first one too; None: until the deadline."""

    base_s: float = 0.25
    cap_s: float = 30.0
    attempts: int | None = 5

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
            retry_after_s: what the server asked for. It is never undercut: when it lies behind
                the deadline, there is no further attempt.
        """
        if self.attempts is not None and attempt >= self.attempts:
            return None
        ceiling = min(self.cap_s, self.base_s * 2.0 ** min(attempt - 1, 64))
        delay = max(jitter * ceiling, retry_after_s or 0.0)
        return None if deadline is not None and now + delay > deadline else delay


def parse_retry_after(value: str | None, *, unix_now: float) -> float | None:
    """Seconds out of a ``Retry-After`` header, in seconds or as a date; None if it is neither."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - unix_now)
    except (ValueError, OverflowError):
        return None
