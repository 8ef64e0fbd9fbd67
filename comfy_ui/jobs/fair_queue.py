"""Whose turn it is: start-time fair queuing between owners, their own order within.

Every job gets a start tag, the larger of the virtual time and its owner's last finish tag; its
finish tag is the start tag plus its estimated cost. The smallest start tag goes next and becomes
the virtual time. So owners share the machine by cost, not by number of jobs, and one who comes
after an hour of another's work waits for one turn, not for the backlog.

Source: P. Goyal, H. M. Vin, H. Cheng, "Start-time Fair Queueing", SIGCOMM 1996. Tags are given
at the head of an owner's line, not on arrival, so that a line can be reordered until then.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """What fairness needs to know of a waiting job; the lowest ``rank`` is its owner's next."""

    job_id: str
    user_id: str
    rank: float
    cost_s: float
    created_at: float


@dataclass(frozen=True, slots=True)
class FairQueueClock:
    """The virtual time, and up to when each owner has used their share."""

    virtual_s: float = 0.0
    finish_s: Mapping[str, float] = field(default_factory=dict)

    def tags(self, turn: WaitingJob) -> tuple[float, float]:
        """Start and finish tag of ``turn``, if it goes next."""
        start = max(self.virtual_s, self.finish_s.get(turn.user_id, 0.0))
        return start, start + turn.cost_s

    def after(self, turn: WaitingJob) -> FairQueueClock:
        """The clock once ``turn`` has been taken. Owners whose share is even are forgotten."""
        start, finish = self.tags(turn)
        kept = {user_id: f for user_id, f in self.finish_s.items() if f > start}
        return FairQueueClock(start, {**kept, turn.user_id: finish})


def fair_order(waiting: Iterable[WaitingJob], clock: FairQueueClock) -> list[WaitingJob]:
    """All waiting jobs in the order in which they go, if nothing else comes.

    >>> a1, a2 = Turn("a1", "ann", 1, 5.0, 0.0), Turn("a2", "ann", 2, 5.0, 1.0)
    >>> b1 = Turn("b1", "bob", 1, 5.0, 2.0)
    >>> [turn.job_id for turn in fair_order([a1, a2, b1], Clock())]
    ['a1', 'b1', 'a2']
    """
    lines: dict[str, list[WaitingJob]] = {}
    for turn in sorted(waiting, key=lambda t: t.rank, reverse=True):
        lines.setdefault(turn.user_id, []).append(turn)  # the next one of each line is the last
    heads = [
        (clock.tags(line[-1])[0], line[-1].created_at, user_id) for user_id, line in lines.items()
    ]
    heapq.heapify(heads)
    order = []
    while heads:
        start, _, user_id = heapq.heappop(heads)
        line = lines[user_id]
        turn = line.pop()
        order.append(turn)
        if line:
            heapq.heappush(heads, (start + turn.cost_s, line[-1].created_at, user_id))
    return order


def relative_work(values: Mapping[str, Any]) -> float:
    """How much there is to compute, relative to a 1024² picture of one step.

    Comparable between jobs of one preset only; what is not among ``values`` counts as one.
    """
    pixels = _number(values, "width", 1024.0) * _number(values, "height", 1024.0) / 1024.0**2
    count = 1.0
    for name in ("steps", "batch", "frames"):
        count *= _number(values, name, 1.0)
    return max(pixels * count, 1e-3)


def _number(values: Mapping[str, Any], name: str, default: float) -> float:
    value = values.get(name)
    return float(value) if isinstance(value, int | float) and value > 0 else default
