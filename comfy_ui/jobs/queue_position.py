"""The queue positions that users see: jobs that ComfyUI has not begun, then those that wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..protocol.progress import Phase
from ..storage.records import Job, JobStatus, Snapshot


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """A position from 1, the length of the queue, and how many jobs in it are the user's."""

    position: int
    size: int
    own: int

    @property
    def snapshot_fields(self) -> dict[str, Any]:
        """The fields of a snapshot that show the position."""
        return {
            "queue_position": self.position,
            "queue_size": self.size,
            "queue_own": self.own,
        }


def is_running(snapshot: Snapshot) -> bool:
    """Whether ComfyUI is working on a job now; unknown, so False, while it is unreachable."""
    return snapshot.phase not in (Phase.QUEUED, Phase.RECONNECTING)


def has_started(job: Job, snapshot: Snapshot) -> bool:
    """Whether ComfyUI has begun a job, as far as is known while the server is unreachable."""
    if job.status not in (JobStatus.WAITING, JobStatus.CLAIMED, JobStatus.SENT):
        return True
    begun = job.started_at is not None or snapshot.elapsed_s > 0
    return begun or is_running(snapshot)


def jobs_ahead(
    claimed: Iterable[Job], snapshot_of: Callable[[str], Snapshot | None]
) -> list[tuple[Job, int]]:
    """Return the jobs that a server has queued, each with its position in that server's queue."""
    ahead: list[tuple[Job, int]] = []
    for job in claimed:
        snapshot = snapshot_of(job.id)
        if (
            job.status in (JobStatus.CLAIMED, JobStatus.SENT)
            and snapshot
            and snapshot.phase is Phase.QUEUED
        ):
            ahead.append((job, snapshot.queue_position or len(ahead) + 1))
    return ahead


def queue_positions(
    ahead: Sequence[tuple[Job, int]], queue: Iterable[Job]
) -> dict[str, QueuePosition]:
    """Return the position of each job by id."""
    positions = {job.id: position for job, position in ahead}
    users = {job.id: job.user_id for job, _ in ahead}
    last = max(positions.values(), default=0)
    for position, job in enumerate(queue, start=last + 1):
        positions[job.id] = position
        users[job.id] = job.user_id
    size = max(positions.values(), default=0)
    own = Counter(users.values())
    return {
        job_id: QueuePosition(position, size, own[users[job_id]])
        for job_id, position in positions.items()
    }
