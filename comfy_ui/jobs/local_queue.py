"""The job queue of one process: unfinished jobs in memory, backed by a job store."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from ..errors import StorageError
from ..protocol._replace import fast_replace
from ..protocol.durations import NodeDurations
from ..protocol.progress import Phase
from ..storage.job_store import JobStore
from ..storage.records import (
    Job,
    JobError,
    JobStatus,
    QueueCounts,
    QueueFigures,
    QueueView,
    Snapshot,
    StoredFile,
)
from ..storage.uncancellable import uncancellable
from . import queue_rules
from .fair_queue import FairQueueClock
from .placement import JobEstimate, ServerOffer
from .queue import Handover, JobReport, ReturnReason
from .unfinished_jobs import UnfinishedJobs
from .updates import first_snapshot, last_snapshot
from .withdrawals import Withdrawals

logger = logging.getLogger(__name__)

_SAVE_SOON_S: Final = 0.25  # a job that ends sooner costs three writes less
# A restart asks the server about a claimed job, so these need not be stored at once.
_FOUND_AT_SERVER: Final = frozenset({JobStatus.SENT, JobStatus.FETCHING})


class _Submission(NamedTuple):
    job: Job
    max_of_key: int | None
    future: asyncio.Future[Job]


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
        self._submissions: dict[tuple[str, str], _Submission] = {}  # by user and job id
        self._work: dict[str, asyncio.Event] = {}  # by worker: claim() may have news
        self._ending: dict[str, Job] = {}  # their end is being stored
        self._unsaved: dict[str, Job] = {}  # ended, but the disk refused to store that
        self._withdrawals = Withdrawals()
        self._held: set[str] = set()  # waiting jobs that are about to be replaced
        self._save_timers: dict[str, asyncio.TimerHandle] = {}  # by job
        self._saves: dict[str, asyncio.Task[None]] = {}  # by job
        self._claims_held = False
        self._closed = False

    async def open(self) -> None:
        """Load the jobs that the last process left unfinished."""
        self._unfinished.index.clock = FairQueueClock(*await self._store.fair_queue_tags())
        self._unfinished.index.paused = await self._store.paused()
        self._unfinished.index.paused_groups = await self._store.paused_groups()
        for job in await self._store.unfinished():
            self._unfinished.load(job)
        for job_id, worker in await self._store.left_servers():
            self._unfinished.servers.exclude(worker, job_id)

    async def close(self) -> None:
        """Store what is to be stored soon, and end the followers.

        Call it before the store is closed.
        """
        self._closed = True
        timers, self._save_timers = self._save_timers, {}
        for job_id, timer in timers.items():
            timer.cancel()
            self._save_now(job_id)
        await asyncio.gather(*self._saves.values())
        self._unfinished.close()

    # Job service

    @uncancellable
    async def submit(
        self, job: Job, *, front: bool, replaces: str | None = None, max_of_key: int | None = None
    ) -> Job:
        jobs = self._unfinished
        if replaces is not None and jobs.of_user(replaces, job.user_id):
            self._held.add(replaces)
            await self._take_back([j.id for j in jobs.ready(job.user_id) if j.id == replaces])
        try:
            if front or replaces is not None:
                async with self._order_lock:
                    job = await self._submit(
                        job, front=front, replaces=replaces, max_of_key=max_of_key
                    )
            else:
                job = await self._submit_last(job, max_of_key)
        finally:
            self._held.discard(replaces or "")
        if front:
            for ready in jobs.ready(job.user_id):
                _ = self._withdrawals.request(ready.id)
        jobs.put_positions()
        self._wake_workers()
        return job

    async def _submit_last(self, job: Job, max_of_key: int | None) -> Job:
        """Submit a job to the end of the queue, together with all that wait for the lock.

        They share a commit. Otherwise a claim would wait for a commit of each of them.
        """
        key = job.user_id, job.id
        submission = self._submissions.setdefault(
            key, _Submission(job, max_of_key, asyncio.get_running_loop().create_future())
        )
        async with self._order_lock:
            if key in self._submissions:
                submissions, self._submissions = self._submissions, {}
                await asyncio.gather(*map(self._settle, submissions.values()))
        return await submission.future

    async def _settle(self, submission: _Submission) -> None:
        job, max_of_key, future = submission
        try:
            stored = await self._submit(job, front=False, replaces=None, max_of_key=max_of_key)
            future.set_result(stored)
        except Exception as error:  # noqa: BLE001 -- submit() raises it
            future.set_exception(error)
        finally:
            future.cancel()  # unless it is done

    async def _submit(
        self, job: Job, *, front: bool, replaces: str | None, max_of_key: int | None
    ) -> Job:
        jobs = self._unfinished
        if unfinished := jobs.of_user(job.id, job.user_id):  # submitted twice at the same time
            return unfinished
        old = queue_rules.replaced_job(jobs, job, replaces)
        job = jobs.adding[job.id] = queue_rules.placed_job(
            jobs,
            job,
            front=front,
            replaced=old,
            waiting_limit=self._waiting_limit,
            max_of_key=max_of_key,
        )
        try:
            job = await self._store.add(
                job,
                replaces=old.id if old is not None else None,
                cost_s=jobs.servers.learned_s(job),
            )
        except BaseException:
            jobs.servers.forget(job.id)
            raise
        finally:
            del jobs.adding[job.id]
        if job.status is not JobStatus.WAITING:  # submitted twice, and finished already
            return job
        jobs.index[job.id] = job
        jobs.updates.put(first_snapshot(job))
        if old is not None:
            jobs.remove(old.id)
            ended = fast_replace(old, status=JobStatus.CANCELLED, finished_at=jobs.now())
            jobs.updates.put(last_snapshot(ended))
        return job

    @uncancellable
    async def cancel(self, job_id: str, user_id: str) -> bool:
        jobs = self._unfinished
        async with self._order_lock:
            job = jobs.of_user(job_id, user_id)
            if job is None:
                return False
            if job.status is JobStatus.WAITING:
                await self._finish(fast_replace(job, status=JobStatus.CANCELLED))
            else:
                job = jobs.index[job_id] = fast_replace(job, cancel_requested=True)
                jobs.put_report(job, JobReport(job_id=job.id, phase=Phase.CANCELLING))
                self._wake_workers()
                await self._try_to_save(job)
        jobs.put_positions()
        return True

    @uncancellable
    async def reorder(self, job_ids: Collection[str], user_id: str, *, before: str | None) -> bool:
        jobs = self._unfinished
        async with self._order_lock:
            order = queue_rules.reorder(jobs, job_ids, user_id, before=before)
            if order is None:
                return False
            await self._save_ranks(order.ranks)
        jobs.updates.wake()
        await self._take_back(order.displaced)
        jobs.put_positions()
        return order.has_effect(jobs)

    async def _save_ranks(self, ranks: Mapping[str, float]) -> None:
        await self._store.save_ranks(ranks)
        for job_id, rank in ranks.items():
            self._unfinished.index[job_id] = fast_replace(self._unfinished.index[job_id], rank=rank)

    @uncancellable
    async def set_paused(self, user_id: str, *, paused: bool) -> None:
        index = self._unfinished.index
        async with self._order_lock:
            await self._store.save_paused(user_id, paused=paused)
            index.paused = index.paused | {user_id} if paused else index.paused - {user_id}
            self._apply_pauses()

    @uncancellable
    async def set_group_paused(self, group_id: str, *, paused: bool) -> None:
        index = self._unfinished.index
        async with self._order_lock:
            await self._store.save_group_paused(group_id, paused=paused)
            groups = index.paused_groups
            index.paused_groups = groups | {group_id} if paused else groups - {group_id}
            self._apply_pauses()

    def _apply_pauses(self) -> None:
        """Take paused jobs back from the servers' queues, and let others start."""
        jobs = self._unfinished
        for job in jobs.ready():
            if jobs.index.is_paused(job):
                _ = self._withdrawals.request(job.id)
        jobs.put_positions()
        jobs.updates.wake()
        self._wake_workers()

    async def _take_back(self, ready_ids: Sequence[str]) -> None:
        """Take jobs back from their servers' queues, as far as the servers answer soon."""
        requests = [self._withdrawals.request(job_id) for job_id in ready_ids]
        if requests:
            self._wake_workers()
            await self._withdrawals.wait(requests)

    @uncancellable
    async def retry_fetch(self, job_id: str, user_id: str) -> bool:
        async with self._order_lock:
            if self._unfinished.of_user(job_id, user_id) or job_id in self._ending:
                return False
            job = self._unsaved_of(job_id, user_id) or await self._store.get(job_id, user_id)
            if job is None or not queue_rules.can_resume(job):
                return False
            self._unsaved.pop(job_id, None)
            self._unfinished.load(job)
        self._wake_workers()
        return True

    async def can_run_elsewhere(self, job_id: str, user_id: str) -> bool:
        return self._unfinished.can_run_elsewhere(job_id, user_id)

    async def active(self, user_id: str) -> list[Job]:
        ending = [job for job in self._ending.values() if job.user_id == user_id]
        return ending + self._unfinished.in_order(user_id)

    async def unsaved(self, user_id: str) -> list[Job]:
        return [job for job in reversed(self._unsaved.values()) if job.user_id == user_id]

    def _unsaved_of(self, job_id: str, user_id: str) -> Job | None:
        job = self._unsaved.get(job_id)
        return job if job and job.user_id == user_id else None

    async def estimate(self, job: Job) -> JobEstimate:
        return self._unfinished.estimate(job)

    def hold_claims(self) -> int:
        """Let no waiting job start until this queue closes; return how many jobs servers have."""
        self._claims_held = True
        # The server is done with those whose files could not be downloaded.
        return sum(job.status is not JobStatus.UNFETCHED for job in self._unfinished.index.claimed)

    async def counts(self) -> QueueCounts:
        return self._unfinished.counts()

    def figures(self) -> QueueFigures:
        return self._unfinished.figures()

    def is_running(self) -> bool:
        return not self._closed

    def on_end(self, listener: Callable[[Job], None]) -> None:
        self._unfinished.end_listeners.append(listener)

    async def snapshot(self, job_id: str, user_id: str) -> Snapshot | None:
        if self._unfinished.of_user(job_id, user_id):
            self._unfinished.put_position(job_id)
            return self._unfinished.updates.get(job_id)
        ending = self._ending.get(job_id)
        if ending is not None and ending.user_id == user_id:
            return self._unfinished.updates.get(job_id)
        if unsaved := self._unsaved_of(job_id, user_id):
            return last_snapshot(unsaved)
        stored = await self._store.get_with_items(job_id, user_id)
        return last_snapshot(*stored) if stored else None

    def follow(self, job_id: str, user_id: str) -> AsyncGenerator[Snapshot, None]:
        return self._unfinished.updates.follow_to_end(
            job_id, lambda: self.snapshot(job_id, user_id)
        )

    def follow_queue(self, user_id: str) -> AsyncGenerator[QueueView, None]:
        return self._unfinished.updates.follow_views(lambda: self._view(user_id))

    async def job_added(self, user_id: str) -> None:
        self._unfinished.finished_counts[user_id] += 1
        self._unfinished.updates.wake()

    async def _view(self, user_id: str) -> QueueView:
        return self._unfinished.view(user_id, await self.active(user_id))

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
            if self._claims_held:
                return []
            claims, clock = queue_rules.choose_claims(jobs, worker, limit, held=self._held)
            if not claims:
                return []
            await self._store.save_claims(claims)
            jobs.index.claim([job for job, _ in claims], clock)
            for job, _ in claims:
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
            job, waits, leaves = queue_rules.return_job(jobs, old, reason)
            if not waits:
                jobs.index[job_id] = job
                return False
            if leaves:
                there = reason == "unreachable"
                await self._store.save_moved(
                    job, server=worker, prompt_id=old.prompt_id, there=there
                )
                jobs.servers.exclude(worker, job_id)
            else:
                await self._store.save(job)
            if reason == "died":
                jobs.servers.avoid(worker, job_id)
            if reason == "withdrawn":
                jobs.index.clock = jobs.index.clock.without(old)
            jobs.index[job_id] = job
            self._withdrawals.close(job_id, withdrawn=True)
            jobs.put_first_snapshot(job)
            logger.info("Job %s waits again: %s", job_id, reason)
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

    async def withdrawals(self, worker: str) -> frozenset[str]:
        if not self._withdrawals:
            return frozenset()
        ready = self._unfinished.ready()
        return frozenset(j.id for j in ready if j.server == worker and j.id in self._withdrawals)

    async def publish(self, worker: str, report: JobReport) -> None:
        jobs = self._unfinished
        job = jobs.index.get(report.job_id)
        if job is None or job.server != worker:  # finished, or with another worker
            return
        if report.progress and queue_rules.begins(job, report.progress):
            job = jobs.index[job.id] = queue_rules.begun_job(jobs, job, report.progress)
            self._withdrawals.close(job.id, withdrawn=False)
            self._save_soon(job.id)
        if report.status is None:
            jobs.put_report(job, report)
            return
        stored_id = job.prompt_id
        job = queue_rules.reported_job(
            job, report, previous_server=jobs.previous_servers.pop(job.id, None)
        )
        if not job.status.active:
            await self._finish_or_strand(job, report.files)
            return
        jobs.index[job.id] = job
        jobs.put_report(job, fast_replace(report, phase=report.phase or job.status.phase))
        if job.status in _FOUND_AT_SERVER and job.prompt_id == stored_id:
            self._save_soon(job.id)
        else:
            await self._try_to_save(job)

    def _save_soon(self, job_id: str) -> None:
        """Store that a server has, runs or has finished a job, unless it ends at once."""
        if job_id not in self._save_timers:
            loop = asyncio.get_running_loop()
            self._save_timers[job_id] = loop.call_later(_SAVE_SOON_S, self._save_now, job_id)

    def _save_now(self, job_id: str) -> None:
        self._save_timers.pop(job_id, None)
        job = self._unfinished.index.get(job_id)
        if job is not None and job.status in _FOUND_AT_SERVER:
            task = self._saves[job_id] = asyncio.create_task(
                self._try_to_save(job), name="save soon"
            )
            task.add_done_callback(lambda _: self._forget_save(job_id, task))

    def _forget_save(self, job_id: str, task: asyncio.Task[None]) -> None:
        if self._saves.get(job_id) is task:
            del self._saves[job_id]

    async def _end_saves(self, job_id: str) -> None:
        """Return when no earlier state of a job can be stored any more."""
        if timer := self._save_timers.pop(job_id, None):
            timer.cancel()
        if save := self._saves.get(job_id):
            await asyncio.wait([save])

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
        job = fast_replace(job, finished_at=jobs.now())
        unfinished = jobs.index.pop(job.id)  # from here on, no other task writes its row
        self._ending[job.id] = unfinished
        try:
            await self._end_saves(job.id)
            items = await self._store.finish(job, files)
        except StorageError:
            jobs.index[job.id] = unfinished
            raise
        finally:
            del self._ending[job.id]
        jobs.servers.forget(job.id)
        self._withdrawals.close(job.id, withdrawn=False)
        jobs.finished_counts[job.user_id] += 1
        jobs.ended(job)
        jobs.updates.put(queue_rules.end_snapshot(job, items, jobs.updates.get(job.id)))
        jobs.put_positions()

    async def _finish_or_strand(self, job: Job, files: Sequence[StoredFile]) -> None:
        """End a job even if it cannot be stored: its older row is enough to resume it."""
        jobs = self._unfinished
        try:
            await self._finish(job, files)
        except StorageError as error:
            logger.error("The end of job %s could not be saved: %s", job.id, error)  # noqa: TRY400 -- the user sees it too
            job = fast_replace(job, finished_at=jobs.now())
            if job.status is JobStatus.SUCCEEDED:  # its files have no rows
                job = fast_replace(job, status=JobStatus.UNFETCHED, error=JobError.of(error))
            self._unsaved[job.id] = job
            jobs.remove(job.id)
            jobs.ended(job)
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


@asynccontextmanager
async def open_local_queue(
    store: JobStore,
    folder: Path,  # noqa: ARG001 -- the store has it
    waiting_limit: int,
    durations: Mapping[str, NodeDurations],
) -> AsyncIterator[LocalQueue]:
    """Open the queue of this process, whose workers are those of ``durations``."""
    queue = LocalQueue(
        store, waiting_limit=waiting_limit, workers=[*durations], durations=durations
    )
    try:
        await queue.open()
        yield queue
    finally:
        await queue.close()
