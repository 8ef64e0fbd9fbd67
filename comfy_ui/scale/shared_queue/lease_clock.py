"""The time by which the leases of workers end: it stands still while the database is away.

No worker can renew its lease then. Without this, the first one that reaches the database again
would take the jobs of all others, which still run at their servers.
"""

from __future__ import annotations

from typing import Final

LEASE_S: Final = 45.0
"""A worker that was not heard of for so long gets no jobs, and those it has may move."""
OUTAGE_S: Final = 20.0
"""Reads of a process that are further apart: it could not reach the database in between."""
_KEPT: Final = 8  # outages; a worker that was silent before all of them has lost its lease


class LeaseClock:
    """The lease clock of one process. All times are seconds of the database's clock.

    Attributes:
        now: when the process read the database last; 0 before the first time.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._outages: list[tuple[float, float]] = []  # when each began and ended

    def read(self, now: float, *, started_at: float, heard_at: float) -> None:
        """Note that the database was read at ``now``.

        Args:
            started_at: when the database server was started.
            heard_at: the newest heartbeat of all workers; 0 if there is none.
        """
        last = self.now
        if last and (now - last > OUTAGE_S or started_at > last):
            self._outages.append((last, now))
        elif not last and 0 < heard_at < started_at:  # of before this process
            self._outages.append((heard_at, started_at))
        self._outages = self._outages[-_KEPT:]
        self.now = now

    def silence_s(self, seen_at: float) -> float:
        """Return for how long a worker could have renewed its lease after ``seen_at``."""
        away_s = sum(end - max(start, seen_at) for start, end in self._outages if end > seen_at)
        return self.now - seen_at - away_s
