"""What rate limits and login delays count: in this process, or for several apps together.

A counter is a few numbers by name, and what limits something is a pure function of them and the
time, see :mod:`.rate_limit`. So both kinds of counters have the same rules.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final, Protocol, TypeAlias

from ...errors import StorageError
from ...user_turns import UserTurns

__all__ = [
    "CounterChange",
    "CounterState",
    "LimitCounters",
    "LocalCounters",
    "SharedCounters",
    "counter_key",
]

logger = logging.getLogger(__name__)

CounterState: TypeAlias = Mapping[str, float]
"""The numbers of a counter; none if it is new, or was not used for long."""
CounterChange: TypeAlias = Callable[[CounterState, float], tuple[float, CounterState]]
"""Returns the seconds to wait, 0 if it is allowed, and the new state. Gets the old one and the time
in seconds. Must be pure: it may be called again."""

_MAX_COUNTERS: Final = 10_000
_WAIT_S: Final = 1.0
_ASK_AGAIN_S: Final = 5.0


class LimitCounters(Protocol):
    """Counters by key."""

    async def update(self, key: str, change: CounterChange) -> float:
        """Change a counter, one caller after the other; return the seconds to wait."""


def counter_key(*parts: str) -> str:
    """Return the key of a counter. ``parts`` may be of any length: callers choose names.

    >>> counter_key("run", "user:ann") == counter_key("run", "user:ann")
    True
    """
    text = "\0".join(parts).encode(errors="backslashreplace")
    return hashlib.sha256(text).hexdigest()[:40]


class LocalCounters:
    """Counters in memory, the 10,000 used last. ``now``: a clock, in seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._states: OrderedDict[str, CounterState] = OrderedDict()

    async def update(self, key: str, change: CounterChange) -> float:
        """Change a counter, see :meth:`LimitCounters.update`. Never waits."""
        wait_s, state = change(self._states.get(key, {}), self._now())
        self.put(key, state)
        return wait_s

    def put(self, key: str, state: CounterState) -> None:
        """Replace the state of a counter."""
        self._states.pop(key, None)
        if state:
            self._states[key] = state
        if len(self._states) > _MAX_COUNTERS:
            self._states.popitem(last=False)


class SharedCounters:
    """The counters of several apps. While these cannot be reached, this app counts on its own.

    It begins with what it has last seen of them, so a caller who has to wait still has to. A call
    takes a second at most, and while they are away one call in five seconds tries again.

    Args:
        shared: counters that raise StorageError while they cannot be reached.
        now: the time of day, in seconds, as the shared counters have it.
    """

    def __init__(self, shared: LimitCounters, *, now: Callable[[], float] = time.time) -> None:
        self._shared = shared
        self._local = LocalCounters(now)
        self._turns = UserTurns()
        self._ask_again_at = 0.0  # monotonic seconds; 0 while they can be reached

    async def update(self, key: str, change: CounterChange) -> float:
        """Change a counter, see :meth:`LimitCounters.update`."""
        async with self._turns.of(key):  # so that only other apps change it at the same time
            if self._is_asked():
                try:
                    async with asyncio.timeout(_WAIT_S):
                        return await self._update_shared(key, change)
                except (StorageError, TimeoutError) as error:
                    if not self._ask_again_at:
                        reason = str(error) or "the database does not answer."
                        logger.warning("This app counts its rate limits on its own: %s", reason)
                    self._ask_again_at = time.monotonic() + _ASK_AGAIN_S
            return await self._local.update(key, change)

    def _is_asked(self) -> bool:
        """Whether this call asks the shared counters; the others go on meanwhile."""
        if not self._ask_again_at:
            return True
        if time.monotonic() < self._ask_again_at:
            return False
        self._ask_again_at = time.monotonic() + _ASK_AGAIN_S
        return True

    async def _update_shared(self, key: str, change: CounterChange) -> float:
        latest: CounterState = {}

        def noted(state: CounterState, now: float) -> tuple[float, CounterState]:
            nonlocal latest
            wait_s, latest = change(state, now)
            return wait_s, latest

        wait_s = await self._shared.update(key, noted)
        self._local.put(key, latest)
        self._ask_again_at = 0.0
        return wait_s
