"""Model files on their way to this machine: one after the other, and no page needs to be open."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from ..errors import ComfyHeadlessError, MissingModel
from ..storage.records import JobError
from .download import ModelSources, download_model, part_bytes
from .model_folders import ModelFolders

__all__ = ["DownloadQueue", "DownloadState", "ModelDownload"]

logger = logging.getLogger(__name__)

_SPEED_S: Final = 10.0  # how far back the speed looks


class DownloadState(StrEnum):
    """Where a download stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def active(self) -> bool:
        """Whether it goes on by itself."""
        return self in {DownloadState.WAITING, DownloadState.RUNNING}


@dataclass(frozen=True, slots=True)
class ModelDownload:
    """One file. ``received_bytes`` counts what an earlier try has left."""

    model: MissingModel
    path: Path
    state: DownloadState = DownloadState.WAITING
    received_bytes: int = 0
    total_bytes: int | None = None
    bytes_per_s: float | None = None
    error: JobError | None = None

    @property
    def id(self) -> str:
        """Its folder and name, as ComfyUI's users write them."""
        return f"{self.model.folder}/{self.model.filename}"

    @property
    def share(self) -> float | None:
        """How much is here, from 0 to 1; None while the size is not known."""
        return min(1.0, self.received_bytes / self.total_bytes) if self.total_bytes else None

    @property
    def eta_s(self) -> float | None:
        """Seconds until it is here, at the speed of now."""
        if not self.bytes_per_s or self.total_bytes is None:
            return None
        return (self.total_bytes - self.received_bytes) / self.bytes_per_s


class DownloadQueue:
    """What was asked for since the app started, in memory; the bytes themselves are on the disk.

    A file that was cut, cancelled or lost with the process goes on where it stopped when it is
    asked for again. All methods belong to one event loop.

    Args:
        sources: where files may come from.
        arrived: called after each file that has come.
    """

    def __init__(
        self,
        sources: ModelSources,
        *,
        arrived: Callable[[], Awaitable[object]] | None = None,
        now: Callable[[], float] = time.monotonic,
        pause_s: float = 1.0,
    ) -> None:
        self._sources = sources
        self._arrived = arrived
        self._now = now
        self._pause_s = pause_s
        self._known: dict[str, ModelDownload] = {}
        self._task: asyncio.Task[None] | None = None
        self._running: tuple[str, asyncio.Task[Path]] | None = None

    @property
    def listed(self) -> tuple[ModelDownload, ...]:
        """All of them, in the order in which they were asked for."""
        return (*self._known.values(),)

    @property
    def active(self) -> bool:
        """Whether one runs or waits."""
        return any(download.state.active for download in self._known.values())

    def start(self, models: Iterable[MissingModel], folders: ModelFolders) -> None:
        """Fetch these files, after those that wait already.

        Raises:
            ValidationError: one cannot be put where it belongs, or nobody says where it comes
                from; none was started.
            ModelDownloadError: its address is not among those that are fetched from.
        """
        wanted = []
        for model in models:
            path = folders.place(model)
            self._sources.check(model.url or "")
            wanted.append(
                ModelDownload(
                    model, path, received_bytes=part_bytes(path), total_bytes=model.size_bytes
                )
            )
        for download in wanted:
            known = self._known.get(download.id)
            if known is None or not known.state.active:
                self._known.pop(download.id, None)
                self._known[download.id] = download
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="model downloads")

    def cancel(self, download_id: str) -> bool:
        """Stop one; what has come of it is kept. False: it did not run or wait."""
        download = self._known.get(download_id)
        if download is None or not download.state.active:
            return False
        if self._running is not None and self._running[0] == download_id:
            self._running[1].cancel()
        self._put(replace(download, state=DownloadState.CANCELLED, bytes_per_s=None))
        return True

    async def settle(self) -> None:
        """Wait until nothing runs or waits."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def aclose(self) -> None:
        """Stop all; what has come is kept on the disk."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while waiting := [d for d in self._known.values() if d.state is DownloadState.WAITING]:
            await self._fetch(waiting[0])

    async def _fetch(self, download: ModelDownload) -> None:
        key = download.id
        self._put(replace(download, state=DownloadState.RUNNING))
        marks: deque[tuple[float, int]] = deque()

        def told(received: int, total: int | None) -> None:
            now = self._now()
            marks.append((now, received))
            while marks[0][0] < now - _SPEED_S and len(marks) > 2:
                marks.popleft()
            (since, before), (until, here) = marks[0], marks[-1]
            speed = (here - before) / (until - since) if until > since else None
            self._put(
                replace(
                    self._known[key],
                    received_bytes=received,
                    total_bytes=total or download.total_bytes,
                    bytes_per_s=speed,
                )
            )

        task = asyncio.ensure_future(
            download_model(
                download.model.url or "",
                download.path,
                sources=self._sources,
                sha256=download.model.sha256,
                on_progress=told,
                pause_s=self._pause_s,
            )
        )
        self._running = key, task
        try:
            await asyncio.wait([task])
        finally:
            self._running = None
            if not task.done():  # the app stops
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if task.cancelled():
            return  # told by who cancelled it
        error = task.exception()
        last = replace(self._known[key], bytes_per_s=None)
        if error is not None:
            if not isinstance(error, ComfyHeadlessError):
                logger.error("The download of %s failed", key, exc_info=error)
            self._put(replace(last, state=DownloadState.FAILED, error=JobError.of(error)))
            return
        await self._tell_arrived()  # first: who sees that it is done looks what is ready now
        size = last.received_bytes
        with suppress(OSError):  # somebody moved it away
            size = (await asyncio.to_thread(download.path.stat)).st_size
        self._put(replace(last, state=DownloadState.DONE, received_bytes=size, total_bytes=size))

    async def _tell_arrived(self) -> None:
        """Whatever comes of that: the file is here, and the next one waits."""
        if self._arrived is None:
            return
        telling = asyncio.ensure_future(self._arrived())
        try:
            await asyncio.wait([telling])
        finally:
            telling.cancel()  # the app stops
        if telling.cancelled():
            logger.info("The look for the new file was given up.")
        elif error := telling.exception():
            logger.warning("The server was not asked again: %s", error)

    def _put(self, download: ModelDownload) -> None:
        self._known[download.id] = download
