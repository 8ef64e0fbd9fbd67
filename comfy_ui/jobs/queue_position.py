"""Where jobs stand in the line, as a person counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..protocol.progress import Phase
from ..storage.records import Job, JobStatus, Snapshot
from .fair_queue import WaitingJob


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """A place in the line, from 1, how long the line is, and how much of it is the owner's."""

    position: int
    size: int
    own: int

    @property
    def fields(self) -> dict[str, Any]:
        """What a snapshot says of it."""
        return {
            "queue_position": self.position,
            "queue_size": self.size,
            "queue_own": self.own,
        }


@dataclass(frozen=True, slots=True)
class JobsAhead:
    """A job that ComfyUI has and has not begun, and where ComfyUI says it stands."""

    job_id: str
    user_id: str
    position: int


def ahead(in_hand: Iterable[Job], shown: Callable[[str], Snapshot | None]) -> list[JobsAhead]:
    """What stands before the line, of the jobs that workers have."""
    found: list[JobsAhead] = []
    for job in in_hand:
        snapshot = shown(job.id)
        if (
            job.status in (JobStatus.CLAIMED, JobStatus.SENT)
            and snapshot
            and snapshot.phase is Phase.QUEUED
        ):
            found.append(JobsAhead(job.id, job.user_id, snapshot.queue_position or len(found) + 1))
    return found


def places(ahead: Sequence[JobsAhead], line: Iterable[WaitingJob]) -> dict[str, QueuePosition]:
    """By job: first what ComfyUI has not begun, then what waits here."""
    positions = {job.job_id: job.position for job in ahead}
    owners = {job.job_id: job.user_id for job in ahead}
    last = max(positions.values(), default=0)
    for position, turn in enumerate(line, start=last + 1):
        positions[turn.job_id] = position
        owners[turn.job_id] = turn.user_id
    size = max(positions.values(), default=0)
    own = Counter(owners.values())
    return {
        job_id: QueuePosition(position, size, own[owners[job_id]])
        for job_id, position in positions.items()
    }
