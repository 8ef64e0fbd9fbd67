"""When to start a crashed server again: with growing pauses, and not endlessly. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

__all__ = ["RestartPolicy"]

_FIRST_DELAY_S: Final = 1.0
_MAX_DELAY_S: Final = 60.0


@dataclass(slots=True)
class RestartPolicy:
    """Gives up after ``limit`` exits within ``window_s``, a crash loop.

    >>> policy = RestartPolicy(limit=3)
    >>> [policy.delay_s(now) for now in (0.0, 5.0, 9.0)]
    [1.0, 2.0, None]
    """

    limit: int = 5
    window_s: float = 600.0
    _exits: deque[float] = field(default_factory=deque)

    def delay_s(self, now: float) -> float | None:
        """Record an exit; return the pause before the next start, or None to give up."""
        while self._exits and self._exits[0] <= now - self.window_s:
            self._exits.popleft()
        self._exits.append(now)
        if len(self._exits) >= self.limit:
            return None
        return float(min(_MAX_DELAY_S, _FIRST_DELAY_S * 2 ** (len(self._exits) - 1)))

    def forget(self) -> None:
        """Forget all exits, as after a start that a person has asked for."""
        self._exits.clear()
