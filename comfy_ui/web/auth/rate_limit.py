"""Rate limits and login delays, as changes of counters. Pure: the clock is a parameter."""

from __future__ import annotations

from dataclasses import dataclass

from .limit_counters import CounterState

__all__ = ["LoginDelay", "RateLimit"]


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A token bucket: ``burst`` actions at once, and ``per_minute`` in the long run."""

    burst: int
    per_minute: float

    def times(self, count: int) -> RateLimit:
        """Return the limit for so many users together."""
        return RateLimit(self.burst * count, self.per_minute * count)

    def take(self, state: CounterState, now: float) -> tuple[float, CounterState]:
        """Take one token, or return the seconds until there is one."""
        tokens = self._tokens(state, now)
        if tokens < 1:
            return (1 - tokens) * 60 / self.per_minute, state
        return 0.0, {"tokens": tokens - 1, "at": now}

    def give_back(self, state: CounterState, now: float) -> tuple[float, CounterState]:
        """Return a token that :meth:`take` took."""
        tokens = self._tokens(state, now) + 1
        return 0.0, {"tokens": tokens, "at": now} if tokens < self.burst else {}

    def _tokens(self, state: CounterState, now: float) -> float:
        if not state:
            return float(self.burst)
        passed_s = max(0.0, now - state["at"])
        return min(self.burst, state["tokens"] + passed_s * self.per_minute / 60)


@dataclass(frozen=True, slots=True)
class LoginDelay:
    """Delays after wrong passwords: after ``free`` of them each delay doubles.

    A right password resets the delay, which never exceeds ``longest_s``, so that no user can lock
    out another permanently.
    """

    free: int = 5
    longest_s: float = 60.0

    def wait(self, state: CounterState, now: float) -> tuple[float, CounterState]:
        """Return the seconds until the next attempt is allowed; 0 if it is allowed now."""
        return min(self.longest_s, max(0.0, state.get("until", 0.0) - now)), state

    def attempt(self, state: CounterState, now: float) -> tuple[float, CounterState]:
        """Count an attempt as a wrong one if it is allowed now."""
        wait_s, _ = self.wait(state, now)
        if wait_s:
            return wait_s, state
        count = state.get("count", 0.0) + 1
        over = count - self.free
        delay_s = min(self.longest_s, 2.0 ** min(over, 30)) if over >= 0 else 0.0
        return 0.0, {"count": count, "until": now + delay_s}

    def reset(self, _: CounterState, now: float) -> tuple[float, CounterState]:  # noqa: ARG002
        """Forget the attempts."""
        return 0.0, {}
