"""The ``comfy-ui worker`` process: runs the jobs of a database on one ComfyUI."""

from __future__ import annotations

import asyncio
import logging
import platform
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ..admin_settings.changed_settings import ChangedSettings
from ..admin_settings.storage_limits import StorageLimits
from ..client import ComfyWSClient
from ..client.transport.address import is_loopback
from ..errors import StorageError
from ..jobs import learned_durations
from ..jobs.job_service import PATIENCE_S
from ..jobs.workers.server import Server
from ..jobs.workers.worker import Worker
from ..library.library_service import LibraryService
from ..settings import Settings
from ..storage.file_stores.choose_file_store import choose_file_store
from ..storage.records import Job
from .postgres_database import PostgresDatabase
from .postgres_documents import PostgresDocuments
from .postgres_job_store import PostgresJobStore
from .postgres_library_store import PostgresLibraryStore
from .shared_queue.postgres_job_queue import PostgresJobQueue
from .shared_queue.worker_lease import WorkerLease
from .worker_monitoring import worker_status
from .worker_status import save_status

logger = logging.getLogger(__name__)

_STATUS_S: Final = 10.0
_RETRY_S: Final = 1.0
_DRAIN_POLL_S: Final = 0.1
_CONNECTIONS: Final = 3
_LOCK_WAIT_S: Final = 10.0  # for the end of the worker before this one


def server_of(client: ComfyWSClient, *, name: str | None) -> Server:
    """Return the server of a worker, which no other host may have by the same name.

    ``name`` replaces the name of this host, for instance in a container that gets a new one at each
    start.
    """
    host = urlsplit(client.url).hostname or ""
    return Server(client, host=name or (platform.node() if is_loopback(host) else ""))


async def run_worker(
    settings: Settings,
    client: ComfyWSClient,
    *,
    name: str | None = None,
    concurrency: int = 2,
    drain_s: float,
    stop: asyncio.Event,
) -> None:
    """Run jobs until ``stop`` is set, then end those that the server has.

    ``settings`` follow what admins change on the page, like the storage limits of the users.

    After ``drain_s``, the rest stays at ComfyUI; the next worker resumes it.

    Raises:
        StorageError: the database cannot be used, or another worker runs the jobs of this ComfyUI.
    """
    if settings.database is None:
        raise StorageError("No database is set.", hint="Set COMFY_UI_DATABASE.")
    server = server_of(client, name=name)
    url = settings.database.get_secret_value()
    async with AsyncExitStack() as stack:
        database = PostgresDatabase(url, exclusive=False, connections=_CONNECTIONS, name="worker")
        await database.open()
        stack.push_async_callback(database.close)
        documents = PostgresDocuments(url)
        await asyncio.to_thread(documents.open)
        stack.push_async_callback(asyncio.to_thread, documents.close)
        changed = ChangedSettings(settings, documents)
        files = choose_file_store(settings, settings.data_dir, shared=True)
        folder = files.folder
        store = PostgresJobStore(database, folder)
        library = LibraryService(PostgresLibraryStore(database, folder), store, files)
        stack.push_async_callback(library.aclose)
        await library.open()
        durations = {server.name: client.durations}
        await learned_durations.load(store, durations)
        stack.push_async_callback(learned_durations.save, store, durations)
        queue = PostgresJobQueue(
            database,
            folder,
            waiting_limit=0,
            follows=False,
            durations=durations,
            lease_wait_s=_LOCK_WAIT_S,
        )
        stack.push_async_callback(queue.aclose)
        await queue.open()
        lease = await queue.register(server.name)
        worker = Worker(
            queue=queue,
            server=server,
            files=library.files,
            uploads=library.uploads,
            file_thread=library.file_thread,
            concurrency=concurrency,
            limit_bytes=StorageLimits(settings, documents),
            find_source=partial(_find_source, library),
            patience_s=PATIENCE_S,
        )
        tasks = [
            asyncio.create_task(worker.run(), name="worker"),
            asyncio.create_task(_keep_telling(database, server), name="server status"),
            asyncio.create_task(learned_durations.keep_saving(store, durations), name="durations"),
            asyncio.create_task(changed.keep_current(), name="settings of the page"),
        ]
        logger.info("The worker %s runs jobs on %s.", server.name, server)
        status = worker_status(
            settings, database=database, queue=queue, lease=lease, server=server, tasks=tasks
        )
        try:
            async with status:
                await _until_stopped(queue, lease, tasks[0], stop, drain_s)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _until_stopped(
    queue: PostgresJobQueue,
    lease: WorkerLease,
    worker: asyncio.Task[None],
    stop: asyncio.Event,
    drain_s: float,
) -> None:
    stopped, lost = asyncio.create_task(stop.wait()), asyncio.create_task(lease.lost.wait())
    try:
        await asyncio.wait({stopped, lost, worker}, return_when=asyncio.FIRST_COMPLETED)
        if worker.done():
            await worker
        if lost.done():
            raise StorageError(
                "Another worker has taken over the jobs of this ComfyUI.",
                hint="Stop one of them. If there is only one, start it again.",
            )
        left = queue.hold_claims()
        logger.info("The worker ends as soon as its %s jobs have ended.", left)
        async with asyncio.timeout(drain_s):
            while queue.hold_claims():  # noqa: ASYNC110 -- a count without an event
                await asyncio.sleep(_DRAIN_POLL_S)
    except TimeoutError:
        logger.warning("The rest of the jobs stays at ComfyUI, for the next worker.")
    finally:
        stopped.cancel()
        lost.cancel()


async def _find_source(library: LibraryService, job: Job) -> Path | None:
    """Return the file of the result that a job works on, however long the database is away."""
    while True:
        try:
            return await library.source_of(job)
        except StorageError as error:
            logger.warning("Job %s waits: %s", job.id, error)
            await asyncio.sleep(_RETRY_S)


async def _keep_telling(database: PostgresDatabase, server: Server) -> None:
    """Store the status of the server for the pages, until cancelled."""
    while True:
        status = await server.status()
        if is_loopback(urlsplit(status.url).hostname or ""):
            status = replace(status, url=f"{status.url} ({platform.node()})")
        try:
            await save_status(database, server.name, status)
        except StorageError as error:
            logger.info("The status of the server was not stored: %s", error)
        await asyncio.sleep(_STATUS_S)
