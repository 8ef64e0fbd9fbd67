"""Where jobs stand in the line, as a person counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..protocol.progress import Phase
from ..storage.records import Job, Snapshot, Status
from .fair_queue import Turn


@dataclass(frozen=True, slots=True)
class Place:
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
class Ahead:
    """A job that ComfyUI has and has not begun, and where ComfyUI says it stands."""

    job_id: str
    owner: str
    position: int


def ahead(in_hand: Iterable[Job], shown: Callable[[str], Snapshot | None]) -> list[Ahead]:
    """What stands before the line, of the jobs that workers have."""
    found: list[Ahead] = []
    for job in in_hand:
        snapshot = shown(job.id)
        if (
            job.status in (Status.CLAIMED, Status.SENT)
            and snapshot
            and snapshot.phase is Phase.QUEUED
        ):
            found.append(Ahead(job.id, job.owner, snapshot.queue_position or len(found) + 1))
    return found


def places(ahead: Sequence[Ahead], line: Iterable[Turn]) -> dict[str, Place]:
    """By job: first what ComfyUI has not begun, then what waits here."""
    positions = {job.job_id: job.position for job in ahead}
    owners = {job.job_id: job.owner for job in ahead}
    last = max(positions.values(), default=0)
    for position, turn in enumerate(line, start=last + 1):
        positions[turn.job_id] = position
        owners[turn.job_id] = turn.owner
    size = max(positions.values(), default=0)
    own = Counter(owners.values())
    return {
        job_id: Place(position, size, own[owners[job_id]]) for job_id, position in positions.items()
    }
