"""Contact sheets of grids: drawn when the last job of a grid has ended."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
import uuid
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Final

from ...errors import ComfyHeadlessError, StorageError, WorkLimitError
from ...library.result_files import ResultFiles
from ...protocol.outputs import OutputFile
from ...storage.job_store import JobStore
from ...storage.records import Grid, GridAxis, GridCell, Job, JobStatus, LibraryItem, StoredFile
from ...storage.single_thread import SingleThread
from ...storage.uncancellable import uncancellable
from ...worker_processes.process_pool import LIBRARY_WORKERS, Limits
from ..queue import JobQueue
from .contact_sheet import save_sheet

__all__ = ["GridService"]

logger = logging.getLogger(__name__)
_DRAWING: Final = Limits(cpu_s=60, wall_s=90.0)
_LOOK_EVERY_S: Final = 5.0
_QUEUED_WITHIN_S: Final = 30.0
_LEFT_TO_ITS_APP_S: Final = 20.0  # longer than most sheets take


class GridService:
    """Queues grids and stores their contact sheets, with one waiting task per unfinished grid.

    ``shared``: other apps have grids in the store, too. Each app knows all of them, and draws the
    sheets of others only if those have not done so, for instance because they have ended. If two
    draw a sheet at the same time, the store keeps the first.
    """

    def __init__(
        self,
        *,
        store: JobStore,
        queue: JobQueue,
        files: ResultFiles,
        file_thread: SingleThread,
        shared: bool = False,
    ) -> None:
        self._store = store
        self._queue = queue
        self._files = files
        self._file_thread = file_thread
        self._shared = shared
        self._unfinished: dict[str, tuple[Grid, asyncio.Task[None]]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Resume the grids that the last process left. The queue has to be open."""
        await self._start_others()
        if self._shared:
            self._looking = asyncio.create_task(self._look(), name="grids of other apps")

    async def aclose(self) -> None:
        """Stop waiting; the next :meth:`open` resumes unfinished grids."""
        tasks = [task for _, task in self._unfinished.values()]
        if self._looking is not None:
            tasks.append(self._looking)
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
        max_of_key: int | None = None,
    ) -> Grid:
        """Queue all cells of a grid or none, row by row.

        Raises:
            ValidationError, StorageError: as :meth:`.queue.JobQueue.submit`.
        """
        grid = Grid(
            id=grid_id,
            user_id=cells[0].user_id,
            across=across,
            down=down,
            jobs=tuple(job.id for job in cells),
            created_at=time.time(),
        )
        await self._store.add_grid(grid)
        queued: list[str] = []
        try:
            for job in reversed(cells) if front else cells:  # each goes before the others
                cell = replace(job, group_id=grid.id)
                await self._queue.submit(cell, front=front, max_of_key=max_of_key)
                queued.append(job.id)
        except ComfyHeadlessError:
            for job_id in reversed(queued):  # from the end, so that no cell moves up and starts
                await self._queue.cancel(job_id, grid.user_id)
            await self._store.delete_grid(grid.id)
            raise
        self._start(grid, own=True)
        return grid

    async def wait_for_sheets(self, user_id: str) -> None:
        """Wait for the contact sheets of those grids of the user whose jobs have all ended."""
        active = {job.id for job in await self._queue.active(user_id)}
        tasks = [
            task
            for grid, task in self._unfinished.values()
            if grid.user_id == user_id and active.isdisjoint(grid.jobs)
        ]
        if tasks:
            await asyncio.wait(tasks)

    def cell(self, job_id: str) -> GridCell | None:
        """Return the cell of a job, or None if it is in no unfinished grid."""
        cells = (grid.cell(job_id) for grid, _ in self._unfinished.values())
        return next((cell for cell in cells if cell), None)

    async def _look(self) -> None:
        """Start waiting for the new grids of other apps, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                await self._start_others()
            except StorageError as error:
                logger.info("Unfinished grids cannot be read: %s", error)

    async def _start_others(self) -> None:
        # The jobs of a new grid may still be being queued by its app.
        before = time.time() - _QUEUED_WITHIN_S if self._shared else math.inf
        for grid in await self._store.unfinished_grids():
            if grid.id not in self._unfinished and grid.created_at < before:
                self._start(grid, own=not self._shared)

    def _start(self, grid: Grid, *, own: bool) -> None:
        if grid.id in self._unfinished:  # found in the store while its jobs were queued here
            self._unfinished.pop(grid.id)[1].cancel()
        task = asyncio.create_task(self._complete(grid, own=own), name="contact sheet")
        self._unfinished[grid.id] = (grid, task)

    async def _complete(self, grid: Grid, *, own: bool) -> None:
        """Wait for the jobs of a grid, then store its contact sheet."""
        try:
            for job_id in grid.jobs:
                async with aclosing(self._queue.follow(job_id, grid.user_id)) as snapshots:
                    async for _ in snapshots:
                        pass
            if not own:
                await asyncio.sleep(_LEFT_TO_ITS_APP_S)
                if all(other.id != grid.id for other in await self._store.unfinished_grids()):
                    return
            await self._store_sheet(grid)
        except WorkLimitError as error:
            logger.warning("The contact sheet of a grid was not drawn: %s", error)
            await self._store.finish_grid(grid, None)
        except ComfyHeadlessError as error:  # the grid stays unfinished: the next start retries
            logger.warning("The contact sheet of a grid could not be saved: %s", error)
        except Exception:  # an image that Pillow cannot read: the results exist without the sheet
            logger.exception("The contact sheet of a grid could not be drawn")
            await self._store.finish_grid(grid, None)
        finally:
            if self._unfinished.get(grid.id, (grid, None))[1] is asyncio.current_task():
                del self._unfinished[grid.id]

    async def _store_sheet(self, grid: Grid) -> None:
        cells = await self._store.grid_cells(grid)
        if any(job and job.status.active for job, _ in cells):
            return  # the queue is closing: the next start completes the grid
        sheet = None
        finished = next((job for job, item in cells if job and item), None)
        if finished is not None:
            images = [_image_path(item) for _, item in cells]
            file = await self._file_thread.run(self._draw, grid, images, finished.prompt)
            sheet = _sheet_job(grid, finished), file
        await self._store.finish_grid(grid, sheet)
        if sheet is not None:
            await self._queue.job_added(grid.user_id)

    def _draw(self, grid: Grid, images: Sequence[Path | None], title: str) -> StoredFile:
        path = self._files.incoming()
        local = [self._files.fetch(image) if image else None for image in images]
        LIBRARY_WORKERS.call(save_sheet, path, grid, local, title, limits=_DRAWING)
        name = "-".join(("grid", *re.findall(r"\w+", grid.title.lower()))) + ".webp"
        return self._files.adopt(path, OutputFile(name, node="grid", kind="image"))


def _image_path(item: LibraryItem | None) -> Path | None:
    """Return the image that a cell shows: an image itself, of a video its thumbnail."""
    if item is None:
        return None
    return item.path if item.kind == "image" else item.thumbnail


def _sheet_job(grid: Grid, cell: Job) -> Job:
    """Return the job of a contact sheet.

    It has the settings of a cell, so that they can be reused, and no start time, so that it does
    not count for the speed of the preset.
    """
    return Job(
        id=str(uuid.uuid4()),
        user_id=grid.user_id,
        preset=cell.preset,
        values=cell.values,
        prompt=cell.prompt,
        seed=cell.seed,
        graph={},
        status=JobStatus.SUCCEEDED,
        created_at=grid.created_at,
        finished_at=time.time(),
        group_id=grid.id,
    )
