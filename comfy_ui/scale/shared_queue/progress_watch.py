"""The progress of jobs at other processes, read while pages look on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress

from ...errors import StorageError
from ...jobs.unfinished_jobs import UnfinishedJobs
from ...storage.records import JobStatus
from ..postgres_database import PostgresDatabase
from .queue_progress import PROGRESS_S, ProgressReader


class ProgressWatch:
    """Shows what other processes report of running jobs.

    Args:
        jobs: the copy of the queue.
        own_workers: the workers of this process, whose reports arrive without the database.
    """

    def __init__(
        self, database: PostgresDatabase, jobs: UnfinishedJobs, *, own_workers: Collection[str]
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._own_workers = own_workers
        self._viewers: Counter[str] = Counter()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def open(self) -> None:
        """Start to read."""
        self._task = asyncio.create_task(self._keep_reading(), name="queue progress")

    async def aclose(self) -> None:
        """Stop to read."""
        self._closed = True  # a cancellation may be lost in a call of the database
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    @contextmanager
    def viewed_by(self, user_id: str) -> Iterator[None]:
        """Read the progress of all jobs of a user, whose queue a page shows meanwhile."""
        self._viewers[user_id] += 1
        try:
            yield
        finally:
            self._viewers[user_id] -= 1
            self._viewers += Counter()  # without zeros

    async def _keep_reading(self) -> None:
        reader, jobs = ProgressReader(), self._jobs
        while not self._closed:
            await asyncio.sleep(PROGRESS_S)
            running = {
                job.id: job.prompt_id or ""
                for job in jobs.index.claimed
                if job.server not in self._own_workers and job.status is not JobStatus.FETCHING
            }
            viewed = {job_id for job_id in running if jobs.index[job_id].user_id in self._viewers}
            shown = viewed.union(jobs.updates.followed()).intersection(running)
            if not shown:
                continue
            with suppress(StorageError):  # newer values will come
                for report in await reader.read(self._database, shown, running):
                    if job := jobs.index.get(report.job_id):
                        jobs.put_report(job, report)
