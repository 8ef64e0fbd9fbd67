"""The studio: jobs that outlive the page that asked for them, and the library of results."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ..client import ComfyWSClient
from ..errors import (
    ComfyUIConnectionError,
    InvalidWorkflowError,
    StorageError,
    ValidationError,
)
from ..features import FEATURES
from ..health import HealthTracker, with_local_facts
from ..prompts.wildcards import WildcardFolder, expand_values
from ..protocol.nodes import NodeLibrary
from ..workflow.allow import check_allowed
from ..workflow.check import check_workflow, error_for
from ..workflow.presets import Graph, Preset, build_graph, get_preset, resolve_values
from . import items, jobs
from .fair import work
from .files import YOUNG_S, FileStore, zip_pieces
from .grids import Cell, Grid, Side
from .job import (
    TEMPLATES,
    Item,
    Job,
    JobError,
    JobRequest,
    Kind,
    Line,
    ServerStatus,
    Snapshot,
    Status,
)
from .local import LocalQueue
from .runner import Runner, Server
from .sheets import Sheets
from .store import Database
from .threads import Thread

logger = logging.getLogger(__name__)

_NODE_LIST_S: Final = 60.0  # models that somebody adds are seen after this
_PURGE_S: Final = 3600.0


class Studio:
    """Submit, follow, cancel; read the library. One instance per process and ``data_dir``.

    Every method belongs to the event loop that ran :meth:`start`. Every read and every change
    names an ``owner``; what belongs to somebody else does not exist for them.

    Args:
        client: the connection to ComfyUI; the studio uses it and never closes it.
        data_dir: database, results and thumbnails live here; made when absent.
        concurrency: how many jobs ComfyUI holds at once; the rest wait here.
        waiting_limit: how many jobs of one owner may wait.
        keep_deleted_s: how long a deleted result can be restored; at least an hour.
        preset_folders: where presets are found besides the shipped ones.

    Use ``async with Studio(...)`` or :meth:`start` and :meth:`aclose`.
    """

    def __init__(
        self,
        *,
        client: ComfyWSClient,
        data_dir: Path,
        concurrency: int = 2,
        waiting_limit: int = 100,
        keep_deleted_s: float = 7 * 86400.0,
        preset_folders: Sequence[Path] = (),
    ) -> None:
        self._server = Server("main", client)
        self._health = HealthTracker(client.url)
        self._keep_deleted_s = max(keep_deleted_s, YOUNG_S)
        self._preset_folders = tuple(preset_folders)
        self._folder = data_dir
        self._wildcards = WildcardFolder(data_dir / "wildcards")
        self._database = Database(data_dir)
        self._file_thread = Thread("studio-files")
        self._files = FileStore(data_dir)
        self._queue = LocalQueue(self._database, folder=data_dir, waiting_limit=waiting_limit)
        self._runner = Runner(
            queue=self._queue,
            server=self._server,
            files=self._files,
            file_thread=self._file_thread,
            concurrency=concurrency,
        )
        self._sheets = Sheets(
            database=self._database,
            queue=self._queue,
            files=self._files,
            file_thread=self._file_thread,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._node_list: tuple[NodeLibrary | None, float] = (None, 0.0)  # and when it was read

    async def start(self) -> None:
        """Open the store and take up every unfinished job where it stands at the server.

        Raises:
            StorageError: the folder cannot be used, or another process is using it.
        """
        await self._database.open()
        try:
            await self._file_thread.run(self._files.prepare)
            await self._queue.open()
            await self._sheets.open()
        except OSError as error:
            await self.aclose()
            raise StorageError(f"The folder {self._folder} cannot be used: {error}.") from error
        except BaseException:
            await self.aclose()
            raise
        self._tasks = [
            asyncio.create_task(self._runner.run(), name="studio runner"),
            asyncio.create_task(self._purge_for_ever(), name="studio purge"),
        ]

    async def aclose(self) -> None:
        """Stop following and close the store. Jobs at ComfyUI go on and are found again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._sheets.aclose()
        self._queue.close()
        await self._file_thread.close()
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

        Works while ComfyUI is away: the job then waits for it.

        Raises:
            UnknownPresetError, ValidationError: a value does not fit.
            InvalidWorkflowError: the server lacks nodes or models, per node in ``.problems``
                (also its subclasses MissingNodesError and MissingModelsError).
            ValidationError: the owner has ``waiting_limit`` jobs waiting already, or the job to be
                replaced has had its turn.
            StorageError: the disk refused; nothing was queued.
        """
        job = await self._prepared(request)
        return await self._queue.submit(job, front=request.front, replaces=request.replaces)

    async def submit_grid(
        self, requests: Sequence[JobRequest], *, across: Side, down: Side | None = None
    ) -> Grid:
        """Submit the cells of a grid, row by row, all or none; its sheet follows by itself.

        The sheet is a result of its own, with the settings of the first cell that made something.

        Raises:
            the same as :meth:`submit`; nothing of the grid is queued then.
        """
        cells = [await self._prepared(request) for request in requests]
        return await self._sheets.submit(cells, across=across, down=down, front=requests[0].front)

    async def sheets_drawn(self, owner: str) -> None:
        """Wait for the sheets of those grids of the owner whose jobs are all over."""
        await self._sheets.settled(owner)

    def grid_cell(self, job_id: str) -> Cell | None:
        """Which cell of a grid a job is, while that is under way; else None."""
        return self._sheets.cell(job_id)

    async def repeat(self, job_id: str, owner: str) -> Job:
        """Queue a job once more, with the same values, seed included.

        Raises:
            ValidationError: the owner has no such job, or ``waiting_limit`` jobs waiting.
        """
        old = await self.job(job_id, owner)
        fresh = Job(
            id=str(uuid.uuid4()),
            owner=owner,
            preset=old.preset,
            values=old.values,
            prompt=old.prompt,
            seed=old.seed,
            graph=old.graph,
            status=Status.WAITING,
            created_at=time.time(),
            work=old.work,
        )
        return await self._queue.submit(fresh, front=False)

    async def follow(self, job_id: str, owner: str) -> AsyncGenerator[Snapshot, None]:
        """Snapshots of a job, newest only, at most 12 a second; ends after the terminal one.

        The first comes at once. Any number may follow; leaving early (``break``, a cancelled
        task) or reading slowly does not touch the job.

        Raises (on the first step):
            ValidationError: the owner has no such job.
        """
        known = False
        async with aclosing(self._queue.watch(job_id, owner)) as snapshots:
            async for snapshot in snapshots:
                known = True
                yield snapshot
        if not known:
            raise _no_job()

    async def follow_line(self, owner: str) -> AsyncGenerator[Line, None]:
        """The owner's unfinished jobs at each change, a few times a second at most.

        The first comes at once; it goes on until it is left, or the studio closes.
        """
        async with aclosing(self._queue.watch_line(owner)) as lines:
            async for line in lines:
                yield line

    async def snapshot(self, job_id: str, owner: str) -> Snapshot:
        """The job as it stands now. Raises ValidationError: the owner has no such job."""
        snapshot = await self._queue.snapshot(job_id, owner)
        if snapshot is None:
            raise _no_job()
        return snapshot

    async def job(self, job_id: str, owner: str) -> Job:
        """The stored job. Raises ValidationError: the owner has no such job."""
        job = await self._database.run(jobs.get, job_id, owner)
        if job is None:
            raise _no_job()
        return job

    async def active(self, owner: str) -> list[Job]:
        """Unfinished jobs: those ComfyUI has, then those that wait, in the owner's order."""
        return await self._queue.active(owner)

    async def recent(self, owner: str, *, limit: int = 20) -> list[Job]:
        """Finished jobs, newest first, failed ones included."""
        return await self._database.run(jobs.recent, owner, limit)

    async def cancel(self, job_id: str, owner: str) -> bool:
        """Ask for the end of a job; True unless it was over already.

        Returns at once. The snapshots say what came of it: a node that does not listen runs to
        its end, and a job may be done before the request arrives.

        Raises:
            ValidationError: the owner has no such job.
        """
        if await self._queue.cancel(job_id, owner):
            return True
        await self.job(job_id, owner)
        return False

    async def cancel_all(self, owner: str, *, waiting_only: bool = False) -> int:
        """Cancel the owner's jobs; gives how many were asked to end."""
        asked = 0
        for job in reversed(await self.active(owner)):  # what waits first: it must not move up
            if job.status is Status.WAITING or not waiting_only:
                asked += await self._queue.cancel(job.id, owner)
        return asked

    async def reorder(self, job_id: str, owner: str, *, before: str | None) -> bool:
        """Move a waiting job before another of the owner's (None: to the end).

        False when it no longer waits.
        """
        return await self._queue.reorder(job_id, owner, before=before)

    async def retry_fetch(self, job_id: str, owner: str) -> bool:
        """Take up a job again that failed here and not at ComfyUI, because of a full disk for one.

        It is not run again: its files are fetched. False: its status is not ``UNFETCHED``. Every
        start of the studio does this by itself.
        """
        return await self._queue.refetch(job_id, owner)

    # Library

    async def results(
        self,
        owner: str,
        *,
        limit: int = 50,
        before: int | None = None,
        kind: Kind | None = None,
        preset: str | None = None,
        text: str = "",
        starred: bool | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> list[Item]:
        """A page of results, newest first, of 500 at most.

        ``before`` is the id of the last item of the page before. ``text``: all its words occur
        in the prompt, the preset's id, the models or the file name, in any case and any language.
        ``since`` <= created_at < ``until``.
        """
        query = items.Query(
            owner=owner,
            limit=limit,
            before=before,
            kind=kind,
            preset=preset,
            text=text,
            starred=starred,
            since=since,
            until=until,
        )
        return await self._database.run(items.page, query, self._folder)

    async def used_presets(self, owner: str) -> list[str]:
        """The presets that the owner has results of, in no order."""
        return await self._database.run(items.presets, owner)

    async def item(self, item_id: int, owner: str) -> Item:
        """One result. Raises ValidationError: the owner has no such result."""
        found = await self._database.run(items.some, [item_id], owner, self._folder)
        if not found:
            raise _no_item()
        return found[0]

    async def star(self, item_id: int, owner: str, *, starred: bool = True) -> None:
        """Mark or unmark a result."""
        if not await self._database.run(items.star, item_id, owner, starred=starred):
            raise _no_item()

    async def delete(self, item_ids: Iterable[int], owner: str) -> list[int]:
        """Hide results; gives the ids that were there, for :meth:`restore`."""
        return await self._database.run(items.set_deleted, list(item_ids), owner, time.time())

    async def restore(self, item_ids: Iterable[int], owner: str) -> list[int]:
        """Undo :meth:`delete`, as long as ``keep_deleted_s`` has not passed."""
        return await self._database.run(items.set_deleted, list(item_ids), owner, None)

    async def zip(self, item_ids: Iterable[int], owner: str) -> AsyncGenerator[bytes, None]:
        """A ZIP file of the originals under their own names, in pieces as it is made."""
        found = await self._database.run(items.some, list(item_ids), owner, self._folder)
        pieces = zip_pieces((item.filename, item.path) for item in found)
        try:
            while piece := await self._file_thread.run(next, pieces, b""):
                yield piece
        finally:
            await self._file_thread.run(pieces.close)

    # Server

    async def server_status(self) -> ServerStatus:
        """Ask ComfyUI now. Never raises for a server that is away: see ``.online``, ``.error``."""
        client = self._server.client
        look = await client.look()
        health = with_local_facts(self._health.observe(look)) if FEATURES["health"] else None
        if look.error is not None or look.stats is None or look.queue is None:
            error = JobError.of(look.error) if look.error else None
            return ServerStatus(
                online=False, url=client.url, checked_at=look.at, error=error, health=health
            )
        return ServerStatus(
            online=True,
            url=client.url,
            checked_at=look.at,
            latency_s=look.latency_s,
            version=look.stats.comfyui_version or None,
            devices=tuple(look.stats.raw.get("devices") or ()),
            running=len(look.queue.running),
            pending=len(look.queue.pending),
            stats=look.stats.raw,
            health=health,
        )

    # Inside

    async def _prepared(self, request: JobRequest) -> Job:
        library = await self._node_library()
        try:
            return await asyncio.to_thread(self._prepare, request, library)
        except ValidationError:
            newer = await self._node_library(max_age_s=0.0)  # a model or an input added just now
            if newer is library:
                raise
            return await asyncio.to_thread(self._prepare, request, newer)

    def _prepare(self, request: JobRequest, library: NodeLibrary | None) -> Job:
        """A request as a job with concrete values and a graph that this server can run."""
        values, graph = dict(request.values), request.graph
        if graph is not None and request.uploads is not None:
            raise ValidationError("Only presets can be run here.")
        prompt, seed = values.get("prompt"), values.get("seed")
        if graph is None:
            preset = get_preset(request.preset, folders=self._preset_folders)
            words = expand_values(values, preset.params, self._wildcards)
            values = resolve_values(preset, words.values, object_info=library)
            graph = build_graph(preset, values, object_info=library)
            if request.uploads is not None:
                _allowed(graph, preset, request.uploads)
            prompt, seed = (
                values[param.id] if (param := preset.by_role(role)) else None
                for role in ("prompt", "seed")
            )
            if words.templates:
                values[TEMPLATES] = words.templates
        if library is not None and (wrong := error_for(check_workflow(graph, library))):
            raise wrong
        try:
            json.dumps([values, graph], allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValidationError(
                f"The values cannot be stored: {error}.",
                hint="Use texts, numbers, true, false and lists of them.",
            ) from error
        return Job(
            id=str(uuid.uuid4()),
            owner=request.owner,
            preset=request.preset,
            values=values,
            prompt=str(prompt or ""),
            seed=seed if isinstance(seed, int) else None,
            graph=graph,
            status=Status.WAITING,
            created_at=time.time(),
            work=work(values),
        )

    async def _node_library(self, *, max_age_s: float = _NODE_LIST_S) -> NodeLibrary | None:
        """What the server can do; what is known of that while it is away."""
        known, asked_at = self._node_list
        if known is not None and time.monotonic() - asked_at < max_age_s:
            return known
        try:
            known = await self._server.client.object_info(fresh=True)
        except ComfyUIConnectionError as error:
            logger.info("The workflow is checked without asking the server: %s", error)
        else:
            self._node_list = known, time.monotonic()
        return known

    async def _purge_for_ever(self) -> None:
        while True:
            try:
                paths = await self._database.run(items.purge, time.time() - self._keep_deleted_s)
                await self._file_thread.run(self._files.remove, paths)
            except StorageError as error:
                logger.warning("Deleted results could not be purged: %s", error)
            await asyncio.sleep(_PURGE_S)


def _allowed(graph: Graph, preset: Preset, uploads: frozenset[str]) -> None:
    refused = check_allowed(graph, preset, uploads)
    if refused:
        raise InvalidWorkflowError(str(refused[0]), problems=refused)


def _no_job() -> ValidationError:
    return ValidationError("There is no such job.", hint="It may be somebody else's.")


def _no_item() -> ValidationError:
    return ValidationError("There is no such result.", hint="It may have been deleted.")
