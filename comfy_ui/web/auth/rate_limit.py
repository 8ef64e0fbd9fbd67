"""How often somebody may try or ask. Pure: the clock is a parameter."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["LoginAttempts", "RateLimit", "RateLimiter"]

_MAX_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class RateLimit:
    """``burst`` at once, and ``per_minute`` in the long run."""

    burst: int
    per_minute: float


class RateLimiter:
    """A bucket of permissions for each person and kind of action, refilled as time goes by.

    Remembers the last 10,000 people; all the others start with a full bucket.
    """

    def __init__(self, paces: Mapping[str, RateLimit]) -> None:
        self._paces = paces
        self._buckets: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()

    def wait_s(self, action: str, who: str, now: float) -> float:
        """Take one permission and give 0, or the seconds until there will be one."""
        pace = self._paces.get(action)
        if pace is None:
            return 0.0
        key = action, who
        left, at = self._buckets.pop(key, (float(pace.burst), now))
        left = min(pace.burst, left + (now - at) * pace.per_minute / 60)
        wait_s = 0.0 if left >= 1 else (1 - left) * 60 / pace.per_minute
        self._buckets[key] = left - (wait_s == 0.0), now
        if len(self._buckets) > _MAX_REMEMBERED:
            self._buckets.popitem(last=False)
        return wait_s


@dataclass(frozen=True, slots=True)
class _Failures:
    count: int = 0
    until: float = 0.0


class LoginAttempts:
    """Wrong passwords: after ``free`` of them each next try waits twice as long as the one before.

    The wait ends with a right password and is never longer than ``longest_s``, so that nobody
    can lock another one out for good.
    """

    def __init__(self, *, free: int = 5, longest_s: float = 60.0) -> None:
        self._free = free
        self._longest_s = longest_s
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def wait_s(self, who: str, now: float) -> float:
        """Seconds until the next try counts; 0 when it may be now."""
        return max(0.0, self._failures.get(who, _Failures()).until - now)

    def failed(self, who: str, now: float) -> None:
        """A wrong password."""
        count = self._failures.pop(who, _Failures()).count + 1
        over = count - self._free
        wait_s = min(self._longest_s, 2.0 ** min(over, 30)) if over >= 0 else 0.0
        self._failures[who] = _Failures(count, now + wait_s)
        if len(self._failures) > _MAX_REMEMBERED:
            self._failures.popitem(last=False)

    def succeeded(self, who: str) -> None:
        """A right password."""
        self._failures.pop(who, None)
