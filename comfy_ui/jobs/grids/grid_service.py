"""Sees to it that every grid gets its sheet when its last job is over, whoever looks on."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Final

from ...errors import ComfyHeadlessError
from ...library.result_files import FileStore
from ...protocol.outputs import OutputFile
from ...storage.database import Database
from ...storage.records import Job, JobStatus, LibraryItem, StoredFile
from ...storage.single_thread import SingleThread
from ...storage.uncancellable import uncancellable
from ..queue import JobQueue
from . import grids_table
from .contact_sheet import draw
from .grids_table import Grid, GridAxis, GridCell

__all__ = ["GridService"]

logger = logging.getLogger(__name__)
_QUALITY: Final = 92


class GridService:
    """One waiting task for each grid whose jobs are not all over. Nothing is polled."""

    def __init__(
        self,
        *,
        database: Database,
        queue: JobQueue,
        files: FileStore,
        file_thread: SingleThread,
    ) -> None:
        self._database = database
        self._queue = queue
        self._files = files
        self._file_thread = file_thread
        self._open: dict[str, tuple[Grid, asyncio.Task[None]]] = {}

    async def open(self) -> None:
        """Take up the grids that the last process left. Call it when the queue is open."""
        for grid in await self._database.run(grids_table.unfinished):
            self._watch(grid)

    async def aclose(self) -> None:
        tasks = [task for _, task in self._open.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @uncancellable
    async def submit(
        self,
        cells: Sequence[Job],
        *,
        grid_id: str,
        across: GridAxis,
        down: GridAxis | None,
        front: bool,
    ) -> Grid:
        """Queue the cells, row by row, all or none, and see to their sheet."""
        grid = Grid(
            id=grid_id,
            user_id=cells[0].user_id,
            across=across,
            down=down,
            jobs=tuple(job.id for job in cells),
            created_at=time.time(),
        )
        await self._database.run(grids_table.insert, grid)
        queued: list[str] = []
        try:
            for job in reversed(cells) if front else cells:  # each goes before the others
                await self._queue.submit(job, front=front)
                queued.append(job.id)
        except ComfyHeadlessError:
            for job_id in reversed(queued):  # what waits last first: nothing must move up
                await self._queue.cancel(job_id, grid.user_id)
            await self._database.run(grids_table.delete, grid.id)
            raise
        self._watch(grid)
        return grid

    async def settled(self, user_id: str) -> None:
        """Wait for the sheets that can be drawn now: those whose jobs are all over."""
        busy = {job.id for job in await self._queue.active(user_id)}
        due = [
            task
            for grid, task in self._open.values()
            if grid.user_id == user_id and busy.isdisjoint(grid.jobs)
        ]
        if due:
            await asyncio.wait(due)

    def cell(self, job_id: str) -> GridCell | None:
        """Which cell a job is; None: of no grid that is still under way."""
        return next((cell for grid, _ in self._open.values() if (cell := grid.cell(job_id))), None)

    def _watch(self, grid: Grid) -> None:
        task = asyncio.create_task(self._see_through(grid), name="contact sheet")
        self._open[grid.id] = (grid, task)

    async def _drop(self, grid: Grid) -> None:
        """Owe it no sheet any more."""
        await self._database.run(grids_table.finish, grid, None, now=time.time())

    async def _see_through(self, grid: Grid) -> None:
        try:
            for job_id in grid.jobs:
                async with aclosing(self._queue.watch(job_id, grid.user_id)) as snapshots:
                    async for _ in snapshots:
                        pass
            await self._finish(grid)
        except ComfyHeadlessError as error:  # owed still: the next start tries again
            logger.warning("The sheet of a grid could not be kept: %s", error)
        except Exception:  # a picture that Pillow chokes on: the results are there without it
            logger.exception("The sheet of a grid could not be drawn")
            await self._drop(grid)
        finally:
            self._open.pop(grid.id, None)

    async def _finish(self, grid: Grid) -> None:
        cells = await self._database.run(grids_table.cells, grid, self._files.folder)
        if any(job and job.status.active for job, _ in cells):
            return  # the studio is closing: the next start sees it through
        sheet = None
        made = next((job for job, item in cells if job and item), None)
        if made is not None:
            pictures = [_picture(item) for _, item in cells]
            file = await self._file_thread.run(self._draw, grid, pictures, made.prompt)
            sheet = _sheet_job(grid, made), file
        await self._database.run(grids_table.finish, grid, sheet, now=time.time())
        if sheet is not None:
            await self._queue.entered(grid.user_id)

    def _draw(self, grid: Grid, pictures: Sequence[Path | None], title: str) -> StoredFile:
        arriving = self._files.incoming()
        draw(grid, pictures, title=title).save(arriving, "WEBP", quality=_QUALITY)
        name = "-".join(("grid", *re.findall(r"\w+", grid.title.lower()))) + ".webp"
        return self._files.adopt(arriving, OutputFile(name, node="grid", kind="image"))


def _picture(item: LibraryItem | None) -> Path | None:
    """What of a result can be shown in a cell: a picture itself, of a video its poster."""
    if item is None:
        return None
    return item.path if item.kind == "image" else item.thumbnail


def _sheet_job(grid: Grid, made: Job) -> Job:
    """The job that the sheet belongs to. It has the settings of a cell, so that they can be taken
    up again, and no start, so that it tells nothing about how quick the preset is.
    """
    return Job(
        id=str(uuid.uuid4()),
        user_id=grid.user_id,
        preset=made.preset,
        values=made.values,
        prompt=made.prompt,
        seed=made.seed,
        graph={},
        status=JobStatus.SUCCEEDED,
        created_at=grid.created_at,
        finished_at=time.time(),
    )
