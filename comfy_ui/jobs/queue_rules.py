"""The decisions about unfinished jobs that every :class:`.queue.JobQueue` makes alike.

Each function reads :class:`.UnfinishedJobs` and returns what follows. The queue stores that and
applies it.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Final, NamedTuple

from ..errors import ValidationError
from ..protocol._replace import fast_replace
from ..protocol.progress import Phase, Progress
from ..storage.records import Job, JobStatus, LibraryItem, Snapshot
from .fair_queue import FairQueueClock
from .queue import JobReport, KeyJobsError, ReturnReason
from .unfinished_jobs import UnfinishedJobs
from .updates import last_snapshot
from .workers.server_death import MAX_SERVER_DEATHS

_MAX_LEFT: Final = 100  # jobs, from the first one on

# Order


def last_started_rank(jobs: UnfinishedJobs, user_id: str) -> float:
    """Return the highest rank of a job that has started.

    Ranks of waiting jobs stay above it: if the job has to wait again, it is the first.
    """
    ready = jobs.ready(user_id)
    ranks = [j.rank for j in jobs.index.claimed if j.user_id == user_id and j not in ready]
    return max(ranks, default=0.0)


def new_rank(jobs: UnfinishedJobs, user_id: str, *, front: bool) -> float:
    """Return the rank of a job that goes before the user's other ones, or after them."""
    started = last_started_rank(jobs, user_id)
    ranks = [job.rank for job in jobs.ready(user_id)] + jobs.waiting_ranks(user_id)
    if not front:
        return max(ranks, default=started) + 1
    if not ranks:
        return started + 1
    return (started + min(ranks)) / 2 if started < min(ranks) else min(ranks) - 1


def placed_job(
    jobs: UnfinishedJobs,
    job: Job,
    *,
    front: bool,
    replaced: Job | None,
    waiting_limit: int,
    max_of_key: int | None = None,
) -> Job:
    """Return a new job with its rank, in place of the job ``replaced``.

    Raises:
        KeyJobsError: the API key of the job has ``max_of_key`` unfinished jobs.
        ValidationError: the user has too many waiting jobs.
    """
    waiting = len(jobs.waiting_ranks(job.user_id)) - (replaced is not None)
    if waiting >= waiting_limit:
        raise ValidationError(
            f"{waiting} of your jobs are waiting already.",
            hint="Let some finish or cancel them, then add more.",
        )
    unfinished = chain(jobs.index.values(), jobs.adding.values())
    of_key = (j for j in unfinished if j.key_id == job.key_id and j is not replaced)
    if max_of_key is not None and sum(1 for _ in of_key) >= max_of_key:
        raise KeyJobsError(max_of_key)
    if replaced is not None:
        job = fast_replace(
            job,
            rank=replaced.rank,
            group_id=replaced.group_id,
            webhook=job.webhook or replaced.webhook,
            key_id=job.key_id or replaced.key_id,
        )
    if front or replaced is None:
        job = fast_replace(job, rank=new_rank(jobs, job.user_id, front=front))
    return fast_replace(job, status=JobStatus.WAITING)


def replaced_job(jobs: UnfinishedJobs, job: Job, replaces: str | None) -> Job | None:
    """Return the job whose place a new one takes, if it takes one.

    Raises:
        ValidationError: that job has started.
    """
    if replaces is None:
        return None
    old = jobs.of_user(replaces, job.user_id)
    if old is None or old.status is not JobStatus.WAITING:
        raise ValidationError(
            "That job does not wait any more, so it was not changed.",
            hint="Generate again to add the changed one to the queue.",
        )
    return old


@dataclass(frozen=True, slots=True)
class NewOrder:
    """The new ranks of a user's jobs by id.

    ``moving`` are those that the user moves, ``displaced`` those whose server runs its own queue
    in the old order.
    """

    ranks: Mapping[str, float]
    moving: list[str]
    displaced: list[str]

    def has_effect(self, jobs: UnfinishedJobs) -> bool:
        """Whether one of the moved jobs waits, after the displaced ones were taken back."""
        return any(
            (job := jobs.index.get(id_)) is not None
            and (id_ not in self.displaced or job.status is JobStatus.WAITING)
            for id_ in self.moving
        )


def reorder(
    jobs: UnfinishedJobs, job_ids: Collection[str], user_id: str, *, before: str | None
) -> NewOrder | None:
    """Move jobs as :meth:`.JobQueue.reorder`; None if all of them, or ``before``, have started."""
    ready = [job.id for job in jobs.ready(user_id)]
    all_ids = ready + [job.id for job in jobs.index.waiting(user_id)]
    moving = [id_ for id_ in all_ids if id_ in job_ids]
    ids = [id_ for id_ in all_ids if id_ not in job_ids]
    if not moving or (before is not None and before not in ids):
        return None
    at = ids.index(before) if before is not None else len(ids)
    ids[at:at] = moving
    started = last_started_rank(jobs, user_id)
    moved = [id_ for id_, old_id in zip(ids, all_ids, strict=True) if id_ != old_id]
    return NewOrder(
        {id_: started + n for n, id_ in enumerate(ids, start=1)},
        moving,
        [id_ for id_ in moved if id_ in ready],
    )


# Claims


class Claims(NamedTuple):
    """Claimed jobs, each with its start and finish tag, and the clock that follows."""

    jobs: list[tuple[Job, tuple[float, float]]]
    clock: FairQueueClock


def choose_claims(
    jobs: UnfinishedJobs, worker: str, limit: int, *, held: Collection[str]
) -> Claims:
    """Return up to ``limit`` jobs that ``worker`` gets now, without those that are ``held``."""
    claims: list[tuple[Job, tuple[float, float]]] = []
    clock = jobs.index.clock
    if limit <= 0 or jobs.runs_alone(worker):
        return Claims(claims, clock)
    queue = _claimable(jobs, held)
    for job in jobs.servers.select(worker, queue, jobs.busy_s(), limit):
        if job.server_deaths and (claims or jobs.at_server(worker)):
            break  # it runs alone: if the server dies again, it was this job
        claimed = fast_replace(
            job, status=JobStatus.CLAIMED, prompt_id=str(uuid.uuid4()), server=worker
        )
        claims.append((claimed, clock.tags(job)))
        clock = clock.after(job)
        if job.server_deaths:
            break
    return Claims(claims, clock)


def _claimable(jobs: UnfinishedJobs, held: Collection[str]) -> Iterator[Job]:
    return (j for j in jobs.index.queue if j.id not in held and not jobs.index.is_paused(j))


class LeftJobs:
    """The jobs that a worker with a free slot leaves to others, and until when.

    Workers in several processes decide alike only if they know the same of all servers, and they do
    not: each learns durations on its own, and one that was killed counts as online for some time.
    So a job is left to another worker until that one should have started it, and not longer.
    """

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._left: dict[str, tuple[str, float]] = {}  # by job: to whom, and until when

    def update(
        self, jobs: UnfinishedJobs, worker: str, *, held: Collection[str], now: float
    ) -> bool:
        """Note what ``worker`` leaves to others; return whether it may take a job after all.

        ``now``: a monotonic clock, in seconds.
        """
        queue = _claimable(jobs, held)
        left = jobs.servers.left(worker, queue, jobs.busy_s(), _MAX_LEFT)
        before, self._left = self._left, {}
        overdue = False
        for job_id, (other, start_s) in left.items():
            known, until = before.get(job_id, (other, now + start_s + self._grace_s))
            if known != other:
                until = now + start_s + self._grace_s
            if now < until:
                self._left[job_id] = other, until
            else:
                jobs.servers.avoid(other, job_id)
                overdue = True
        return overdue

    def next_s(self, now: float) -> float:
        """Return in how many seconds to look again; infinity if no job is left to others."""
        return min((until - now for _, until in self._left.values()), default=math.inf)


# Returned jobs


class Return(NamedTuple):
    """A job after a worker returned it; ``waits``: it waits again, else only its deaths count.

    ``leaves``: its server may not run it any more.
    """

    job: Job
    waits: bool
    leaves: bool = False


def return_job(jobs: UnfinishedJobs, old: Job, reason: ReturnReason) -> Return:
    """Decide whether a job may wait again, as :meth:`.JobQueue.return_job` says."""
    deaths = old.server_deaths
    if reason == "died" or (reason == "unreachable" and old.started_at is not None):
        deaths += 1
    if deaths >= MAX_SERVER_DEATHS and deaths > old.server_deaths:
        return Return(fast_replace(old, server_deaths=deaths) if reason == "died" else old, False)
    runs_here = reason in ("lost", "died", "withdrawn")
    if not runs_here and not jobs.servers.has_alternative(old.server or "", old):
        return Return(old, False)
    job = fast_replace(
        old,
        status=JobStatus.WAITING,
        server=None,
        prompt_id=None,
        started_at=None,
        server_deaths=deaths,
    )
    return Return(job, True, leaves=reason in ("unreachable", "refused"))


# Reports


def begins(job: Job, progress: Progress | None) -> bool:
    """Whether ComfyUI has begun a job of which that was not known yet."""
    return (
        job.started_at is None
        and progress is not None
        and (progress.elapsed_s > 0 or progress.phase in (Phase.LOADING, Phase.RUNNING))
    )


def begun_job(jobs: UnfinishedJobs, job: Job, progress: Progress) -> Job:
    """Return a job with the time at which ComfyUI began it."""
    rank, waiting = job.rank, jobs.index.waiting(job.user_id)
    if waiting and rank > waiting[0].rank:  # it could not be taken back in time
        rank = new_rank(jobs, job.user_id, front=True)
    return fast_replace(job, started_at=jobs.now() - progress.elapsed_s, rank=rank)


def reported_job(job: Job, report: JobReport, *, previous_server: str | None) -> Job:
    """Return a job with the status that a worker reports.

    ``previous_server``: where the job was before this worker inherited it.
    """
    status = report.status or job.status
    job = fast_replace(
        job,
        status=status,
        prompt_id=report.prompt_id or job.prompt_id,
        outputs=report.outputs or job.outputs,
        error=report.error,
    )
    if previous_server is not None and status is JobStatus.UNFETCHED:
        # It may return, and still has the results.
        job = fast_replace(job, server=previous_server)
    return job


def end_snapshot(job: Job, items: tuple[LibraryItem, ...], old: Snapshot | None) -> Snapshot:
    """Return the terminal snapshot; unless it succeeded, with the progress that it had."""
    last = last_snapshot(job, items)
    if old is None or job.status is JobStatus.SUCCEEDED:
        return last
    return fast_replace(
        last,
        progress=old.progress,
        step=old.step,
        steps=old.steps,
        preview=old.preview,
        preview_type=old.preview_type,
    )


def can_resume(job: Job) -> bool:
    """Whether a job without a worker can continue: its results are, or may be, at ComfyUI."""
    return job.status is JobStatus.UNFETCHED or job.status.active
