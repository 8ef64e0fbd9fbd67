"""The queue positions that users see: jobs that ComfyUI has not begun, then those that wait."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..protocol.progress import Phase
from ..storage.records import Job, JobStatus, Snapshot
from .placement import JobEstimate


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """A position from 1, the length of the queue, and how many jobs in it are the user's.

    ``starts_in_s`` and ``run_s``: when the job will start and how long it will run, roughly, as
    :func:`coarse_s` rounds.
    """

    position: int
    size: int
    own: int
    starts_in_s: float | None = None
    run_s: float | None = None

    @property
    def snapshot_fields(self) -> dict[str, Any]:
        """The fields of a snapshot that show the position."""
        return {
            "queue_position": self.position,
            "queue_size": self.size,
            "queue_own": self.own,
            "starts_in_s": self.starts_in_s,
            "run_s": self.run_s,
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


def coarse_s(seconds: float) -> float:
    """Round a wait up to what is worth showing, so that it changes seldom.

    >>> coarse_s(3), coarse_s(100), coarse_s(1000)
    (5.0, 105.0, 1020.0)
    """
    grain_s = 5.0 if seconds < 60 else 15.0 if seconds < 600 else 60.0
    return math.ceil(seconds / grain_s) * grain_s


def _coarse(seconds: float | None) -> float | None:
    return None if seconds is None else coarse_s(seconds)


def estimates_at_servers(
    claimed: Iterable[Job],
    snapshot_of: Callable[[str], Snapshot | None],
    remaining_s: Callable[[Job], float],
) -> dict[str, JobEstimate]:
    """Estimate each job that a server has queued, by job id."""
    free_at_s: dict[str, float] = {}
    estimates: dict[str, JobEstimate] = {}
    pairs = [(job, snapshot_of(job.id)) for job in claimed]
    waiting = {id(job) for job, snapshot in pairs if snapshot and snapshot.phase is Phase.QUEUED}
    for job, _ in sorted(
        pairs, key=lambda pair: (id(pair[0]) in waiting, (pair[1] and pair[1].queue_position) or 0)
    ):
        if job.server is None or job.status not in (JobStatus.CLAIMED, JobStatus.SENT):
            continue
        start_s = free_at_s.get(job.server, 0.0)
        cost_s = remaining_s(job)
        if id(job) in waiting:
            estimates[job.id] = JobEstimate(start_s, cost_s)
        free_at_s[job.server] = start_s + cost_s
    return estimates


def queue_positions(
    ahead: Sequence[tuple[Job, int]],
    queue: Iterable[Job],
    estimates: Mapping[str, JobEstimate],
) -> dict[str, QueuePosition]:
    """Return the position of each job by id; ``estimates`` as far as known."""
    unknown = JobEstimate()
    positions = {job.id: position for job, position in ahead}
    users = {job.id: job.user_id for job, _ in ahead}
    last = max(positions.values(), default=0)
    for position, job in enumerate(queue, start=last + 1):
        positions[job.id] = position
        users[job.id] = job.user_id
    size = max(positions.values(), default=0)
    own = Counter(users.values())
    return {
        job_id: QueuePosition(
            position,
            size,
            own[users[job_id]],
            _coarse(estimates.get(job_id, unknown).starts_in_s),
            _coarse(estimates.get(job_id, unknown).run_s),
        )
        for job_id, position in positions.items()
    }
