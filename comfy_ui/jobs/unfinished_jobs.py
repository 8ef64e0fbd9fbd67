"""The unfinished jobs in memory, and what is shown of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

from ..storage.records import Job, JobStatus, Snapshot
from .job_index import JobIndex
from .placement import ServerPool, remaining_s
from .queue import Claim, JobReport
from .queue_position import QueuePosition, ahead, places
from .snapshots import first_snapshot, next_snapshot
from .updates import JobUpdates


class UnfinishedJobs:
    """What :class:`.local_queue.LocalQueue` knows without asking the database.

    ``workers`` are the names of those that will announce themselves.
    """

    def __init__(self, workers: Iterable[str], now: Callable[[], float]) -> None:
        self._now = now
        self._board = JobUpdates()
        self._jobs = JobIndex()
        self._unclaimed: dict[str, None] = {}  # not waiting, and in nobody's hands
        self._inherited: dict[str, str | None] = {}  # the servers of jobs that another looks for
        self._ended: Counter[str] = Counter()  # jobs that are over, by owner
        self._placed: tuple[object, object, dict[str, QueuePosition]] = (None, None, {})
        self._fleet = ServerPool(workers)

    def _mine(self, job_id: str, user_id: str) -> Job | None:
        job = self._jobs.get(job_id)
        return job if job and job.user_id == user_id else None

    def _take_up(self, job: Job) -> None:
        """Put a job from the database into memory; unless it waits, a worker must resume it."""
        if job.status is JobStatus.UNFETCHED:
            job = replace(job, status=JobStatus.FETCHING, finished_at=None, error=None)
        self._jobs[job.id] = job
        if job.status is not JobStatus.WAITING:
            self._unclaimed[job.id] = None
        self._board.put(first_snapshot(job))

    def _forget(self, job_id: str) -> Job:
        self._fleet.forget(job_id)
        return self._jobs.pop(job_id)

    def _resumed(self, worker: str) -> list[Claim]:
        """What was this worker's before it died, or a worker's that is no more: it may look."""
        found = []
        for job_id in [*self._unclaimed]:
            job = self._jobs[job_id]
            inherited = job.server != worker
            if not inherited or not self._fleet.knows(job.server):
                self._jobs[job_id] = replace(job, server=worker)
                del self._unclaimed[job_id]
                if inherited:
                    self._inherited[job_id] = job.server
                self._fleet.give(worker, job)
                found.append(Claim(self._jobs[job_id], resumed=True, inherited=inherited))
        return found

    def _busy_s(self) -> dict[str, float]:
        """How long each worker still has to do with what it was given, in seconds."""
        busy: dict[str, float] = {}
        for job in self._jobs.in_hand:
            if job.server is not None and job.status in (JobStatus.CLAIMED, JobStatus.SENT):
                left_s = remaining_s(job, self._board.get(job.id), self._now())
                busy[job.server] = busy.get(job.server, 0.0) + left_s
        return busy

    def _afresh(self, job: Job) -> Snapshot:
        """What is shown of a job that was given or put back. The percentage never falls."""
        shown = self._board.get(job.id)
        return replace(first_snapshot(job), progress=shown.progress if shown else 0.0)

    def _show(self, job: Job, report: JobReport) -> None:
        old = self._board.get(job.id) or first_snapshot(job)
        new = next_snapshot(old, job, report)
        self._board.put(new)
        if (new.phase, new.queue_position) != (old.phase, old.queue_position):
            self._show_places()

    def _show_places(self, *, also: str | None = None) -> None:
        """Tell every followed job, and ``also``, where it stands now and how many come with it."""
        followed = self._board.followed()
        if also is not None:
            followed.append(also)
        if not followed:
            return
        places = self._places()
        for job_id in followed:
            job, snapshot = self._jobs.get(job_id), self._board.get(job_id)
            if job is None or snapshot is None:
                continue
            now = {"others_own": self._jobs.count(job.user_id) - 1}
            if place := places.get(job_id):
                now |= place.fields
            if any(getattr(snapshot, field) != value for field, value in now.items()):
                self._board.put(snapshot, **now)

    def _places(self) -> dict[str, QueuePosition]:
        """Kept as the line is, and as long as what is ahead of it stands where it stood."""
        line, before = self._jobs.line, ahead(self._jobs.in_hand, self._board.get)
        if self._placed[0] is not line or self._placed[1] != before:
            self._placed = line, before, places(before, line)
        return self._placed[2]
