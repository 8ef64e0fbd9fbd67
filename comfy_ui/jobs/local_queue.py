"""The job queue of one process: unfinished jobs in memory, backed by a job store."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from ..errors import StorageError, ValidationError
from ..protocol.durations import NodeDurations
from ..protocol.progress import Phase
from ..storage.job_store import JobStore
from ..storage.records import Job, JobError, JobStatus, QueueCounts, QueueView, Snapshot, StoredFile
from ..storage.uncancellable import uncancellable
from .fair_queue import FairQueueClock
from .placement import ServerOffer
from .queue import Handover, JobReport, ReturnReason
from .queue_position import is_running
from .unfinished_jobs import UnfinishedJobs
from .updates import first_snapshot, last_snapshot

logger = logging.getLogger(__name__)

_VIEW_INTERVAL_S: Final = 0.25  # a view carries all jobs of a user, with a preview


class LocalQueue:
    """The :class:`.queue.JobQueue` of this process.

    No other process uses the store, so unfinished jobs are cached in memory. A new job, a
    claim and the end of a job are stored before they are published. Everything else that a
    restart finds out on its own is published even if it cannot be stored.

    ``workers`` names the workers that will :meth:`announce` themselves. ``durations`` is what is
    learned of each worker's server, to place jobs and to tell when they start.
    """

    def __init__(
        self,
        store: JobStore,
        *,
        waiting_limit: int,
        workers: Sequence[str] = (),
        durations: Mapping[str, NodeDurations] = MappingProxyType({}),
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._unfinished = UnfinishedJobs(workers, now, durations)
        self._waiting_limit = waiting_limit
        self._order_lock = asyncio.Lock()  # one change of the order at a time
        self._work: dict[str, asyncio.Event] = {}  # by worker: claim() may have news
        self._unsaved: dict[str, Job] = {}  # ended, but the disk refused to store that
        self._closed = False

    async def open(self) -> None:
        """Load the jobs that the last process left unfinished."""
        self._unfinished.index.clock = FairQueueClock(*await self._store.fair_queue_tags())
        for job in await self._store.unfinished():
            self._unfinished.load(job)
        for job_id, worker in await self._store.left_servers():
            self._unfinished.servers.exclude(worker, job_id)

    def close(self) -> None:
        """End the followers. Call it before the store is closed."""
        self._closed = True
        self._unfinished.index.clear()
        self._unfinished.updates.close()

    # Job service

    @uncancellable
    async def submit(self, job: Job, *, front: bool, replaces: str | None = None) -> Job:
        jobs = self._unfinished
        async with self._order_lock:
            stored = await self._store.get(job.id, job.user_id)
            if stored is not None:  # submitted twice at the same time
                return stored
            old = jobs.of_user(replaces, job.user_id) if replaces else None
            if replaces and (old is None or old.status is not JobStatus.WAITING):
                raise ValidationError(
                    "That job does not wait any more, so it was not changed.",
                    hint="Generate again to add the changed one to the queue.",
                )
            ranks = [other.rank for other in jobs.index.waiting(job.user_id) if other is not old]
            if len(ranks) >= self._waiting_limit:
                raise ValidationError(
                    f"{len(ranks)} of your jobs are waiting already.",
                    hint="Let some finish or cancel them, then add more.",
                )
            rank = (min(ranks, default=0.0) - 1) if front else (max(ranks, default=0.0) + 1)
            if old is not None and not front:
                rank = old.rank
            job = await self._store.add(
                replace(job, status=JobStatus.WAITING, rank=rank),
                replaces=old.id if old is not None else None,
            )
            jobs.index[job.id] = job
            jobs.updates.put(first_snapshot(job))
            if old is not None:
                jobs.remove(old.id)
                ended = replace(old, status=JobStatus.CANCELLED, finished_at=jobs.now())
                jobs.updates.put(last_snapshot(ended))
        jobs.put_positions()
        self._wake_workers()
        return job

    @uncancellable
    async def cancel(self, job_id: str, user_id: str) -> bool:
        jobs = self._unfinished
        async with self._order_lock:
            job = jobs.of_user(job_id, user_id)
            if job is None:
                return False
            if job.status is JobStatus.WAITING:
                await self._finish(replace(job, status=JobStatus.CANCELLED))
            else:
                job = jobs.index[job_id] = replace(job, cancel_requested=True)
                jobs.put_report(job, JobReport(job_id=job.id, phase=Phase.CANCELLING))
                self._wake_workers()
                await self._try_to_save(job)
        jobs.put_positions()
        return True

    @uncancellable
    async def reorder(self, job_id: str, user_id: str, *, before: str | None) -> bool:
        index = self._unfinished.index
        async with self._order_lock:
            waiting = index.waiting(user_id)
            ids = [job.id for job in waiting if job.id != job_id]
            if len(ids) == len(waiting) or (before is not None and before not in ids):
                return False
            ids.insert(ids.index(before) if before is not None else len(ids), job_id)
            ranks = {id_: float(rank) for rank, id_ in enumerate(ids, start=1)}
            await self._store.save_ranks(ranks)
            for id_, rank in ranks.items():
                index[id_] = replace(index[id_], rank=rank)
        self._unfinished.put_positions()
        self._unfinished.updates.wake()
        return True

    @uncancellable
    async def retry_fetch(self, job_id: str, user_id: str) -> bool:
        async with self._order_lock:
            if self._unfinished.of_user(job_id, user_id):
                return False
            job = self._unsaved_of(job_id, user_id) or await self._store.get(job_id, user_id)
            if job is None or not _can_resume(job):
                return False
            self._unsaved.pop(job_id, None)
            self._unfinished.load(job)
        self._wake_workers()
        return True

    async def can_run_elsewhere(self, job_id: str, user_id: str) -> bool:
        job = self._unfinished.of_user(job_id, user_id)
        if job is None or job.status is not JobStatus.FETCHING or job.server is None:
            return False
        servers = self._unfinished.servers
        return servers.is_offline(job.server) and servers.has_alternative(job.server, job)

    async def active(self, user_id: str) -> list[Job]:
        index = self._unfinished.index
        claimed = [job for job in index.claimed if job.user_id == user_id]
        return claimed + index.waiting(user_id)

    async def unsaved(self, user_id: str) -> list[Job]:
        return [job for job in reversed(self._unsaved.values()) if job.user_id == user_id]

    def _unsaved_of(self, job_id: str, user_id: str) -> Job | None:
        job = self._unsaved.get(job_id)
        return job if job and job.user_id == user_id else None

    async def counts(self) -> QueueCounts:
        jobs = self._unfinished
        snapshots = [jobs.updates.get(job.id) or first_snapshot(job) for job in jobs.index.claimed]
        running = sum(map(is_running, snapshots))
        return QueueCounts(running, len(jobs.index) - running)

    async def snapshot(self, job_id: str, user_id: str) -> Snapshot | None:
        if self._unfinished.of_user(job_id, user_id):
            self._unfinished.put_positions(also=job_id)
            return self._unfinished.updates.get(job_id)
        if unsaved := self._unsaved_of(job_id, user_id):
            return last_snapshot(unsaved)
        stored = await self._store.get_with_items(job_id, user_id)
        return last_snapshot(*stored) if stored else None

    async def follow(self, job_id: str, user_id: str) -> AsyncGenerator[Snapshot, None]:
        while True:  # twice if the job ends between snapshot() and updates.follow()
            snapshot = await self.snapshot(job_id, user_id)
            if snapshot is None:
                return
            if snapshot.terminal:
                yield snapshot
                return
            async with aclosing(self._unfinished.updates.follow(job_id)) as snapshots:
                async for snapshot in snapshots:
                    yield snapshot
                    if snapshot.terminal:
                        return
            if self._closed:
                return

    async def follow_queue(self, user_id: str) -> AsyncGenerator[QueueView, None]:
        last = None
        while not self._closed:
            change = self._unfinished.updates.any_change
            view = await self._view(user_id)
            if view != last:
                last = view
                yield view
                await asyncio.sleep(_VIEW_INTERVAL_S)
            await change.wait()

    async def job_added(self, user_id: str) -> None:
        self._unfinished.finished_counts[user_id] += 1
        self._unfinished.updates.wake()

    async def _view(self, user_id: str) -> QueueView:
        jobs = self._unfinished
        own = jobs.with_positions(await self.active(user_id))
        return QueueView(tuple(own), len(jobs.index) - len(own), jobs.finished_counts[user_id])

    # Worker

    async def announce(self, worker: str, offer: ServerOffer) -> None:
        if self._unfinished.servers.update(worker, offer):
            self._wake_workers()

    async def claim(self, worker: str, *, limit: int) -> list[tuple[Job, Handover]]:
        jobs = self._unfinished
        self._work.setdefault(worker, asyncio.Event())
        async with self._order_lock:
            await self._save_ends()
            resumed = jobs.resume(worker)
            if resumed:
                self._wake_workers()  # this worker claims waiting jobs at once
                return resumed
            if limit <= 0:
                return []
            claims, clock = [], jobs.index.clock
            for job in jobs.servers.select(worker, jobs.index.queue, jobs.busy_s(), limit):
                claimed = replace(
                    job, status=JobStatus.CLAIMED, prompt_id=str(uuid.uuid4()), server=worker
                )
                claims.append((claimed, clock.tags(job)))
                clock = clock.after(job)
            if not claims:
                return []
            await self._store.save_claims(claims)
            jobs.index.clock = clock
            for job, _ in claims:
                jobs.index[job.id] = job
                jobs.servers.assign(worker, job)
                jobs.put_first_snapshot(job)
        jobs.put_positions()
        return [(job, Handover.NEW) for job, _ in claims]

    async def return_job(self, worker: str, job_id: str, reason: ReturnReason) -> bool:
        jobs = self._unfinished
        async with self._order_lock:
            old = jobs.index.get(job_id)
            if old is None or old.server != worker or old.cancel_requested or not old.prompt_id:
                return False
            if not jobs.servers.has_alternative(worker, old):
                return False
            first = min((j.rank for j in jobs.index.waiting(old.user_id)), default=1.0) - 1
            job = replace(
                old,
                status=JobStatus.WAITING,
                rank=first,
                server=None,
                prompt_id=None,
                started_at=None,
            )
            if reason == "unheard":
                await self._store.save(job)
            else:
                there = reason == "unreachable"
                await self._store.save_moved(
                    job, server=worker, prompt_id=old.prompt_id, there=there
                )
                jobs.servers.exclude(worker, job_id)
            jobs.index[job_id] = job
            jobs.put_first_snapshot(job)
            logger.info("Job %s moves to another server: %s", job_id, reason)
        jobs.put_positions()
        self._wake_workers()
        return True

    async def copies(self, worker: str) -> list[str]:
        return [*await self._store.copies(worker)]

    async def copy_deleted(self, worker: str, prompt_id: str) -> None:
        job_id = (await self._store.copies(worker)).get(prompt_id)
        await self._store.delete_copy(prompt_id)
        if job_id is not None:
            self._unfinished.servers.allow(worker, job_id)

    async def heartbeat(self, worker: str) -> frozenset[str]:
        return frozenset(
            job.id
            for job in self._unfinished.index.claimed
            if job.cancel_requested and job.server == worker
        )

    async def publish(self, worker: str, report: JobReport) -> None:
        jobs = self._unfinished
        job = jobs.index.get(report.job_id)
        if job is None or job.server != worker:  # finished, or with another worker
            return
        if job.started_at is None and report.progress and report.progress.elapsed_s > 0:
            started_at = jobs.now() - report.progress.elapsed_s
            job = jobs.index[job.id] = replace(job, started_at=started_at)
        if report.status is None:
            jobs.put_report(job, report)
            return
        job = replace(
            job,
            status=report.status,
            prompt_id=report.prompt_id or job.prompt_id,
            outputs=report.outputs or job.outputs,
            error=report.error,
        )
        previous_server = jobs.previous_servers.pop(job.id, None)
        if previous_server is not None and job.status is JobStatus.UNFETCHED:
            job = replace(job, server=previous_server)  # it may return, and still has the results
        if not job.status.active:
            await self._finish_or_strand(job, report.files)
            return
        jobs.index[job.id] = job
        jobs.put_report(job, replace(report, phase=report.phase or job.status.phase))
        await self._try_to_save(job)

    async def wait_for_work(self, worker: str, *, timeout_s: float) -> None:
        work = self._work.setdefault(worker, asyncio.Event())
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await work.wait()
        work.clear()

    def _wake_workers(self) -> None:
        for work in self._work.values():
            work.set()

    async def _try_to_save(self, job: Job) -> None:
        try:
            await self._store.save(job)
        except StorageError as error:  # the older row is enough to resume the job
            logger.warning("Job %s: %s", job.id, error)

    # End of a job

    async def _finish(self, job: Job, files: Sequence[StoredFile] = ()) -> None:
        """Store a finished job with its files, then publish its last snapshot."""
        jobs = self._unfinished
        job = replace(job, finished_at=jobs.now())
        unfinished = jobs.index.pop(job.id)  # from here on, no other task writes its row
        try:
            items = await self._store.finish(job, files)
        except StorageError:
            jobs.index[job.id] = unfinished
            raise
        jobs.servers.forget(job.id)
        jobs.finished_counts[job.user_id] += 1
        last = last_snapshot(job, items)
        snapshot = jobs.updates.get(job.id)
        if snapshot and job.status is not JobStatus.SUCCEEDED:
            last = replace(
                last,
                progress=snapshot.progress,
                preview=snapshot.preview,
                preview_type=snapshot.preview_type,
            )
        jobs.updates.put(last)
        jobs.put_positions()

    async def _finish_or_strand(self, job: Job, files: Sequence[StoredFile]) -> None:
        """End a job even if it cannot be stored: its older row is enough to resume it."""
        jobs = self._unfinished
        try:
            await self._finish(job, files)
        except StorageError as error:
            logger.error("The end of job %s could not be saved: %s", job.id, error)  # noqa: TRY400 -- the user sees it too
            job = replace(job, finished_at=jobs.now())
            if job.status is JobStatus.SUCCEEDED:  # its files have no rows
                job = replace(job, status=JobStatus.UNFETCHED, error=JobError.of(error))
            self._unsaved[job.id] = job
            jobs.remove(job.id)
            jobs.finished_counts[job.user_id] += 1
            jobs.updates.put(last_snapshot(job))
            jobs.put_positions()

    async def _save_ends(self) -> None:
        """Store the jobs that ended while the disk refused, as soon as it does not."""
        for job in [*self._unsaved.values()]:
            try:
                await self._store.save(job)
            except StorageError as error:
                logger.info("The end of job %s cannot be saved yet: %s", job.id, error)
                return
            del self._unsaved[job.id]


def _can_resume(job: Job) -> bool:
    """Whether a job without a worker can continue: its results are, or may be, at ComfyUI."""
    return job.status is JobStatus.UNFETCHED or job.status.active
