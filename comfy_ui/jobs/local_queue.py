"""The job queue of one process: SQLite for what must survive, memory for what must be quick."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from ..errors import StorageError, ValidationError
from ..protocol.progress import Phase
from ..storage import items_table, jobs_table
from ..storage.database import Database
from ..storage.records import Job, JobError, JobStatus, LibraryItem, QueueView, Snapshot, StoredFile
from ..storage.uncancellable import uncancellable
from .fair_queue import FairQueueClock
from .placement import ServerOffer
from .queue import Claim, JobReport, Why
from .snapshots import first_snapshot, last_snapshot
from .unfinished_jobs import UnfinishedJobs

logger = logging.getLogger(__name__)

_LINE_INTERVAL_S: Final = 0.25  # a whole line is told, with a preview


class LocalQueue(UnfinishedJobs):
    """The :class:`.queue.JobQueue` of this process.

    The database is locked against other processes, so the unfinished jobs are also kept in
    memory. What must not be forgotten is written before it is shown: a new job, a turn given to
    it, its end. What a restart would find out by itself is shown even if it cannot be written.

    ``workers`` are the names of those that will :meth:`announce` themselves.
    """

    def __init__(
        self,
        database: Database,
        *,
        folder: Path,
        waiting_limit: int,
        workers: Sequence[str] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(workers, now)
        self._database = database
        self._folder = folder
        self._waiting_limit = waiting_limit
        self._order_lock = asyncio.Lock()  # one change to the line at a time
        self._news: dict[str, asyncio.Event] = {}  # by worker
        self._closed = False

    async def open(self) -> None:
        """Take up what the last process left."""

        def read(
            connection: sqlite3.Connection,
        ) -> tuple[list[Job], FairQueueClock, list[tuple[str, str]]]:
            return (
                jobs_table.unfinished(connection),
                FairQueueClock(*jobs_table.fair_queue_tags(connection)),
                jobs_table.left(connection),
            )

        found, self._jobs.clock, left = await self._database.run(read)
        for job in found:
            self._take_up(job)
        for job_id, worker in left:
            self._fleet.bar(worker, job_id)

    def close(self) -> None:
        """End the followers. Call it before the database is closed."""
        self._closed = True
        self._jobs.clear()
        self._board.close()

    # The page's side

    @uncancellable
    async def submit(self, job: Job, *, front: bool, replaces: str | None = None) -> Job:
        async with self._order_lock:
            known = await self._database.run(jobs_table.get, job.id, job.user_id)
            if known is not None:  # asked twice at once
                return known
            old = self._mine(replaces, job.user_id) if replaces else None
            if replaces and (old is None or old.status is not JobStatus.WAITING):
                raise ValidationError(
                    "That job does not wait any more, so it was not changed.",
                    hint="Generate again to add the changed one to the queue.",
                )
            ranks = [other.rank for other in self._jobs.waiting(job.user_id) if other is not old]
            if len(ranks) >= self._waiting_limit:
                raise ValidationError(
                    f"{len(ranks)} of your jobs are waiting already.",
                    hint="Let some finish or cancel them, then add more.",
                )
            rank = (min(ranks, default=0.0) - 1) if front else (max(ranks, default=0.0) + 1)
            if old is not None and not front:
                rank = old.rank

            def write(connection: sqlite3.Connection) -> Job:
                cost_s = job.work * jobs_table.seconds_per_work(connection, job.preset)
                ranked = replace(job, status=JobStatus.WAITING, rank=rank, cost_s=cost_s)
                jobs_table.insert(connection, ranked)
                if old is not None:
                    jobs_table.delete(connection, old.id)
                return ranked

            job = await self._database.run(write)
            self._jobs[job.id] = job
            self._board.put(first_snapshot(job))
            if old is not None:
                self._forget(old.id)
                ended = replace(old, status=JobStatus.CANCELLED, finished_at=self._now())
                self._board.put(last_snapshot(ended))
        self._show_places()
        self._wake_workers()
        return job

    @uncancellable
    async def cancel(self, job_id: str, user_id: str) -> bool:
        async with self._order_lock:
            job = self._mine(job_id, user_id)
            if job is None:
                return False
            if job.status is JobStatus.WAITING:
                await self._end(replace(job, status=JobStatus.CANCELLED))
            else:
                job = self._jobs[job_id] = replace(job, cancel_requested=True)
                self._show(job, JobReport(job_id=job.id, phase=Phase.CANCELLING))
                self._wake_workers()
                await self._try_to_save(job)
        self._show_places()
        return True

    @uncancellable
    async def reorder(self, job_id: str, user_id: str, *, before: str | None) -> bool:
        async with self._order_lock:
            line = self._jobs.waiting(user_id)
            ids = [job.id for job in line if job.id != job_id]
            if len(ids) == len(line) or (before is not None and before not in ids):
                return False
            ids.insert(ids.index(before) if before is not None else len(ids), job_id)
            ranks = {id_: float(rank) for rank, id_ in enumerate(ids, start=1)}
            await self._database.run(jobs_table.set_ranks, ranks)
            for id_, rank in ranks.items():
                self._jobs[id_] = replace(self._jobs[id_], rank=rank)
        self._show_places()
        self._board.wake()
        return True

    @uncancellable
    async def refetch(self, job_id: str, user_id: str) -> bool:
        async with self._order_lock:
            if self._mine(job_id, user_id):
                return False
            job = await self._database.run(jobs_table.get, job_id, user_id)
            if job is None or not _is_stranded(job):
                return False
            self._take_up(job)
        self._wake_workers()
        return True

    async def elsewhere(self, job_id: str, user_id: str) -> bool:
        job = self._mine(job_id, user_id)
        if job is None or job.status is not JobStatus.FETCHING or job.server is None:
            return False
        return self._fleet.is_away(job.server) and self._fleet.another(job.server, job)

    async def active(self, user_id: str) -> list[Job]:
        in_hand = [job for job in self._jobs.in_hand if job.user_id == user_id]
        return in_hand + self._jobs.waiting(user_id)

    async def snapshot(self, job_id: str, user_id: str) -> Snapshot | None:
        if self._mine(job_id, user_id):
            self._show_places(also=job_id)
            return self._board.get(job_id)

        def read(connection: sqlite3.Connection) -> Snapshot | None:
            job = jobs_table.get(connection, job_id, user_id)
            return (
                last_snapshot(job, items_table.of_job(connection, job_id, self._folder))
                if job
                else None
            )

        return await self._database.run(read)

    async def watch(self, job_id: str, user_id: str) -> AsyncGenerator[Snapshot, None]:
        while True:  # twice if the job ends between looking and following
            snapshot = await self.snapshot(job_id, user_id)
            if snapshot is None:
                return
            if snapshot.terminal:
                yield snapshot
                return
            async with aclosing(self._board.follow(job_id)) as news:
                async for snapshot in news:
                    yield snapshot
                    if snapshot.terminal:
                        return
            if self._closed:
                return

    async def watch_line(self, user_id: str) -> AsyncGenerator[QueueView, None]:
        seen = None
        while not self._closed:
            news = self._board.news
            line = await self._owners_line(user_id)
            if line != seen:
                seen = line
                yield line
                await asyncio.sleep(_LINE_INTERVAL_S)
            await news.wait()

    async def entered(self, user_id: str) -> None:
        self._ended[user_id] += 1
        self._board.wake()

    async def _owners_line(self, user_id: str) -> QueueView:
        places = self._places()
        own = []
        for job in await self.active(user_id):
            snapshot = self._board.get(job.id) or first_snapshot(job)
            place = places.get(job.id)
            own.append((job, replace(snapshot, **place.fields) if place else snapshot))
        return QueueView(tuple(own), len(self._jobs) - len(own), self._ended[user_id])

    # The worker's side

    async def announce(self, worker: str, offer: ServerOffer) -> None:
        if self._fleet.hear(worker, offer):
            self._wake_workers()

    async def claim(self, worker: str, *, limit: int) -> list[Claim]:
        self._news.setdefault(worker, asyncio.Event())
        async with self._order_lock:
            resumed = self._resumed(worker)
            if resumed:
                self._wake_workers()  # for those that wait: asked again at once
                return resumed
            if limit <= 0:
                return []
            turns = {turn.job_id: turn for turn in self._jobs.line}
            line = [self._jobs[job_id] for job_id in turns]
            claimed, clock = [], self._jobs.clock
            for job in self._fleet.share(worker, line, self._busy_s(), limit):
                given = replace(
                    job, status=JobStatus.CLAIMED, prompt_id=str(uuid.uuid4()), server=worker
                )
                claimed.append((given, clock.tags(turns[job.id])))
                clock = clock.after(turns[job.id])
            if not claimed:
                return []

            def write(connection: sqlite3.Connection) -> None:
                for job, tags in claimed:
                    jobs_table.save(connection, job)
                    jobs_table.set_tags(connection, job.id, tags)

            await self._database.run(write)
            self._jobs.clock = clock
            for job, _ in claimed:
                self._jobs[job.id] = job
                self._fleet.give(worker, job)
                self._board.put(self._afresh(job))
        self._show_places()
        return [Claim(job) for job, _ in claimed]

    async def give_back(self, worker: str, job_id: str, why: Why) -> bool:
        async with self._order_lock:
            old = self._jobs.get(job_id)
            if old is None or old.server != worker or old.cancel_requested or not old.prompt_id:
                return False
            if not self._fleet.another(worker, old):
                return False
            first = min((j.rank for j in self._jobs.waiting(old.user_id)), default=1.0) - 1
            job = replace(
                old,
                status=JobStatus.WAITING,
                rank=first,
                server=None,
                prompt_id=None,
                started_at=None,
            )
            if why == "unheard":
                await self._database.run(jobs_table.save, job)
            else:
                there = why == "unreachable"
                await self._database.run(jobs_table.leave, job, worker, old.prompt_id, there=there)
                self._fleet.bar(worker, job_id)
            self._jobs[job_id] = job
            self._board.put(self._afresh(job))
            logger.info("Job %s goes to another server: %s", job_id, why)
        self._show_places()
        self._wake_workers()
        return True

    async def leftovers(self, worker: str) -> list[str]:
        return [*await self._database.run(jobs_table.copies, worker)]

    async def cleared(self, worker: str, prompt_id: str) -> None:
        job_id = (await self._database.run(jobs_table.copies, worker)).get(prompt_id)
        await self._database.run(jobs_table.drop_copy, prompt_id)
        if job_id is not None:
            self._fleet.unbar(worker, job_id)

    async def heartbeat(self, worker: str) -> frozenset[str]:
        return frozenset(
            job.id for job in self._jobs.in_hand if job.cancel_requested and job.server == worker
        )

    async def publish(self, worker: str, report: JobReport) -> None:
        job = self._jobs.get(report.job_id)
        if job is None or job.server != worker:  # over, or with another worker by now
            return
        if job.started_at is None and report.progress and report.progress.elapsed_s > 0:
            started_at = self._now() - report.progress.elapsed_s
            job = self._jobs[job.id] = replace(job, started_at=started_at)
        if report.status is None:
            self._show(job, report)
            return
        job = replace(
            job,
            status=report.status,
            prompt_id=report.prompt_id or job.prompt_id,
            outputs=report.outputs or job.outputs,
            error=report.error,
        )
        before = self._inherited.pop(job.id, None)
        if before is not None and job.status is JobStatus.UNFETCHED:
            job = replace(job, server=before)  # which may come back, and has the results still
        if not job.status.active:
            await self._end_or_strand(job, report.files)
            return
        self._jobs[job.id] = job
        self._show(job, replace(report, phase=report.phase or job.status.phase))
        await self._try_to_save(job)

    async def wait(self, worker: str, *, timeout_s: float) -> None:
        news = self._news.setdefault(worker, asyncio.Event())
        with suppress(TimeoutError):
            await asyncio.wait_for(news.wait(), timeout_s)
        news.clear()

    def _wake_workers(self) -> None:
        for news in self._news.values():
            news.set()

    async def _try_to_save(self, job: Job) -> None:
        try:
            await self._database.run(jobs_table.save, job)
        except StorageError as error:  # the older row is enough to find the job again
            logger.warning("Job %s: %s", job.id, error)

    # The end of a job

    async def _end(self, job: Job, files: Sequence[StoredFile] = ()) -> None:
        """Write down a job that is over, and its results, in one transaction; then tell."""
        job = replace(job, finished_at=self._now())
        before = self._jobs.pop(job.id)  # from here on nobody else writes its row

        def write(connection: sqlite3.Connection) -> tuple[LibraryItem, ...]:
            jobs_table.save(connection, job)
            items_table.add(connection, job, files, now=self._now())
            return items_table.of_job(connection, job.id, self._folder)

        try:
            made = await self._database.run(write)
        except StorageError:
            self._jobs[job.id] = before
            raise
        self._fleet.forget(job.id)
        self._ended[job.user_id] += 1
        last = last_snapshot(job, made)
        shown = self._board.get(job.id)
        if shown and job.status is not JobStatus.SUCCEEDED:
            last = replace(last, progress=shown.progress)
        self._board.put(last)
        self._show_places()

    async def _end_or_strand(self, job: Job, files: Sequence[StoredFile]) -> None:
        """End a job even if that cannot be written: the row then still says where to go on."""
        try:
            await self._end(job, files)
        except StorageError as error:
            logger.error("Job %s ended, and it could not be written down: %s", job.id, error)  # noqa: TRY400 -- told to the owner too
            self._forget(job.id)
            self._ended[job.user_id] += 1
            self._board.put(
                last_snapshot(replace(job, status=JobStatus.UNFETCHED, error=JobError.of(error)))
            )
            self._show_places()


def _is_stranded(job: Job) -> bool:
    """Whether a job that nobody has in hand can go on: its results are, or may be, at ComfyUI."""
    return job.status is JobStatus.UNFETCHED or job.status.active
