"""The unfinished jobs by id, and the order of those that wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, MutableMapping, Sequence

from ..storage.records import Job, JobStatus
from .fair_queue import FairQueueClock, fair_order


class JobIndex(MutableMapping[str, Job]):
    """Jobs by id, in order of arrival.

    Every follower asks for the queue at each change of any job, but the queue itself changes
    seldom. So the order is kept until a waiting job or the clock changes.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._clock = FairQueueClock()
        self._queue: tuple[Job, ...] | None = None
        self._queue_of: dict[str, list[Job]] = {}
        self._claimed: tuple[str, ...] | None = None
        self._counts: Counter[str] = Counter()

    @property
    def clock(self) -> FairQueueClock:
        """The clock of the fair queue."""
        return self._clock

    @clock.setter
    def clock(self, clock: FairQueueClock) -> None:
        self._clock = clock
        self._queue = None

    @property
    def queue(self) -> Sequence[Job]:
        """The waiting jobs in order; the same object until a change."""
        if self._queue is None:
            waiting = (job for job in self._jobs.values() if job.status is JobStatus.WAITING)
            self._queue = tuple(fair_order(waiting, self._clock))
            self._queue_of = {}
            for job in self._queue:
                self._queue_of.setdefault(job.user_id, []).append(job)
        return self._queue

    def waiting(self, user_id: str) -> list[Job]:
        """Return the waiting jobs of a user, in their order."""
        _ = self.queue
        return [*self._queue_of.get(user_id, ())]

    @property
    def claimed(self) -> list[Job]:
        """The jobs that do not wait, in order of arrival."""
        if self._claimed is None:
            self._claimed = tuple(
                id_ for id_, job in self._jobs.items() if job.status is not JobStatus.WAITING
            )
        return [self._jobs[job_id] for job_id in self._claimed]

    def count(self, user_id: str) -> int:
        """Return the number of unfinished jobs of a user."""
        return self._counts[user_id]

    def __getitem__(self, job_id: str) -> Job:
        return self._jobs[job_id]

    def __setitem__(self, job_id: str, job: Job) -> None:
        old = self._jobs.get(job_id)
        self._jobs[job_id] = job
        self._changed(old, job)

    def __delitem__(self, job_id: str) -> None:
        self._changed(self._jobs.pop(job_id), None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._jobs)

    def __len__(self) -> int:
        return len(self._jobs)

    def _changed(self, old: Job | None, new: Job | None) -> None:
        waited = old is not None and old.status is JobStatus.WAITING
        waits = new is not None and new.status is JobStatus.WAITING
        if waited or waits:
            self._queue = None
        if (waited, old is None) != (waits, new is None):
            self._claimed = None
        for job, number in (old, -1), (new, 1):
            if job is not None:
                self._counts[job.user_id] += number
                if not self._counts[job.user_id]:
                    del self._counts[job.user_id]
