"""The unfinished jobs in memory: their order, servers and snapshots."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from itertools import count
from typing import Any, Final

from ..protocol._replace import fast_replace
from ..protocol.durations import NodeDurations
from ..storage.records import (
    EVERYONE,
    Job,
    JobStatus,
    QueueCounts,
    QueueFigures,
    QueueView,
    Snapshot,
)
from .fair_queue import FairQueueClock, fair_order
from .placement import JobEstimate, ServerPool, remaining_s
from .queue import Handover, JobReport
from .queue_position import (
    QueuePosition,
    estimates_at_servers,
    has_started,
    is_running,
    jobs_ahead,
    queue_positions,
)
from .updates import JobUpdates, first_snapshot, next_snapshot

POSITIONS_AGE_S: Final = 2.0
"""How long the estimated starts of waiting jobs are kept."""
_AT_SERVER: Final = (JobStatus.CLAIMED, JobStatus.SENT)
_POSITIONS_S: Final = 0.25  # each change of the queue moves all jobs in it
_POSITION_S: Final = 0.005  # for each follower, whose page takes a part of a millisecond
_POSITIONS_REST: Final = 9
"""Positions of a long queue take at most a tenth of the time: pauses are so many times as long."""


class UnfinishedJobs:
    """What a queue answers without asking its store.

    ``workers`` names the workers that will announce themselves, ``durations`` is what is learned
    of their servers.
    """

    def __init__(
        self,
        workers: Iterable[str],
        now: Callable[[], float],
        durations: Mapping[str, NodeDurations],
    ) -> None:
        self.now = now
        self.index = JobIndex()
        self.updates = JobUpdates()
        self.servers = ServerPool(workers, durations=durations)
        self.adding: dict[str, Job] = {}  # new jobs that are being stored
        self.finished_counts: Counter[str] = Counter()  # by user, since the start
        self.previous_servers: dict[str, str | None] = {}  # of inherited jobs, by job id
        self.end_listeners: list[Callable[[Job], None]] = []
        self._unclaimed: dict[str, None] = {}  # jobs that do not wait and have no worker yet
        self._positions: tuple[object, object, dict[str, QueuePosition]] = (None, None, {})
        self._positions_at = 0.0
        self._next_put_at = 0.0  # of positions, on the performance counter
        self._next_put: asyncio.TimerHandle | None = None

    def of_user(self, job_id: str, user_id: str) -> Job | None:
        """Return an unfinished job, or None if the user has no such job."""
        job = self.index.get(job_id)
        return job if job and job.user_id == user_id else None

    def ready(self, user_id: str | None = None) -> list[Job]:
        """Return jobs that stand ready at a server, of one user or of all, in their order."""
        return sorted(
            (
                job
                for job in self.index.claimed
                if user_id in (None, job.user_id)
                and not job.cancel_requested
                and not has_started(job, self.updates.get(job.id) or first_snapshot(job))
            ),
            key=lambda job: job.rank,
        )

    def waiting_ranks(self, user_id: str) -> list[float]:
        """Return the ranks of the user's waiting jobs, and of those that are being stored."""
        adding = (job for job in self.adding.values() if job.user_id == user_id)
        return [job.rank for job in (*self.index.waiting(user_id), *adding)]

    def in_order(self, user_id: str) -> list[Job]:
        """Return the user's jobs in the order in which they run."""
        ready = self.ready(user_id)
        claimed = [job for job in self.index.claimed if job.user_id == user_id]
        return [j for j in claimed if j not in ready] + ready + self.index.waiting(user_id)

    def can_run_elsewhere(self, job_id: str, user_id: str) -> bool:
        """Whether a job's files wait for a server that is offline, and another could run it."""
        job = self.of_user(job_id, user_id)
        if job is None or job.status is not JobStatus.FETCHING or job.server is None:
            return False
        return self.servers.is_offline(job.server) and self.servers.has_alternative(job.server, job)

    def counts(self) -> QueueCounts:
        """Count the jobs of all users."""
        snapshots = [self.updates.get(job.id) or first_snapshot(job) for job in self.index.claimed]
        running = sum(map(is_running, snapshots))
        return QueueCounts(running, len(self.index) - running)

    def figures(self) -> QueueFigures:
        """Return the figures of the queue."""
        jobs: Counter[tuple[str, str]] = Counter()
        oldest_at = now = self.now()
        for job in self.index.values():
            state = job.status.value
            if job.status is JobStatus.WAITING:
                oldest_at = min(oldest_at, job.created_at)
            elif job.status in _AT_SERVER and job.started_at is not None:
                state = "running"
            jobs[state, job.server or ""] += 1
        return QueueFigures(jobs, now - oldest_at, self.servers.online())

    def ended(self, job: Job) -> None:
        """Tell those who listen that this process has stored the end of a job."""
        for listener in self.end_listeners:
            listener(job)

    def view(self, user_id: str, jobs: Iterable[Job]) -> QueueView:
        """Return the queue as a user sees it, whose jobs are ``jobs``."""
        own = self.with_positions(jobs)
        return QueueView(
            tuple(own),
            len(self.index) - len(own),
            self.finished_counts[user_id],
            paused=user_id in self.index.paused,
            all_paused=EVERYONE in self.index.paused,
            paused_groups=self.index.paused_groups & {job.group_id for job, _ in own},
        )

    def load(self, job: Job) -> None:
        """Add a job from the store; unless it waits, a worker has to resume it."""
        if job.status is JobStatus.UNFETCHED:
            job = fast_replace(job, status=JobStatus.FETCHING, finished_at=None, error=None)
        self.index[job.id] = job
        if job.status is not JobStatus.WAITING:
            self._unclaimed[job.id] = None
        self.updates.put(first_snapshot(job))

    def remove(self, job_id: str) -> Job:
        """Drop a job from memory."""
        self.servers.forget(job_id)
        return self.index.pop(job_id)

    def resume(self, worker: str) -> list[tuple[Job, Handover]]:
        """Hand a worker its jobs of the last process, and those of workers that are gone."""
        resumed = []
        for job_id in [*self._unclaimed]:
            job = self.index[job_id]
            inherited = job.server != worker
            if not inherited or not self.servers.knows(job.server):
                self.index[job_id] = fast_replace(job, server=worker)
                del self._unclaimed[job_id]
                if inherited:
                    self.previous_servers[job_id] = job.server
                self.servers.assign(worker, job)
                handover = Handover.INHERITED if inherited else Handover.RESUMED
                resumed.append((self.index[job_id], handover))
        return resumed

    def at_server(self, worker: str) -> list[Job]:
        """Return the jobs that a server runs or has queued."""
        return [j for j in self.index.claimed if j.server == worker and j.status in _AT_SERVER]

    def runs_alone(self, worker: str) -> bool:
        """Whether a server has a job that gets no other beside it: it may kill the server."""
        return any(job.server_deaths for job in self.at_server(worker))

    def busy_s(self) -> dict[str, float]:
        """Return the estimated seconds that each worker's jobs will still take."""
        busy: dict[str, float] = {}
        for job in self.index.claimed:
            if job.server is not None and job.status in _AT_SERVER:
                busy[job.server] = busy.get(job.server, 0.0) + self._remaining_s(job)
        return busy

    def _remaining_s(self, job: Job) -> float:
        cost_s = self.servers.cost_s(job.server, job) if job.server else job.cost_s
        return remaining_s(job, self.updates.get(job.id), self.now(), cost_s=cost_s)

    def estimate(self, job: Job) -> JobEstimate:
        """Estimate a job that is not submitted yet, if it is submitted now."""
        waiting = [*self.index.waiting(job.user_id)]
        last = max((other.rank for other in waiting), default=0.0) + 1
        before = (other for other in self.index.queue if not self.index.in_paused_group(other))
        queue = fair_order([*before, fast_replace(job, rank=last)], self.index.clock)
        estimate = self.servers.estimate(job.id, queue, self.busy_s())
        self.servers.forget(job.id)
        return estimate

    def put_first_snapshot(self, job: Job) -> None:
        """Publish the snapshot of a job that was claimed or returned. Progress never falls."""
        current = self.updates.get(job.id)
        self.updates.put(
            fast_replace(first_snapshot(job), progress=current.progress if current else 0.0)
        )

    def put_report(self, job: Job, report: JobReport) -> None:
        """Publish the snapshot that follows from a report."""
        old = self.updates.get(job.id) or first_snapshot(job)
        new = next_snapshot(old, job, report)
        self.updates.put(new)
        moved = (new.phase, new.queue_position) != (old.phase, old.queue_position)
        if moved or self.now() - self._positions_at > POSITIONS_AGE_S:
            self.put_positions()

    def put_positions(self) -> None:
        """Publish the queue positions of all followed jobs, or soon if that was just done."""
        if self._next_put is not None:
            return
        wait_s = self._next_put_at - time.perf_counter()
        if wait_s > 0:
            loop = asyncio.get_running_loop()
            self._next_put = loop.call_later(wait_s, self._put_all_positions)
        else:
            self._put_all_positions()

    def _put_all_positions(self) -> None:
        self._next_put = None
        start = time.perf_counter()
        if followed := self.updates.followed():
            positions = self.positions()
            for job_id in followed:
                self._put_position(job_id, positions)
        end = time.perf_counter()
        pauses_s = _POSITIONS_S, _POSITION_S * len(followed), _POSITIONS_REST * (end - start)
        self._next_put_at = end + max(pauses_s)

    def put_position(self, job_id: str) -> None:
        """Publish the queue position of one job."""
        self._put_position(job_id, self.positions())

    def _put_position(self, job_id: str, positions: Mapping[str, QueuePosition]) -> None:
        job, snapshot = self.index.get(job_id), self.updates.get(job_id)
        if job is None or snapshot is None:
            return
        fields: dict[str, Any] = {
            "others_own": self.index.count(job.user_id) - 1,
            "paused": self._is_paused(job),
        }
        if position := positions.get(job_id):
            fields |= position.snapshot_fields
        if any(getattr(snapshot, name) != value for name, value in fields.items()):
            self.updates.put(snapshot, **fields)

    def close(self) -> None:
        """Forget all jobs and end the followers."""
        if self._next_put is not None:
            self._next_put.cancel()
        self.index.clear()
        self.updates.close()

    def positions(self) -> dict[str, QueuePosition]:
        """Return the queue positions by job id, computed again only after a change."""
        queue, ahead = self.index.queue, jobs_ahead(self.index.claimed, self.updates.get)
        is_old = self.now() - self._positions_at > POSITIONS_AGE_S
        if is_old or self._positions[0] is not queue or self._positions[1] != ahead:
            moving = [job for job in queue if not self.index.is_paused(job)]
            estimates = self.servers.estimates(moving, self.busy_s())
            estimates |= estimates_at_servers(
                self.index.claimed, self.updates.get, self._remaining_s
            )
            self._positions = queue, ahead, queue_positions(ahead, queue, estimates)
            self._positions_at = self.now()
        return self._positions[2]

    def with_positions(self, jobs: Iterable[Job]) -> list[tuple[Job, Snapshot]]:
        """Return jobs with their current snapshots."""
        positions = self.positions()
        pairs = []
        for job in jobs:
            snapshot = self.updates.get(job.id) or first_snapshot(job)
            if position := positions.get(job.id):
                fields = {"paused": self._is_paused(job), **position.snapshot_fields}
                snapshot = fast_replace(snapshot, **fields)
            pairs.append((job, snapshot))
        return pairs

    def _is_paused(self, job: Job) -> bool:
        return job.status is JobStatus.WAITING and self.index.is_paused(job)


class JobIndex(MutableMapping[str, Job]):
    """Jobs by id, in order of arrival.

    Every follower asks for the queue at each change of any job, but the queue itself changes
    seldom. So the order is kept until a waiting job or the clock changes.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._clock = FairQueueClock()
        self._paused: frozenset[str] = frozenset()
        self._paused_groups: frozenset[str] = frozenset()
        self._queue: Sequence[Job] | None = None
        self._waiting: dict[str, dict[str, Job]] = {}  # by user, then by id
        self._arrivals = count()
        self._arrived: dict[str, int] = {}  # numbers of arrival, by id
        self._claimed: dict[str, int] = {}  # those of the jobs that do not wait
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
    def paused(self) -> frozenset[str]:
        """The ids of the users whose queue is paused."""
        return self._paused

    @paused.setter
    def paused(self, paused: frozenset[str]) -> None:
        self._paused = paused
        self._queue = None

    @property
    def paused_groups(self) -> frozenset[str]:
        """The ids of the paused groups."""
        return self._paused_groups

    @paused_groups.setter
    def paused_groups(self, paused: frozenset[str]) -> None:
        self._paused_groups = paused
        self._queue = None

    def in_paused_group(self, job: Job) -> bool:
        """Whether the group of a job is paused."""
        return job.group_id in self._paused_groups

    def is_paused(self, job: Job) -> bool:
        """Whether a job may not start: its group, its user or everyone is paused."""
        users = self._paused
        return EVERYONE in users or job.user_id in users or self.in_paused_group(job)

    @property
    def queue(self) -> Sequence[Job]:
        """The waiting jobs in order, paused ones last; the same object until a change."""
        if self._queue is None:
            waiting = [job for jobs in self._waiting.values() for job in jobs.values()]
            held: list[Job] = []
            if self._paused or self._paused_groups:
                held = [job for job in waiting if self.is_paused(job)]
                waiting = [job for job in waiting if not self.is_paused(job)]
            # Apart: jobs that do not start must not delay the others of their user.
            order = fair_order(waiting, self._clock)
            order += fair_order(held, self._clock) if held else []
            self._queue = tuple(order)
        return self._queue

    def claim(self, claimed: Sequence[Job], clock: FairQueueClock) -> None:
        """Replace waiting jobs by claimed ones and set the clock that follows.

        The first ones of the queue leave the others in the same order: see :func:`.fair_order`.
        """
        queue, size = self.queue, len(claimed)
        for job in claimed:
            self[job.id] = job
        self.clock = clock
        if [job.id for job in queue[:size]] == [job.id for job in claimed]:
            self._queue = queue[size:]

    def waiting(self, user_id: str) -> list[Job]:
        """Return the waiting jobs of a user, in their order."""
        return sorted(self._waiting.get(user_id, {}).values(), key=lambda job: job.rank)

    @property
    def claimed(self) -> list[Job]:
        """The jobs that do not wait, in order of arrival."""
        return [
            self._jobs[job_id] for job_id in sorted(self._claimed, key=self._claimed.__getitem__)
        ]

    def count(self, user_id: str) -> int:
        """Return the number of unfinished jobs of a user."""
        return self._counts[user_id]

    def __getitem__(self, job_id: str) -> Job:
        return self._jobs[job_id]

    def __setitem__(self, job_id: str, job: Job) -> None:
        old = self._jobs.get(job_id)
        if old is None:
            self._arrived[job_id] = next(self._arrivals)
        self._jobs[job_id] = job
        self._changed(old, job)

    def __delitem__(self, job_id: str) -> None:
        self._changed(self._jobs.pop(job_id), None)
        del self._arrived[job_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._jobs)

    def __len__(self) -> int:
        return len(self._jobs)

    def _changed(self, old: Job | None, new: Job | None) -> None:
        waited = old is not None and old.status is JobStatus.WAITING
        waits = new is not None and new.status is JobStatus.WAITING
        if old is not None and waited:
            jobs = self._waiting[old.user_id]
            del jobs[old.id]
            if not jobs:
                del self._waiting[old.user_id]
        if new is not None and waits:
            self._waiting.setdefault(new.user_id, {})[new.id] = new
        if waited or waits:
            self._queue = None
        if old is not None and not waited:
            self._claimed.pop(old.id)
        if new is not None and not waits:
            self._claimed[new.id] = self._arrived[new.id]
        for job, number in (old, -1), (new, 1):
            if job is not None:
                self._counts[job.user_id] += number
                if not self._counts[job.user_id]:
                    del self._counts[job.user_id]
