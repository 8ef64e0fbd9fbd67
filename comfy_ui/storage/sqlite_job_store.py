"""The job store in the SQLite database of this process."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..errors import StorageError
from ..protocol._replace import fast_replace
from ..protocol.durations import Measurement, ShapeKey
from .database import Database
from .job_store import StoreProblem
from .records import Grid, Job, JobGroup, LibraryItem, StoredFile
from .tables import (
    copies_table,
    durations_table,
    grids_table,
    items_table,
    jobs_table,
    pauses_table,
)


class SqliteJobStore:
    """The :class:`.job_store.JobStore` of one data folder.

    ``folder`` is the data folder, which the paths of results are relative to.
    """

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._folder = folder

    async def get(self, job_id: str, user_id: str) -> Job | None:
        return await self._database.run(jobs_table.get, job_id, user_id)

    async def get_with_items(
        self, job_id: str, user_id: str
    ) -> tuple[Job, tuple[LibraryItem, ...]] | None:
        def read(connection: sqlite3.Connection) -> tuple[Job, tuple[LibraryItem, ...]] | None:
            job = jobs_table.get(connection, job_id, user_id)
            if job is None:
                return None
            return job, items_table.for_job(connection, job_id, self._folder)

        return await self._database.run(read)

    async def recent(self, user_id: str, limit: int, *, folded: bool = False) -> list[Job]:
        return await self._database.run(jobs_table.recent, user_id, limit, folded=folded)

    async def problem(self) -> StoreProblem | None:
        try:
            await self._database.run(lambda connection: connection.execute("SELECT 1 FROM jobs"))
        except StorageError:
            return "database"
        return None

    async def unfinished(self) -> list[Job]:
        return await self._database.run(jobs_table.unfinished)

    async def fair_queue_tags(self) -> tuple[float, dict[str, float]]:
        return await self._database.run(jobs_table.fair_queue_tags)

    async def add(
        self, job: Job, *, replaces: str | None = None, cost_s: float | None = None
    ) -> Job:
        def write(connection: sqlite3.Connection) -> Job:
            seconds = cost_s
            if seconds is None:
                seconds = job.work * jobs_table.seconds_per_work(connection, job.preset)
            estimated = fast_replace(job, cost_s=seconds)
            try:
                jobs_table.insert(connection, estimated)
            except sqlite3.IntegrityError:
                if stored := jobs_table.get(connection, job.id, job.user_id):
                    return stored
                raise
            if replaces is not None:
                jobs_table.delete(connection, replaces)
            return estimated

        return await self._database.run(write)

    async def save(self, job: Job) -> None:
        await self._database.run(jobs_table.update, job)

    async def save_claims(self, claims: Sequence[tuple[Job, tuple[float, float]]]) -> None:
        def write(connection: sqlite3.Connection) -> None:
            for job, tags in claims:
                jobs_table.claim(connection, job, tags)

        await self._database.run(write)

    async def save_ranks(self, ranks: Mapping[str, float]) -> None:
        await self._database.run(jobs_table.set_ranks, ranks)

    async def paused(self) -> frozenset[str]:
        return await self._database.run(pauses_table.paused)

    async def save_paused(self, user_id: str, *, paused: bool) -> None:
        write = pauses_table.insert if paused else pauses_table.delete
        await self._database.run(write, user_id)

    async def finish(self, job: Job, files: Sequence[StoredFile]) -> tuple[LibraryItem, ...]:
        def write(connection: sqlite3.Connection) -> tuple[LibraryItem, ...]:
            jobs_table.update(connection, job)
            items_table.insert(connection, job, files, now=job.finished_at or job.created_at)
            return items_table.for_job(connection, job.id, self._folder)

        return await self._database.run(write)

    async def save_moved(self, job: Job, *, server: str, prompt_id: str, there: bool) -> None:
        def write(connection: sqlite3.Connection) -> None:
            jobs_table.update(connection, job)
            copies_table.insert(connection, job.id, server, prompt_id, there=there)

        await self._database.run(write)

    async def durations(self, server: str) -> dict[ShapeKey, tuple[Measurement, ...]]:
        return await self._database.run(durations_table.of_server, server)

    async def save_durations(
        self, server: str, durations: Mapping[ShapeKey, Iterable[Measurement]], *, now: float
    ) -> None:
        await self._database.run(durations_table.save, server, durations, now=now)

    async def copies(self, server: str) -> dict[str, str]:
        return await self._database.run(copies_table.at_server, server)

    async def delete_copy(self, prompt_id: str) -> None:
        await self._database.run(copies_table.delete, prompt_id)

    async def left_servers(self) -> list[tuple[str, str]]:
        return await self._database.run(copies_table.of_unfinished_jobs)

    async def add_imported(self, job: Job, file: StoredFile) -> bool:
        def write(connection: sqlite3.Connection) -> bool:
            item_id = items_table.find_by_path(connection, job.user_id, file.path)
            if item_id is not None:
                return bool(items_table.set_deleted(connection, [item_id], job.user_id, None))
            # The job remains if its result was deleted for good.
            if jobs_table.get(connection, job.id, job.user_id) is None:
                jobs_table.insert(connection, job)
            items_table.insert_dated(connection, job, file, made_at=job.created_at)
            return True

        return await self._database.run(write)

    async def has_file(self, path: str, user_id: str) -> bool:
        return await self._database.run(items_table.has_path, user_id, path)

    async def user_ids(self) -> list[str]:
        return await self._database.run(jobs_table.user_ids)

    async def delete_empty(self, user_id: str, *, keep: int) -> int:
        return await self._database.run(jobs_table.delete_empty, user_id, keep=keep)

    async def add_grid(self, grid: Grid) -> None:
        await self._database.run(grids_table.insert, grid)

    async def delete_grid(self, grid_id: str) -> None:
        await self._database.run(grids_table.delete, grid_id)

    async def grid(self, grid_id: str, user_id: str) -> Grid | None:
        return await self._database.run(grids_table.get, grid_id, user_id)

    async def unfinished_grids(self) -> list[Grid]:
        return await self._database.run(grids_table.unfinished)

    async def grid_cells(self, grid: Grid) -> list[tuple[Job | None, LibraryItem | None]]:
        def read(connection: sqlite3.Connection) -> list[tuple[Job | None, LibraryItem | None]]:
            cells = []
            for job_id in grid.jobs:
                job = jobs_table.get(connection, job_id, grid.user_id)
                items = items_table.for_job(connection, job_id, self._folder)
                cells.append((job, items[0] if items else None))
            return cells

        return await self._database.run(read)

    async def finish_grid(self, grid: Grid, sheet: tuple[Job, StoredFile] | None) -> None:
        def write(connection: sqlite3.Connection) -> None:
            if grids_table.set_done(connection, grid.id) and sheet is not None:
                job, file = sheet
                jobs_table.insert(connection, job)
                jobs_table.update(connection, job)
                items_table.insert(connection, job, [file], now=job.finished_at or job.created_at)

        await self._database.run(write)

    async def groups(self, group_ids: Sequence[str], user_id: str) -> list[JobGroup]:
        return await self._database.run(grids_table.groups, group_ids, user_id)

    async def group_jobs(
        self, group_id: str, user_id: str, *, limit: int, offset: int = 0
    ) -> list[Job]:
        return await self._database.run(
            grids_table.group_jobs, group_id, user_id, limit=limit, offset=offset
        )

    async def paused_groups(self) -> frozenset[str]:
        return await self._database.run(grids_table.paused)

    async def save_group_paused(self, group_id: str, *, paused: bool) -> None:
        await self._database.run(grids_table.set_paused, group_id, paused=paused)
