"""What the workers of this process report of their jobs: what is stored, and when."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from ...errors import StorageError
from ...jobs import queue_rules
from ...jobs.queue import JobReport
from ...protocol._replace import fast_replace
from ...storage.records import Job, JobStatus, StoredFile
from ...storage.tables import jobs_table
from ...storage.uncancellable import uncancellable
from ..postgres_database import Cursor, PostgresDatabase
from ..postgres_job_store import insert_newest, lock_items
from .current_queue import JOBS, CurrentQueue
from .queue_mirror import Changes
from .queue_progress import PROGRESS_S, ProgressWriter
from .worker_lease import WorkerLease

logger = logging.getLogger(__name__)

_RETRY_S: Final = 1.0

# Only what the worker decides: others change the rank and request the end of a job meanwhile.
_REPORT: Final = f"""UPDATE jobs SET status = %s, prompt_id = %s, started_at = %s,
    rank = coalesce(%s, rank), outputs = %s, has_texts = %s, error = %s, finished_at = %s,
    server = %s, withdraw = withdraw AND %s::float8 IS NULL
    WHERE id = %s AND server = %s AND token = %s AND finished_at IS NULL
    RETURNING pg_notify('{JOBS}', '')"""  # noqa: S608 -- constant


class WorkerReports:
    """Stores reports, each only while the lease of its worker is that of the job.

    The begin and the progress of a job are written a few times a second at most; the newest wins.
    Its end is kept until it is stored.

    Args:
        leases: the leases of the workers of this process, by name.
    """

    def __init__(
        self, database: PostgresDatabase, queue: CurrentQueue, leases: Mapping[str, WorkerLease]
    ) -> None:
        self._database = database
        self._queue = queue
        self._leases = leases
        self._unsaved = queue.mirror.unsaved
        self._progress = ProgressWriter()
        self._new_ranks: dict[str, float] = {}  # of begun jobs
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def open(self) -> None:
        """Start to store reports."""
        self._task = asyncio.create_task(self._keep_saving(), name="queue reports")

    async def aclose(self) -> None:
        """Store the last reports if the database answers."""
        self._closed = True  # a cancellation may be lost in a call of the database
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        with suppress(StorageError):
            await self.save()

    def is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    def is_owner(self, worker: str, job: Job) -> bool:
        """Whether a worker of this process may publish a job."""
        lease = self._leases.get(worker)
        return (
            lease is not None
            and job.server == worker
            and self._queue.mirror.tokens.get(job.id) == lease.token
        )

    def forget(self, job_id: str) -> None:
        """Store no more of a job that its worker has returned."""
        self._unsaved.pop(job_id, None)
        self._progress.forget(job_id)

    async def publish(self, worker: str, report: JobReport) -> None:
        """Apply a report to the copy, and store it now or soon."""
        jobs = self._queue.unfinished
        job = jobs.index.get(report.job_id)
        if job is None or not self.is_owner(worker, job):  # finished, or with another worker
            return
        if report.progress and queue_rules.begins(job, report.progress):
            begun = queue_rules.begun_job(jobs, job, report.progress)
            if begun.rank != job.rank:
                self._new_ranks[job.id] = begun.rank
            job = jobs.index[job.id] = begun
            self._queue.mirror.withdrawals.close(job.id, withdrawn=False)
            self._queue.mirror.withdrawing.discard(job.id)
            self._unsaved[job.id] = job
        if report.status is None:
            jobs.put_report(job, report)
            if snapshot := jobs.updates.get(job.id):
                self._progress.put(job.prompt_id or "", snapshot)
            return
        stored_id = job.prompt_id
        job = queue_rules.reported_job(
            job, report, previous_server=jobs.previous_servers.pop(job.id, None)
        )
        if not job.status.active:
            await self._finish(worker, job, report.files)
            return
        jobs.index[job.id] = job
        jobs.put_report(job, fast_replace(report, phase=report.phase or job.status.phase))
        self._unsaved[job.id] = job
        if job.status is not JobStatus.SENT or job.prompt_id != stored_id:
            try:
                await self.save()
            except StorageError as error:  # the older row is enough to resume the job
                logger.warning("Job %s: %s", job.id, error)

    @uncancellable
    async def _finish(self, worker: str, job: Job, files: Sequence[StoredFile]) -> None:
        """Store the end of a job, however long the database does not answer.

        If this process ends before, the next worker downloads the files again.
        """
        job = fast_replace(job, finished_at=self._queue.unfinished.now())
        self._progress.forget(job.id)

        async def write(cursor: Cursor) -> tuple[Changes, bool]:
            await lock_items(cursor, job.user_id)
            if is_ours := await self._save_report(cursor, worker, job):
                await insert_newest(cursor, job, files)
                await cursor.execute("DELETE FROM job_progress WHERE job_id = %s", (job.id,))
            return await self._queue.mirror.read(cursor), is_ours

        while True:
            try:
                async with self._queue.lock:
                    changes, is_ours = await self._database.run(write)
                    self._unsaved.pop(job.id, None)
                    self._queue.mirror.apply(changes)
                if is_ours:
                    self._queue.unfinished.ended(job)
            except StorageError as error:
                logger.warning("The end of job %s cannot be stored yet: %s", job.id, error)
                await asyncio.sleep(_RETRY_S)
            else:
                return

    async def _save_report(self, cursor: Cursor, worker: str, job: Job) -> bool:
        """Write what the worker reports of a job; False if another worker has it by now."""
        fields = dict(
            zip(jobs_table.CHANGING_COLUMNS, jobs_table.changing_values(job), strict=True)
        )
        await cursor.execute(
            _REPORT,
            (
                *(fields[name] for name in ("status", "prompt_id", "started_at")),
                self._new_ranks.get(job.id),
                fields["outputs"],
                bool(job.outputs and job.outputs.texts),
                *(fields[name] for name in ("error", "finished_at", "server", "started_at")),
                job.id,
                worker,
                self._leases[worker].token,
            ),
        )
        return cursor.rowcount > 0

    async def _keep_saving(self) -> None:
        while not self._closed:
            await asyncio.sleep(PROGRESS_S)  # a job that ends sooner costs two writes less
            with suppress(StorageError):  # the older row is enough to resume the job
                await self.save()
                await self._progress.save(self._database)

    async def save(self) -> None:
        """Store that servers have or run jobs."""
        async with self._queue.lock:
            saving = dict(self._unsaved)
            if not saving:
                return

            async def write(cursor: Cursor) -> None:
                for job in saving.values():
                    if job.server and job.server in self._leases:
                        await self._save_report(cursor, job.server, job)

            await self._database.run(write, single=len(saving) == 1)
            for job_id, job in saving.items():
                self._new_ranks.pop(job_id, None)
                if self._unsaved.get(job_id) is job:
                    del self._unsaved[job_id]
