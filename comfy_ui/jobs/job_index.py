"""The unfinished jobs by id, and the line of those that wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, MutableMapping, Sequence

from ..storage.records import Job, JobStatus
from .fair_queue import FairQueueClock, WaitingJob, fair_order


class JobIndex(MutableMapping[str, Job]):
    """Jobs by id, in the order in which they came.

    The line is asked for at every change of any job, by everybody who looks on, and changes
    seldom. So it is kept until a job joins it, leaves it or gets another place, or the clock moves.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._clock = FairQueueClock()
        self._line: tuple[WaitingJob, ...] | None = None
        self._lines: dict[str, list[str]] = {}
        self._in_hand: tuple[str, ...] | None = None
        self._owners: Counter[str] = Counter()

    @property
    def clock(self) -> FairQueueClock:
        """Of the fair queue."""
        return self._clock

    @clock.setter
    def clock(self, clock: FairQueueClock) -> None:
        self._clock = clock
        self._line = None

    @property
    def line(self) -> Sequence[WaitingJob]:
        """What waits, in the order in which it goes; the same object until that changes."""
        if self._line is None:
            turns = (turn for job in self._jobs.values() if (turn := _turn(job)))
            self._line = tuple(fair_order(turns, self._clock))
            self._lines = {}
            for turn in self._line:
                self._lines.setdefault(turn.user_id, []).append(turn.job_id)
        return self._line

    def waiting(self, user_id: str) -> list[Job]:
        """What waits of an owner's, in their order."""
        _ = self.line
        return [self._jobs[job_id] for job_id in self._lines.get(user_id, ())]

    @property
    def in_hand(self) -> list[Job]:
        """What does not wait, in the order in which it came."""
        if self._in_hand is None:
            self._in_hand = tuple(id_ for id_, job in self._jobs.items() if _turn(job) is None)
        return [self._jobs[job_id] for job_id in self._in_hand]

    def count(self, user_id: str) -> int:
        """How many an owner has."""
        return self._owners[user_id]

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
        before, after = (_turn(job) if job else None for job in (old, new))
        if before != after:
            self._line = None
        if (before is None, old is None) != (after is None, new is None):
            self._in_hand = None
        for job, number in (old, -1), (new, 1):
            if job is not None:
                self._owners[job.user_id] += number
                if not self._owners[job.user_id]:
                    del self._owners[job.user_id]


def _turn(job: Job) -> WaitingJob | None:
    """What fairness needs to know of it; None: it does not wait."""
    if job.status is not JobStatus.WAITING:
        return None
    return WaitingJob(job.id, job.user_id, job.rank, job.cost_s, job.created_at)
