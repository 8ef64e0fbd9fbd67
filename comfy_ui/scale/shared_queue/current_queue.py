"""The copy of the shared queue in one process, kept up to date with the tables."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, Final, TypeVar

from ...errors import StorageError
from ...jobs import learned_durations
from ...jobs.unfinished_jobs import UnfinishedJobs
from ...protocol.durations import NodeDurations
from ..postgres_database import Cursor, PostgresDatabase
from ..postgres_job_store import PostgresJobStore
from .queue_listener import QueueListener
from .queue_mirror import Changes, QueueMirror

R = TypeVar("R")

logger = logging.getLogger(__name__)

WORK: Final = "comfy_ui_work"
"""The channel of news for workers; the payload names one, or is empty for all."""
JOBS: Final = "comfy_ui_jobs"
"""The channel of changes that pages show."""
REFRESH_S: Final = 0.05
"""Between two reads of what has changed."""
CLEAN_S: Final = 600.0
"""How long removed jobs are known."""
_POLL_S: Final = 5.0  # notifications may be lost
_RETRY_S: Final = 1.0
_DURATIONS_S: Final = 60.0
_STALE_S: Final = 20.0  # several polls have failed
_LOCK_ORDER: Final = "SELECT FROM queue_clock FOR UPDATE"


class CurrentQueue:
    """Reads what other processes have changed, and runs the changes of this one.

    Args:
        follows: whether this process has pages; one that only works needs no news of other jobs.
        own_workers: the workers of this process, by name.
        durations: what is known of the servers, which this completes.

    Attributes:
        mirror: the copy.
        lock: held while something is read and applied, or written that belongs to the copy.
        work: by worker, set if there may be work for it.
    """

    def __init__(
        self,
        database: PostgresDatabase,
        store: PostgresJobStore,
        folder: Path,
        *,
        follows: bool,
        own_workers: Mapping[str, Any],
        durations: dict[str, NodeDurations],
        now: Callable[[], float],
    ) -> None:
        self.unfinished = UnfinishedJobs((), now, durations)
        self.mirror = QueueMirror(self.unfinished, folder, own_workers=own_workers)
        self.lock = asyncio.Lock()
        self.work: dict[str, asyncio.Event] = {}
        self._database = database
        self._store = store
        self._own_workers = own_workers
        self._durations = durations
        self._durations_at = 0.0
        self._news = asyncio.Event()
        self._closed = False
        self._reload = False
        self._read_at = 0.0
        self._current_at = 0.0  # monotonic: when the changes of others were read last
        self._task: asyncio.Task[None] | None = None
        self._listener = QueueListener(
            database,
            (WORK, JOBS) if follows else (WORK,),
            on_news=self._on_news,
            on_connect=self._on_connect,
        )

    async def open(self) -> None:
        """Read the unfinished jobs and listen for changes.

        Raises:
            StorageError: the database does not answer.
        """
        await self._load()
        await self._database.run(self.mirror.read_loaded)
        self._listener.open()
        self._task = asyncio.create_task(self._keep_refreshing(), name="queue changes")

    async def aclose(self) -> None:
        """Stop to read and listen."""
        self._closed = True  # a cancellation may be lost in a call of the database
        self._news.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._listener.aclose()

    def is_running(self) -> bool:
        """Whether the changes of others arrive."""
        read = time.monotonic() - self._current_at < _STALE_S
        return read and self._task is not None and not self._task.done()

    def wake_workers(self) -> None:
        """Let the workers of this process look for work."""
        for work in self.work.values():
            work.set()

    async def refresh(self) -> None:
        """Read what has changed.

        Raises:
            StorageError: the database does not answer.
        """
        if self._reload or time.time() - self._read_at > CLEAN_S / 2:
            self._reload = False
            await self._load()
            return
        self._read_at = time.time()
        async with self.lock:
            self.mirror.apply(await self._database.run(self.mirror.read, single=True))
            self._current_at = time.monotonic()

    async def change(self, decide: Callable[[Cursor], Awaitable[R]]) -> R:
        """Run ``decide`` in a transaction that alone changes the order, on an exact copy.

        Raises:
            StorageError: the database does not answer.
        """

        async def write(cursor: Cursor) -> tuple[R, Changes]:
            await cursor.execute(_LOCK_ORDER)
            self.mirror.apply(await self.mirror.read(cursor))
            return await decide(cursor), await self.mirror.read(cursor)

        async with self.lock:
            result, changes = await self._database.run(write)
            self.mirror.apply(changes)
        return result

    # Changes of other processes

    def _on_news(self, channel: str, payload: str) -> None:
        if channel == JOBS:
            self._news.set()
        for worker, work in self.work.items():
            if channel == WORK and payload in ("", worker):
                work.set()

    def _on_connect(self) -> None:
        self._reload = True
        self._news.set()

    async def _keep_refreshing(self) -> None:
        while not self._closed:
            with suppress(TimeoutError):
                async with asyncio.timeout(_POLL_S):
                    await self._news.wait()
            self._news.clear()
            try:
                await self.refresh()
                await self._read_durations()
            except StorageError as error:
                logger.warning("The queue cannot be read: %s", error)
                self._reload = True
                self._news.set()
                await asyncio.sleep(_RETRY_S)
            await asyncio.sleep(REFRESH_S)

    async def _read_durations(self) -> None:
        """Read what other processes have learned of their servers, from time to time."""
        if time.monotonic() - self._durations_at < _DURATIONS_S:
            return
        self._durations_at = time.monotonic()
        others = self.mirror.workers.keys() - self._own_workers.keys()
        learned = {name: NodeDurations() for name in others}
        await learned_durations.load(self._store, learned)
        self._durations |= learned

    async def _load(self) -> None:
        self._read_at = time.time()
        async with self.lock:
            self.mirror.apply(await self._database.run(self.mirror.load))
            self._current_at = time.monotonic()


async def notify(cursor: Cursor, *channels: str, worker: str = "") -> None:
    """Wake the listeners of channels when the transaction is committed; of WORK one worker only."""
    calls = ", ".join(["pg_notify(%s, %s)"] * len(channels))
    values = [(channel, worker if channel == WORK else "") for channel in channels]
    await cursor.execute(f"SELECT {calls}", [*chain.from_iterable(values)])
