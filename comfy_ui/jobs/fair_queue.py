"""The order of waiting jobs: start-time fair queuing between users, rank within a user.

Each job gets a start tag, the larger of the virtual time and its user's last finish tag; its
finish tag is the start tag plus its estimated cost. The job with the smallest start tag goes next
and sets the virtual time. So users share the servers by cost, not by number of jobs, and a user
who arrives during another user's backlog waits for one job, not for the backlog.

Source: P. Goyal, H. M. Vin, H. Cheng, "Start-time Fair Queueing", SIGCOMM 1996. Unlike there,
tags are assigned when a job is claimed, so that a user can reorder waiting jobs.

Written by hand: no library offers a fair queue whose items can be reordered.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..storage.records import Job


@dataclass(frozen=True, slots=True)
class FairQueueClock:
    """The virtual time, and the last finish tag of each user, in seconds of estimated cost."""

    virtual_s: float = 0.0
    finish_s: Mapping[str, float] = field(default_factory=dict)

    def tags(self, job: Job) -> tuple[float, float]:
        """Return the start and finish tag of ``job`` if it is claimed next."""
        start = max(self.virtual_s, self.finish_s.get(job.user_id, 0.0))
        return start, start + job.cost_s

    def after(self, job: Job) -> FairQueueClock:
        """Return the clock after ``job`` is claimed, without users that have no lead any more."""
        start, finish = self.tags(job)
        active_users = {user_id: f for user_id, f in self.finish_s.items() if f > start}
        return FairQueueClock(start, {**active_users, job.user_id: finish})

    def without(self, job: Job) -> FairQueueClock:
        """Return the clock as if ``job``, its user's last one, had not been claimed."""
        finish = self.finish_s.get(job.user_id, 0.0) - job.cost_s
        leads = {user_id: f for user_id, f in self.finish_s.items() if user_id != job.user_id}
        if finish > self.virtual_s:
            leads[job.user_id] = finish
        return FairQueueClock(self.virtual_s, leads)


def fair_order(waiting: Iterable[Job], clock: FairQueueClock) -> list[Job]:
    """Return the waiting jobs in the order in which they are claimed if no other job arrives."""
    queues: dict[str, list[Job]] = {}
    for job in sorted(waiting, key=lambda job: job.rank, reverse=True):
        queues.setdefault(job.user_id, []).append(job)  # a user's next job comes last
    heads = [
        (clock.tags(jobs[-1])[0], jobs[-1].created_at, user_id) for user_id, jobs in queues.items()
    ]
    heapq.heapify(heads)
    order = []
    while heads:
        start, _, user_id = heapq.heappop(heads)
        jobs = queues[user_id]
        job = jobs.pop()
        order.append(job)
        if jobs:
            heapq.heappush(heads, (start + job.cost_s, jobs[-1].created_at, user_id))
    return order


def relative_work(values: Mapping[str, Any]) -> float:
    """Return the size of a computation, relative to an image of 1024² pixels and one step.

    Comparable between jobs of one preset only; a missing value counts as 1.
    """
    pixels = _number(values, "width", 1024.0) * _number(values, "height", 1024.0) / 1024.0**2
    count = 1.0
    for name in ("steps", "batch", "frames"):
        count *= _number(values, name, 1.0)
    return max(pixels * count, 1e-3)


def _number(values: Mapping[str, Any], name: str, default: float) -> float:
    value = values.get(name)
    return float(value) if isinstance(value, int | float) and value > 0 else default
