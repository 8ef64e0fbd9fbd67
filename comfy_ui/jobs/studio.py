"""The studio: jobs that outlive the page that asked for them, and the library of results."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from ..client import ComfyWSClient
from ..errors import StorageError, ValidationError
from ..library.library import KEEP_DELETED_S, Library
from ..protocol.object_info import NodeRegistry
from ..storage import jobs_table
from ..storage.database import Database
from ..storage.records import Job, JobRequest, JobStatus, QueueView, ServerStatus, Snapshot, make_id
from ..workflow.wildcards import WildcardFolder
from .grids import grids_table
from .grids.grid_service import GridService
from .grids.grids_table import Grid, GridAxis, GridCell
from .local_queue import LocalQueue
from .prepare_job import prepare_job, repeated_job
from .server import NODE_LIST_S, distinct
from .worker import Worker

T = TypeVar("T")

PATIENCE_S: Final = 60.0
"""Longer than a restart of ComfyUI takes mostly, and than a server is silent that loads a model."""


class Studio(Library):
    """Submit, follow, cancel; read the library. One instance per process and ``data_dir``.

    Every method belongs to the event loop that ran :meth:`start`. Every read and every change
    names an ``owner``; what belongs to somebody else does not exist for them.

    Args:
        client: the connection to ComfyUI; the studio uses it and never closes it.
        others: connections to more servers. A job goes to one that has its nodes and models and
            where it starts first; one that is away is left out.
        data_dir: database, results and thumbnails live here; made when absent.
        patience_s: how long one of several servers may be out of reach before its unfinished jobs
            go to the others.
        concurrency: how many jobs a ComfyUI holds at once; the rest wait here.
        waiting_limit: how many jobs of one owner may wait.
        keep_deleted_s: how long a deleted result can be restored, unless it has to make room; at
            least an hour.
        limit_bytes: how much of results an owner may keep, None for no limit. Who keeps as much
            cannot submit; nothing is ever deleted for it. What they deleted and what they sent
            may take up as much again: then what was deleted first makes room.
        preset_folders: where presets are found besides the shipped ones.

    Use ``async with Studio(...)`` or :meth:`start` and :meth:`aclose`.
    """

    def __init__(
        self,
        *,
        client: ComfyWSClient,
        others: Sequence[ComfyWSClient] = (),
        data_dir: Path,
        patience_s: float = PATIENCE_S,
        concurrency: int = 2,
        waiting_limit: int = 100,
        keep_deleted_s: float = KEEP_DELETED_S,
        limit_bytes: Callable[[str], int | None] = lambda _: None,
        preset_folders: Sequence[Path] = (),
    ) -> None:
        database = Database(data_dir)
        super().__init__(database, data_dir, keep_deleted_s=keep_deleted_s, limit_bytes=limit_bytes)
        self._servers = distinct([client, *others])
        self._preset_folders = tuple(preset_folders)
        self._wildcards = WildcardFolder(data_dir / "wildcards")
        self._queue = LocalQueue(
            database,
            folder=data_dir,
            waiting_limit=waiting_limit,
            workers=[server.name for server in self._servers],
        )
        self._sheets = GridService(
            database=database,
            queue=self._queue,
            files=self._files,
            file_thread=self._file_thread,
        )
        self._runners = [
            Worker(
                queue=self._queue,
                server=server,
                files=self._files,
                inputs=self.inputs,
                file_thread=self._file_thread,
                concurrency=concurrency,
                patience_s=patience_s if len(self._servers) > 1 else None,
            )
            for server in self._servers
        ]
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open the store and take up every unfinished job where it stands at the server.

        Raises:
            StorageError: the folder cannot be used, or another process is using it.
        """
        await self._database.open()
        try:
            await self.prepare()
            await self._queue.open()
            await self._sheets.open()
        except OSError as error:
            await self.aclose()
            raise StorageError(f"The folder {self._folder} cannot be used: {error}.") from error
        except BaseException:
            await self.aclose()
            raise
        self._tasks = [
            *(asyncio.create_task(runner.run(), name="studio runner") for runner in self._runners),
            asyncio.create_task(self._purge_for_ever(), name="studio purge"),
            asyncio.create_task(self._enter_lost(), name="studio rescue"),
        ]

    async def aclose(self) -> None:
        """Stop following and close the store. Jobs at ComfyUI go on and are found again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._sheets.aclose()
        self._queue.close()
        await self.close_files()
        await self._database.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.aclose()

    # Jobs

    async def submit(self, request: JobRequest) -> Job:
        """Check the request, write it down, and let it wait for its turn.

        Works while ComfyUI is away: the job then waits for it. Asked again with the same
        ``request.key``, it gives the job that there is, whatever has become of it.

        Raises:
            UnknownPresetError, ValidationError: a value does not fit.
            InvalidWorkflowError: the server lacks nodes or models, per node in ``.problems``
                (also its subclasses MissingNodesError and MissingModelsError).
            ValidationError: the owner has ``waiting_limit`` jobs waiting already, or keeps as many
                results as they may, or the job to be replaced has had its turn.
            StorageError: the disk refused; nothing was queued.
        """
        if known := await self._asked_before(jobs_table.get, request.user_id, request.key):
            return known
        await self._require_room(request.user_id)
        job = await self._prepared(request)
        return await self._queue.submit(job, front=request.front, replaces=request.replaces)

    async def submit_grid(
        self, requests: Sequence[JobRequest], *, across: GridAxis, down: GridAxis | None = None
    ) -> Grid:
        """Submit the cells of a grid, row by row, all or none; its sheet follows by itself.

        The sheet is a result of its own, with the settings of the first cell that made something.
        The key of the first request is the grid's.

        Raises:
            the same as :meth:`submit`; nothing of the grid is queued then.
        """
        first = requests[0]
        if known := await self._asked_before(grids_table.get, first.user_id, first.key):
            return known
        await self._require_room(first.user_id)
        cells = [await self._prepared(replace(request, key=None)) for request in requests]
        grid_id = make_id(first.user_id, first.key)
        return await self._sheets.submit(
            cells, grid_id=grid_id, across=across, down=down, front=first.front
        )

    async def sheets_drawn(self, user_id: str) -> None:
        """Wait for the sheets of those grids of the owner whose jobs are all over."""
        await self._sheets.settled(user_id)

    def grid_cell(self, job_id: str) -> GridCell | None:
        """Which cell of a grid a job is, while that is under way; else None."""
        return self._sheets.cell(job_id)

    async def _prepared(self, request: JobRequest) -> Job:
        known = await self.node_libraries()
        try:
            return await self._made_for(request, known)
        except ValidationError:
            newer = await self.node_libraries(max_age_s=0.0)  # a model or an input added just now
            if [*map(id, newer)] == [*map(id, known)]:
                raise
            return await self._made_for(request, newer)

    async def _made_for(self, request: JobRequest, libraries: list[NodeRegistry]) -> Job:
        return await asyncio.to_thread(
            prepare_job,
            request,
            libraries,
            preset_folders=self._preset_folders,
            wildcards=self._wildcards,
            uploads=self.inputs,
        )

    async def repeat(self, job_id: str, user_id: str, *, key: str | None = None) -> Job:
        """Queue a job once more, with the same values, seed included.

        ``key`` is as in :class:`JobRequest`.

        Raises:
            ValidationError: the owner has no such job, or may have no more waiting or kept.
        """
        if known := await self._asked_before(jobs_table.get, user_id, key):
            return known
        await self._require_room(user_id)
        fresh = repeated_job(await self.job(job_id, user_id), make_id(user_id, key))
        return await self._queue.submit(fresh, front=False)

    async def _asked_before(
        self, get: Callable[[sqlite3.Connection, str, str], T | None], user_id: str, key: str | None
    ) -> T | None:
        if key is None:
            return None
        return await self._database.run(get, make_id(user_id, key), user_id)

    async def follow(self, job_id: str, user_id: str) -> AsyncGenerator[Snapshot, None]:
        """Snapshots of a job, newest only, at most 12 a second; ends after the terminal one.

        The first comes at once. Any number may follow; leaving early (``break``, a cancelled
        task) or reading slowly does not touch the job.

        Raises (on the first step):
            ValidationError: the owner has no such job.
        """
        known = False
        async with aclosing(self._queue.watch(job_id, user_id)) as snapshots:
            async for snapshot in snapshots:
                known = True
                yield snapshot
        if not known:
            raise _no_job()

    async def follow_line(self, user_id: str) -> AsyncGenerator[QueueView, None]:
        """The owner's unfinished jobs at each change, a few times a second at most.

        The first comes at once; it goes on until it is left, or the studio closes.
        """
        async with aclosing(self._queue.watch_line(user_id)) as lines:
            async for line in lines:
                yield line

    async def snapshot(self, job_id: str, user_id: str) -> Snapshot:
        """The job as it stands now. Raises ValidationError: the owner has no such job."""
        snapshot = await self._queue.snapshot(job_id, user_id)
        if snapshot is None:
            raise _no_job()
        return snapshot

    async def job(self, job_id: str, user_id: str) -> Job:
        """The stored job. Raises ValidationError: the owner has no such job."""
        job = await self._database.run(jobs_table.get, job_id, user_id)
        if job is None:
            raise _no_job()
        return job

    async def active(self, user_id: str) -> list[Job]:
        """Unfinished jobs: those ComfyUI has, then those that wait, in the owner's order."""
        return await self._queue.active(user_id)

    async def recent(self, user_id: str, *, limit: int = 20) -> list[Job]:
        """Finished jobs, newest first, failed ones included."""
        return await self._database.run(jobs_table.recent, user_id, limit)

    async def cancel(self, job_id: str, user_id: str) -> bool:
        """Ask for the end of a job; True unless it was over already.

        Returns at once. The snapshots say what came of it: a node that does not listen runs to
        its end, and a job may be done before the request arrives.

        Raises:
            ValidationError: the owner has no such job.
        """
        if await self._queue.cancel(job_id, user_id):
            return True
        await self.job(job_id, user_id)
        return False

    async def cancel_all(self, user_id: str, *, waiting_only: bool = False) -> int:
        """Cancel the owner's jobs; gives how many were asked to end."""
        asked = 0
        for job in reversed(await self.active(user_id)):  # what waits first: it must not move up
            if job.status is JobStatus.WAITING or not waiting_only:
                asked += await self._queue.cancel(job.id, user_id)
        return asked

    async def reorder(self, job_id: str, user_id: str, *, before: str | None) -> bool:
        """Move a waiting job before another of the owner's (None: to the end).

        False when it no longer waits.
        """
        return await self._queue.reorder(job_id, user_id, before=before)

    async def elsewhere(self, job_id: str, user_id: str) -> bool:
        """Whether a job is made, its server is away, and another could make it again.

        It is fetched when the server is back; :meth:`repeat` does not wait for that.
        """
        return await self._queue.elsewhere(job_id, user_id)

    async def retry_fetch(self, job_id: str, user_id: str) -> bool:
        """Take up a job again that failed here and not at ComfyUI, because of a full disk for one.

        It is not run again: its files are fetched. False: its status is not ``UNFETCHED``. Every
        start of the studio does this by itself.
        """
        return await self._queue.refetch(job_id, user_id)

    # Servers

    async def server_status(self) -> ServerStatus:
        """The first server that answers; the first one where none does. See :meth:`statuses`."""
        found = await self.statuses()
        return next((status for status in found if status.online), found[0])

    async def statuses(self) -> list[ServerStatus]:
        """Ask every server now, in the order given. Never raises for one that is away: see
        ``.online`` and ``.error``.
        """
        return await asyncio.gather(*(server.status() for server in self._servers))

    async def node_libraries(self, *, max_age_s: float = NODE_LIST_S) -> list[NodeRegistry]:
        """What the servers have that answer, or what is known of that; in their order."""
        answering = [server for server in self._servers if server.answers]
        found = await asyncio.gather(
            *(server.node_library(max_age_s=max_age_s) for server in (answering or self._servers))
        )
        return [library for library in found if library is not None]


def _no_job() -> ValidationError:
    return ValidationError("There is no such job.", hint="It may be somebody else's.")
