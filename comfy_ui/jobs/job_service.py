"""The job service: submit, follow, cancel and repeat jobs that outlive a page."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from .. import telemetry
from ..client import ComfyWSClient
from ..errors import ComfyHeadlessError, ValidationError
from ..library.library_service import KEEP_DELETED_S, LibraryService
from ..library.stores import OpenStores, open_sqlite_stores
from ..protocol.object_info import NodeRegistry
from ..storage.job_store import JobStore, StoreProblem
from ..storage.records import (
    Absence,
    Grid,
    GridAxis,
    GridCell,
    Job,
    JobKey,
    JobRequest,
    JobStatus,
    LibraryItem,
    QueueCounts,
    QueueFigures,
    QueueView,
    ServerStatus,
    Snapshot,
    make_id,
)
from ..storage.webhook_store import WebhookStore
from ..user_turns import UserTurns
from ..workflow.wildcards import WildcardFolder
from . import learned_durations
from .grids.grid_service import GridService
from .grids.group_service import GroupService
from .local_queue import open_local_queue
from .placement import JobEstimate
from .prepare_job import prepare_job, repeated_job
from .queue import JobQueue, OpenQueue
from .queue_position import has_started
from .spending import require_spending
from .workers.server import OBJECT_INFO_MAX_AGE_S, Server, distinct_servers
from .workers.worker import Worker

logger = logging.getLogger(__name__)

_PREPARING_THREADS: Final = 2  # more would delay the event loop: they compute, without I/O
_FINISH_POLL_S: Final = 0.1
PATIENCE_S: Final = 60.0
"""Longer than most restarts of ComfyUI, and than a server is silent while it loads a model."""
_RECHECK_AGE_S: Final = 1.0  # refused jobs, however many, read object_info once a second


class JobService:
    """The jobs of all users. :func:`open_jobs` creates it together with its parts.

    Every method is called in one event loop and takes a ``user_id``; a user cannot see the jobs
    of another.

    Args:
        queue: the unfinished jobs.
        store: the finished jobs.
        grids: the grids and their contact sheets.
        library: the results and uploads of the jobs.
        webhooks: the webhooks of the users, and their deliveries.
        servers: where jobs run, the preferred server first.
        preset_folders: folders of presets besides the shipped ones.
        wildcards: the wildcard files of prompts.
        external_workers: see :func:`open_jobs`.
        tasks: what has to run as long as the service does.

    Attributes:
        library: the results and uploads of the jobs.
        webhooks: the webhooks of the users, and their deliveries.
        groups: the jobs that were submitted together.
    """

    def __init__(
        self,
        *,
        queue: JobQueue,
        store: JobStore,
        grids: GridService,
        library: LibraryService,
        webhooks: WebhookStore,
        servers: Sequence[Server],
        preset_folders: Sequence[Path],
        wildcards: WildcardFolder,
        external_workers: Callable[[], Awaitable[list[ServerStatus]]] | None = None,
        tasks: Sequence[asyncio.Task[None]] = (),
    ) -> None:
        self.library = library
        self.webhooks = webhooks
        self.groups = GroupService(store=store, queue=queue)
        self._queue = queue
        self._store = store
        self._grids = grids
        self._servers = servers
        self._preset_folders = tuple(preset_folders)
        self._wildcards = wildcards
        self._external_workers = external_workers
        self._tasks = tuple(tasks)
        self._turns = UserTurns()
        self._threads = ThreadPoolExecutor(_PREPARING_THREADS, thread_name_prefix="prepare jobs")

    def close(self) -> None:
        """Drop the requests that wait to be prepared. Those in a thread take less than a second."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    # Submit

    async def submit(self, request: JobRequest) -> Job:
        """Check a request, store it as a job, and queue the job.

        Works while ComfyUI is offline: the job waits for it. Submitting the same ``request.key``
        again returns the existing job, whatever its status.

        Raises:
            UnknownPresetError, ValidationError: a value is invalid.
            InvalidWorkflowError: the server lacks nodes or models; ``.problems`` lists them by
                node. Also its subclasses MissingNodesError and MissingModelsError.
            ValidationError: the user has too many waiting jobs or has reached the storage quota,
                or the job that ``request.replaces`` names no longer waits. SpendingError: the
                workflow has partner nodes, and ``request.may_spend`` is false.
            StorageError: the disk refuses; nothing was queued.
        """
        if existing := await self._existing_job(request.user_id, request.key):
            return existing
        with telemetry.span("comfyui.request"):
            await self.library.require_space(request.user_id)
            job = _traced(await self._prepare(request))
            await self._require_spending([job])
            return await self._queue.submit(
                job,
                front=request.front,
                replaces=request.replaces,
                max_of_key=request.api_key.max_jobs if request.api_key else None,
            )

    async def estimate(self, request: JobRequest) -> JobEstimate:
        """Estimate when a job would start and how long it would run if it were submitted now.

        Raises:
            UnknownPresetError, ValidationError, InvalidWorkflowError: as :meth:`submit`.
        """
        return await self._queue.estimate(await self._prepare(request))

    async def submit_grid(
        self, requests: Sequence[JobRequest], *, across: GridAxis, down: GridAxis | None = None
    ) -> Grid:
        """Submit all cells of a grid or none, row by row.

        When the last job has ended, a contact sheet is added to the library, with the settings of
        the first cell that has a result. The key of the first request is the key of the grid.

        Raises:
            ValidationError, InvalidWorkflowError, StorageError: as :meth:`submit`; nothing was
                queued.
        """
        first = requests[0]
        if first.key is not None:
            grid_id = make_id(first.user_id, first.key)
            if existing := await self._store.grid(grid_id, first.user_id):
                return existing
        with telemetry.span("comfyui.request"):
            await self.library.require_space(first.user_id)
            cells = [
                _traced(await self._prepare(replace(request, key=None))) for request in requests
            ]
            await self._require_spending(cells)
            return await self._grids.submit(
                cells,
                grid_id=make_id(first.user_id, first.key),
                across=across,
                down=down,
                front=first.front,
                max_of_key=first.api_key.max_jobs if first.api_key else None,
            )

    async def wait_for_sheets(self, user_id: str) -> None:
        """Wait for the contact sheets of those grids of the user whose jobs have all ended."""
        await self._grids.wait_for_sheets(user_id)

    def grid_cell(self, job_id: str) -> GridCell | None:
        """Return the cell of a job, or None if it is in no unfinished grid."""
        return self._grids.cell(job_id)

    async def repeat(
        self,
        job_id: str,
        user_id: str,
        *,
        key: str | None = None,
        api_key: JobKey | None = None,
        may_spend: bool = False,
    ) -> Job:
        """Queue a job again with the same values, seed included.

        ``key``, ``api_key`` and ``may_spend`` are as in :class:`JobRequest`.

        Raises:
            ValidationError: the user has no such job, has too many waiting jobs, or has reached
                the storage quota. SpendingError: as :meth:`submit`.
        """
        if existing := await self._existing_job(user_id, key):
            return existing
        with telemetry.span("comfyui.request"):
            await self.library.require_space(user_id)
            job = await self.job(job_id, user_id)
            key_id = api_key.id if api_key else None
            again = repeated_job(job, make_id(user_id, key), key_id, may_spend=may_spend)
            again = _traced(again)
            await self._require_spending([again])
            max_of_key = api_key.max_jobs if api_key else None
            return await self._queue.submit(again, front=False, max_of_key=max_of_key)

    async def _existing_job(self, user_id: str, key: str | None) -> Job | None:
        return None if key is None else await self._store.get(make_id(user_id, key), user_id)

    async def _require_spending(self, jobs: Sequence[Job]) -> None:
        if not all(job.may_spend for job in jobs):
            registries = await self.node_registries()
            for job in jobs:
                require_spending(job, registries)

    async def _prepare(self, request: JobRequest) -> Job:
        registries = await self.node_registries()
        try:
            return await self._prepare_for(request, registries)
        except ValidationError:
            # A model or an input may have been added since object_info was read.
            newer = await self.node_registries(max_age_s=_RECHECK_AGE_S)
            if [*map(id, newer)] == [*map(id, registries)]:
                raise
            return await self._prepare_for(request, newer)

    async def _prepare_for(self, request: JobRequest, registries: list[NodeRegistry]) -> Job:
        preparation = partial(
            prepare_job,
            request,
            registries,
            preset_folders=self._preset_folders,
            wildcards=self._wildcards,
            uploads=self.library.uploads,
        )
        async with self._turns.of(request.user_id):
            try:
                future = self._threads.submit(preparation)
            except RuntimeError as error:
                raise ComfyHeadlessError("The app is stopping.", retryable=True) from error
            try:
                return await asyncio.wrap_future(future)
            except asyncio.CancelledError:
                # A thread cannot be ended: the user's next call waits until it is free.
                if not future.cancel():
                    await asyncio.wait([asyncio.wrap_future(future)])
                raise

    # Follow

    async def follow(self, job_id: str, user_id: str) -> AsyncGenerator[Snapshot, None]:
        """Yield snapshots of a job, newest only, at most 12 a second, until the terminal one.

        The first comes at once. Any number of tasks may follow a job. A slow follower, or one
        that stops early, does not affect the job.

        Raises:
            ValidationError: on the first step, if the user has no such job.
        """
        exists = False
        async with aclosing(self._queue.follow(job_id, user_id)) as snapshots:
            async for snapshot in snapshots:
                exists = True
                yield snapshot
        if not exists:
            raise _unknown_job()

    async def follow_queue(self, user_id: str) -> AsyncGenerator[QueueView, None]:
        """Yield the user's unfinished jobs at each change, a few times a second at most.

        The first view comes at once. Ends when the queue closes.
        """
        async with aclosing(self._queue.follow_queue(user_id)) as views:
            async for view in views:
                yield view

    async def snapshot(self, job_id: str, user_id: str) -> Snapshot:
        """Return the current snapshot of a job.

        Raises:
            ValidationError: the user has no such job.
        """
        snapshot = await self._queue.snapshot(job_id, user_id)
        if snapshot is None:
            raise _unknown_job()
        return snapshot

    async def job(self, job_id: str, user_id: str) -> Job:
        """Return a stored job.

        Raises:
            ValidationError: the user has no such job.
        """
        job = await self._store.get(job_id, user_id)
        if job is None:
            raise _unknown_job()
        return job

    async def active(self, user_id: str) -> list[Job]:
        """Return unfinished jobs: those that a server has, then those that wait, in order."""
        return await self._queue.active(user_id)

    async def counts(self) -> QueueCounts:
        """Count the unfinished jobs of all users."""
        return await self._queue.counts()

    async def recent(self, user_id: str, *, limit: int = 20, folded: bool = False) -> list[Job]:
        """Return finished jobs, newest first, including failed ones.

        ``folded``: of each group only the job that ended last.
        """
        unsaved = await self._queue.unsaved(user_id)
        return [*unsaved, *await self._store.recent(user_id, limit, folded=folded)][:limit]

    # Change

    async def cancel(self, job_id: str, user_id: str) -> bool:
        """Request the end of a job; False if it has ended already.

        Returns at once; snapshots show the outcome. A node that ignores interrupts runs to its
        end, and a job may finish before the request arrives.

        Raises:
            ValidationError: the user has no such job.
        """
        if await self._queue.cancel(job_id, user_id):
            return True
        await self.job(job_id, user_id)
        return False

    async def cancel_all(self, user_id: str, *, waiting_only: bool = False) -> int:
        """Cancel the user's jobs; return how many were asked to end.

        ``waiting_only``: those that ComfyUI has not begun, including those in its own queue.
        """
        count = 0
        # From the end of the queue, so that no waiting job moves up and starts.
        for job in reversed(await self.active(user_id)):
            snapshot = await self._queue.snapshot(job.id, user_id)
            if waiting_only and (snapshot is None or has_started(job, snapshot)):
                continue
            count += await self._queue.cancel(job.id, user_id)
        return count

    async def keep_preview(
        self, job_id: str, user_id: str, image: bytes, media_type: str
    ) -> LibraryItem:
        """Store the last preview of a stopped job in the library, with the job's settings.

        Raises:
            ValidationError: the user has no such job, it was not stopped, or the user has reached
                the storage quota.
            StorageError: the disk refuses.
        """
        job = await self.job(job_id, user_id)
        if job.status is not JobStatus.CANCELLED:
            raise ValidationError("This job was not stopped.")
        item = await self.library.keep_preview(job, image, media_type)
        await self._queue.job_added(user_id)
        return item

    async def reorder(self, job_id: str, user_id: str, *, before: str | None) -> bool:
        """Move a waiting job before another of the user's, or to the end if ``before`` is None.

        Returns False if it no longer waits.
        """
        return await self._queue.reorder([job_id], user_id, before=before)

    async def set_paused(self, user_id: str, *, paused: bool) -> None:
        """Pause or resume the queue of a user, or of all users if ``user_id`` is ``EVERYONE``.

        Running jobs continue, and no other starts before the queue is resumed. Restarts of the app
        do not resume it.
        """
        await self._queue.set_paused(user_id, paused=paused)

    async def finish_started(self, *, within_s: float) -> None:
        """Start no more jobs, and wait for those that servers have, before this service closes.

        Waiting jobs stay queued for the next service of the data folder.
        """
        for _ in range(math.ceil(within_s / _FINISH_POLL_S)):
            if not self._queue.hold_claims():
                return
            await asyncio.sleep(_FINISH_POLL_S)

    async def can_run_elsewhere(self, job_id: str, user_id: str) -> bool:
        """Whether a job's files are missing, its server is offline, and another could run it.

        The files are downloaded when the server returns; :meth:`repeat` does not wait for that.
        """
        return await self._queue.can_run_elsewhere(job_id, user_id)

    async def retry_fetch(self, job_id: str, user_id: str) -> bool:
        """Download the files of a job again that failed here, for instance on a full disk.

        The job does not run again. Returns False if its status is not ``UNFETCHED``. Each start of
        the app retries such jobs, too.
        """
        return await self._queue.retry_fetch(job_id, user_id)

    # Operation

    def figures(self) -> QueueFigures:
        """Return the figures of the queue, for metrics. Does not wait."""
        return self._queue.figures()

    def on_end(self, listener: Callable[[Job], None]) -> None:
        """Call ``listener`` with each job whose end this process stores. It must not raise."""
        self._queue.on_end(listener)

    def is_running(self) -> bool:
        """Whether the queue and its workers run, so that a job submitted now can be run."""
        return self._queue.is_running() and not any(task.done() for task in self._tasks)

    async def database_problem(self) -> StoreProblem | None:
        """Return why the database cannot be used now, or None."""
        return await self._store.problem()

    # Servers

    async def server_status(self) -> ServerStatus:
        """Return the status of the first server that is online, or else of the first one."""
        statuses = await self.server_statuses()
        return next((status for status in statuses if status.online), statuses[0])

    async def server_statuses(self) -> list[ServerStatus]:
        """Check every server now, in order.

        Never raises for an offline server: see ``ServerStatus.online`` and ``.error``.
        """
        return await asyncio.gather(*(server.status() for server in self._servers))

    async def worker_statuses(self) -> list[ServerStatus]:
        """Return the status of each server that runs jobs; never raises for an offline one."""
        if self._external_workers is not None:
            return await self._external_workers()
        return await self.server_statuses()

    async def node_registries(
        self, *, max_age_s: float = OBJECT_INFO_MAX_AGE_S
    ) -> list[NodeRegistry]:
        """Return the object_info of the online servers, or else what is cached, in order."""
        online = [server for server in self._servers if server.online]
        registries = await asyncio.gather(
            *(server.node_registry(max_age_s=max_age_s) for server in (online or self._servers))
        )
        return [registry for registry in registries if registry is not None]


@asynccontextmanager
async def open_jobs(
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
    open_stores: OpenStores = open_sqlite_stores,
    open_queue: OpenQueue = open_local_queue,
    external_workers: Callable[[], Awaitable[list[ServerStatus]]] | None = None,
    absence: Callable[[], Absence | None] = lambda: None,
) -> AsyncIterator[JobService]:
    """Open the jobs and the library of a data folder and resume unfinished jobs.

    At the end, jobs stay at ComfyUI; the next start resumes them.

    Args:
        client: the connection to ComfyUI; it is not closed here.
        others: connections to more servers. A job goes to an online server that has its nodes and
            models and is done with it first.
        data_dir: the folder of the database, results and thumbnails; created if missing.
        patience_s: how long one of several servers may be unreachable before its unfinished jobs
            move to the others.
        concurrency: how many jobs a server holds at once, one running and the others ready; all
            others wait here.
        waiting_limit: how many jobs of one user may wait.
        keep_deleted_s: how long a deleted result can be restored, unless its space is needed; at
            least one hour.
        limit_bytes: returns a user's quota for results, or None for no limit. A user who has
            reached it cannot submit; results are never deleted for it. Deleted results and uploads
            may take up as much again; beyond that, the oldest deleted results are purged.
        preset_folders: folders of presets besides the shipped ones.
        open_stores: opens the database.
        open_queue: opens the queue over the store.
        external_workers: returns the servers of the workers in other processes, which then run all
            jobs; the servers here only tell which nodes and models there are. Other apps may use
            the stores at the same time.
        absence: returns why ComfyUI does not answer on purpose. Jobs wait then, without asking it.

    Raises:
        StorageError: the folder cannot be used, or another process is using it.
    """
    servers = distinct_servers([client, *others], absence)
    durations = {server.name: server.client.durations for server in servers}
    async with AsyncExitStack() as stack:
        store, library_store, webhooks, files = await stack.enter_async_context(
            open_stores(data_dir)
        )
        library = LibraryService(
            library_store,
            store,
            files,
            keep_deleted_s=keep_deleted_s,
            limit_bytes=limit_bytes,
        )
        stack.push_async_callback(library.aclose)
        await library.open()
        await learned_durations.load(store, durations)
        stack.push_async_callback(learned_durations.save, store, durations)
        queue = await stack.enter_async_context(
            open_queue(store, files.folder, waiting_limit, durations)
        )
        grids = GridService(
            store=store,
            queue=queue,
            files=library.files,
            file_thread=library.file_thread,
            shared=external_workers is not None,
        )
        stack.push_async_callback(grids.aclose)
        await grids.open()
        workers = [
            Worker(
                queue=queue,
                server=server,
                files=library.files,
                uploads=library.uploads,
                file_thread=library.file_thread,
                concurrency=concurrency,
                limit_bytes=limit_bytes,
                find_source=library.source_of,
                patience_s=patience_s if len(servers) > 1 else None,
            )
            for server in servers
            if external_workers is None
        ]
        working = [asyncio.create_task(worker.run(), name="worker") for worker in workers]
        tasks = [
            *working,
            asyncio.create_task(library.run_purge(), name="library purge"),
            asyncio.create_task(library.recover_files(), name="library recovery"),
            asyncio.create_task(learned_durations.keep_saving(store, durations), name="durations"),
        ]
        stack.push_async_callback(_cancel, tasks)
        service = JobService(
            queue=queue,
            store=store,
            grids=grids,
            library=library,
            webhooks=webhooks,
            servers=servers,
            preset_folders=preset_folders,
            wildcards=WildcardFolder(data_dir / "wildcards"),
            external_workers=external_workers,
            tasks=working,
        )
        stack.callback(service.close)
        yield service


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _traced(job: Job) -> Job:
    """Return a job that its worker's spans are recorded for, if telemetry is on."""
    context = telemetry.traceparent()
    return replace(job, traceparent=context) if context else job


def _unknown_job() -> ValidationError:
    return ValidationError("There is no such job.", hint="It may belong to another user.")
