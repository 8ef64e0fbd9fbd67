"""Snapshots of unfinished jobs: how they follow from each other, and publish/subscribe of them.

In memory only. A follower holds no queue: it wakes at a change and takes the newest snapshot, so
a slow or dead follower costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from itertools import count
from typing import Any, Final

from ..errors import StorageError
from ..protocol._replace import fast_replace
from ..protocol.progress import Phase
from ..storage.records import Job, JobError, JobStatus, LibraryItem, QueueView, Snapshot
from .queue import JobReport

MIN_INTERVAL_S: Final = 1 / 12
"""Minimum time between two snapshots for one follower; the last one is not delayed."""
_VIEW_INTERVAL_S: Final = 0.25  # a view carries all jobs of a user, with a preview

_LIVE_PHASES = frozenset({Phase.QUEUED, Phase.LOADING, Phase.RUNNING, Phase.SAVING})


class _Change:
    """The event of the next change. Most changes have no waiter, so they cost no event."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event: asyncio.Event | None = None

    @property
    def event(self) -> asyncio.Event:
        if self._event is None:
            self._event = asyncio.Event()
        return self._event

    def wake(self) -> None:
        """Set the event; a new one is for the change after it."""
        if self._event is not None:
            self._event.set()
            self._event = None


class _Topic:
    __slots__ = ("change", "followers", "over", "snapshot")

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.change = _Change()
        self.over = asyncio.Event()  # no more snapshots will come
        self.followers = 0


class JobUpdates:
    """The newest snapshot of each unfinished job, and its followers."""

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}
        self._versions = count(1)
        self._any_change = _Change()
        self._closed = False

    def get(self, job_id: str) -> Snapshot | None:
        topic = self._topics.get(job_id)
        return topic.snapshot if topic else None

    def followed(self) -> list[str]:
        """Return the ids of jobs that have followers."""
        return [job_id for job_id, topic in self._topics.items() if topic.followers]

    @property
    def any_change(self) -> asyncio.Event:
        """The event of the next change of any job. Take it, read the jobs, then wait for it."""
        return self._any_change.event

    def wake(self) -> None:
        """Set :attr:`any_change`."""
        self._any_change.wake()

    def put(self, snapshot: Snapshot, **changes: Any) -> None:
        """Publish a snapshot, with ``changes`` to its fields.

        A terminal snapshot is delivered to the followers and then forgotten.
        """
        snapshot = fast_replace(snapshot, version=next(self._versions), **changes)
        topic = self._topics.get(snapshot.job_id)
        if topic is None:
            topic = self._topics[snapshot.job_id] = _Topic(snapshot)
        topic.snapshot = snapshot
        if snapshot.terminal:
            del self._topics[snapshot.job_id]
            topic.over.set()
        topic.change.wake()
        self.wake()

    async def follow(self, job_id: str) -> AsyncGenerator[Snapshot, None]:
        """Yield the current snapshot and newer ones, until the terminal one or :meth:`close`."""
        topic = self._topics.get(job_id)
        if topic is None:
            return
        topic.followers += 1
        clock = asyncio.get_running_loop().time
        try:
            seen, next_at = 0, 0.0
            while True:
                snapshot = topic.snapshot
                if snapshot.version == seen:
                    if topic.over.is_set():
                        return
                    await topic.change.event.wait()
                elif clock() < next_at and not topic.over.is_set():
                    with suppress(TimeoutError):
                        async with asyncio.timeout_at(next_at):
                            await topic.over.wait()
                else:
                    seen = snapshot.version
                    yield snapshot
                    if snapshot.terminal:
                        return
                    next_at = clock() + MIN_INTERVAL_S
        finally:
            topic.followers -= 1

    async def follow_to_end(
        self, job_id: str, read: Callable[[], Awaitable[Snapshot | None]]
    ) -> AsyncGenerator[Snapshot, None]:
        """Yield snapshots until the terminal one, as :meth:`.JobQueue.follow`.

        ``read`` returns the current snapshot, also of a job that has ended.
        """
        while True:  # twice if the job ends between read() and follow()
            snapshot = await read()
            if snapshot is None:
                return
            if snapshot.terminal:
                yield snapshot
                return
            async with aclosing(self.follow(job_id)) as snapshots:
                async for snapshot in snapshots:
                    yield snapshot
                    if snapshot.terminal:
                        return
            if self._closed:
                return

    async def follow_views(
        self, read: Callable[[], Awaitable[QueueView]]
    ) -> AsyncGenerator[QueueView, None]:
        """Yield what ``read`` returns at each change, as :meth:`.JobQueue.follow_queue`."""
        last = None
        while not self._closed:
            change = self.any_change
            view = await read()
            if view != last:
                last = view
                yield view
                await asyncio.sleep(_VIEW_INTERVAL_S)
            await change.wait()

    def close(self) -> None:
        """End all followers without a terminal snapshot: the jobs continue at ComfyUI."""
        self._closed = True
        for topic in self._topics.values():
            topic.over.set()
            topic.change.wake()
        self._topics.clear()
        self.wake()


def first_snapshot(job: Job) -> Snapshot:
    """Return the snapshot of a job before any report."""
    phase = Phase.CANCELLING if job.cancel_requested else job.status.phase
    return Snapshot(
        job_id=job.id, phase=phase, server_deaths=job.server_deaths, group_id=job.group_id
    )


def next_snapshot(old: Snapshot, job: Job, report: JobReport) -> Snapshot:
    """Return the snapshot after ``old``. Progress never falls, and CANCELLING stays visible."""
    progress = report.progress
    phase = report.phase or (progress.phase if progress else old.phase)
    if phase.is_final:  # the job ends here only when files and rows are written
        phase = Phase.SAVING if phase is Phase.SUCCEEDED else old.phase
    if job.cancel_requested and phase in _LIVE_PHASES:
        phase = Phase.CANCELLING
    changes: dict[str, Any] = {"phase": phase, "error": report.error}
    if report.text is not None:
        changes["text"] = report.text
    if progress is not None:
        changes |= {
            "progress": max(old.progress, progress.progress),
            "step": progress.step,
            "steps": progress.steps,
            "node_title": progress.node_title,
            "queue_position": progress.queue_position,
            "eta_s": progress.eta,
            "elapsed_s": progress.elapsed_s,
            "iteration": progress.iteration,
            "iterations": progress.iterations,
            "text": progress.text,
            "preview": progress.preview or old.preview,
            "preview_type": progress.preview_type if progress.preview else old.preview_type,
        }
    if phase is not Phase.QUEUED:
        changes |= {
            "queue_position": None,
            "queue_size": 0,
            "queue_own": 0,
            "starts_in_s": None,
            "run_s": None,
        }
    return fast_replace(old, **changes)


def last_snapshot(job: Job, items: tuple[LibraryItem, ...] = ()) -> Snapshot:
    """Return the terminal snapshot of a job that no worker has."""
    error = job.error
    if job.status.active:
        job = fast_replace(job, status=JobStatus.UNFETCHED)
        error = JobError.of(StorageError("The result of this job could not be saved."))
    started_at = job.started_at or job.created_at
    return Snapshot(
        job_id=job.id,
        phase=job.status.phase,
        progress=100.0 if job.status is JobStatus.SUCCEEDED else 0.0,
        elapsed_s=max(0.0, job.finished_at - started_at) if job.finished_at else 0.0,
        error=error,
        server_deaths=job.server_deaths,
        group_id=job.group_id,
        items=items,
        texts=job.outputs.texts if job.outputs else (),
    )
