"""Where jobs stand in the line, as a person counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from ..protocol.progress import Phase
from .job import Job, Snapshot, Status


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the line, from 1, how long the line is, and how much of it is the owner's."""

    position: int
    size: int
    own: int

    def told(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with this place in it."""
        return replace(
            snapshot, queue_position=self.position, queue_size=self.size, queue_own=self.own
        )


def places(
    at_server: Iterable[Job], line: Iterable[Job], shown: Callable[[str], Snapshot | None]
) -> dict[str, Place]:
    """By job: first what ComfyUI has not begun, where it says they stand, then what waits here."""
    positions: dict[str, int] = {}
    owners: dict[str, str] = {}
    for job in at_server:
        snapshot = shown(job.id)
        if (
            job.status in (Status.CLAIMED, Status.SENT)
            and snapshot
            and snapshot.phase is Phase.QUEUED
        ):
            positions[job.id] = snapshot.queue_position or len(positions) + 1
            owners[job.id] = job.owner
    ahead = max(positions.values(), default=0)
    for position, job in enumerate(line, start=ahead + 1):
        positions[job.id] = position
        owners[job.id] = job.owner
    size = max(positions.values(), default=0)
    own = Counter(owners.values())
    return {
        job_id: Place(position, size, own[owners[job_id]]) for job_id, position in positions.items()
    }
