"""Rate limits and login delays. Pure: the clock is a parameter."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["LoginAttempts", "RateLimit", "RateLimiter", "TokenBucket"]

_MAX_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class RateLimit:
    """``burst`` actions at once, and ``per_minute`` in the long run."""

    burst: int
    per_minute: float

    def times(self, count: int) -> RateLimit:
        """Return the limit for so many users together."""
        return RateLimit(self.burst * count, self.per_minute * count)


@dataclass(slots=True)
class TokenBucket:
    """The tokens that were left at a time."""

    tokens: float
    at: float

    def take(self, pace: RateLimit, now: float) -> float:
        """Take one token and return 0, or return the seconds until there is one."""
        self.tokens = min(pace.burst, self.tokens + (now - self.at) * pace.per_minute / 60)
        self.at = now
        if self.tokens < 1:
            return (1 - self.tokens) * 60 / pace.per_minute
        self.tokens -= 1
        return 0.0


class RateLimiter:
    """A token bucket per user and kind of action.

    Remembers the last 10,000 users; all others start with a full bucket.
    """

    def __init__(self, paces: Mapping[str, RateLimit]) -> None:
        self._paces = paces
        self._buckets: OrderedDict[tuple[str, str], TokenBucket] = OrderedDict()

    def wait_s(self, action: str, who: str, now: float) -> float:
        """Take one token and return 0, or return the seconds until there is one."""
        pace = self._paces.get(action)
        if pace is None:
            return 0.0
        key = action, who
        bucket = self._buckets.pop(key, None) or TokenBucket(float(pace.burst), now)
        wait_s = bucket.take(pace, now)
        self._buckets[key] = bucket
        if len(self._buckets) > _MAX_REMEMBERED:
            self._buckets.popitem(last=False)
        return wait_s

    def give_back(self, action: str, who: str) -> None:
        """Return a token that :meth:`wait_s` took."""
        if bucket := self._buckets.get((action, who)):
            bucket.tokens = min(self._paces[action].burst, bucket.tokens + 1)


@dataclass(frozen=True, slots=True)
class _Failures:
    count: int = 0
    until: float = 0.0


class LoginAttempts:
    """Delays after wrong passwords: after ``free`` of them each delay doubles.

    A right password resets the delay, which never exceeds ``longest_s``, so that no user can lock
    out another permanently.
    """

    def __init__(self, *, free: int = 5, longest_s: float = 60.0) -> None:
        self._free = free
        self._longest_s = longest_s
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def wait_s(self, who: str, now: float) -> float:
        """Return the seconds until the next attempt is allowed; 0 if it is allowed now."""
        return max(0.0, self._failures.get(who, _Failures()).until - now)

    def failed(self, who: str, now: float) -> None:
        """Record a wrong password."""
        count = self._failures.pop(who, _Failures()).count + 1
        over = count - self._free
        wait_s = min(self._longest_s, 2.0 ** min(over, 30)) if over >= 0 else 0.0
        self._failures[who] = _Failures(count, now + wait_s)
        if len(self._failures) > _MAX_REMEMBERED:
            self._failures.popitem(last=False)

    def succeeded(self, who: str) -> None:
        """Record a right password."""
        self._failures.pop(who, None)
