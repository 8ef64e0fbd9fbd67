"""The queue of model downloads: one after the other, independent of open pages."""

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

_SPEED_S: Final = 10.0  # the period that the speed is measured over


class DownloadState(StrEnum):
    """The state of a download."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PAUSED = "paused"

    @property
    def active(self) -> bool:
        """Whether the download runs or waits."""
        return self in {DownloadState.WAITING, DownloadState.RUNNING}


@dataclass(frozen=True, slots=True)
class ModelDownload:
    """A download of one file. ``received_bytes`` includes the bytes of an earlier attempt."""

    model: MissingModel
    path: Path
    state: DownloadState = DownloadState.WAITING
    received_bytes: int = 0
    total_bytes: int | None = None
    bytes_per_s: float | None = None
    error: JobError | None = None

    @property
    def id(self) -> str:
        """The folder and file name, such as ``checkpoints/sd15.safetensors``."""
        return f"{self.model.folder}/{self.model.filename}"

    @property
    def share(self) -> float | None:
        """The received share from 0 to 1, or None while the size is unknown."""
        return min(1.0, self.received_bytes / self.total_bytes) if self.total_bytes else None

    @property
    def eta_s(self) -> float | None:
        """The remaining seconds at the current speed, or None if unknown."""
        if not self.bytes_per_s or self.total_bytes is None:
            return None
        return (self.total_bytes - self.received_bytes) / self.bytes_per_s


class DownloadQueue:
    """The downloads since the app started, in memory.

    A download that failed or was cancelled resumes when it is started again. All methods are
    called in one event loop.

    Args:
        sources: the allowed hosts and credentials.
        arrived: called after each complete file.
        now: the clock of the speed, in seconds.
        pause_s: as for :func:`.download.download_model`.
    """

    def __init__(
        self,
        sources: ModelSources,
        *,
        arrived: Callable[[], Awaitable[object]] | None = None,
        now: Callable[[], float] = time.monotonic,
        pause_s: float = 1.0,
    ) -> None:
        self.sources = sources
        self._arrived = arrived
        self._now = now
        self._pause_s = pause_s
        self._downloads: dict[str, ModelDownload] = {}
        self._task: asyncio.Task[None] | None = None
        self._running: tuple[str, asyncio.Task[Path]] | None = None

    @property
    def listed(self) -> tuple[ModelDownload, ...]:
        """All downloads, in the order in which they were started."""
        return (*self._downloads.values(),)

    @property
    def active(self) -> bool:
        """Whether a download runs or waits."""
        return any(download.state.active for download in self._downloads.values())

    def start(self, models: Iterable[MissingModel], folders: ModelFolders) -> None:
        """Queue downloads of model files, all or none.

        Raises:
            ValidationError: a file has no folder on this machine or no download URL.
            ModelDownloadError: the host of a URL is not allowed.
        """
        downloads = []
        for model in models:
            path = folders.place(model)
            self.sources.check(model.url or "")
            downloads.append(
                ModelDownload(
                    model, path, received_bytes=part_bytes(path), total_bytes=model.size_bytes
                )
            )
        for download in downloads:
            existing = self._downloads.get(download.id)
            if existing is None or not existing.state.active:
                self._downloads.pop(download.id, None)
                self._downloads[download.id] = download
        self._begin()

    def cancel(self, download_id: str) -> bool:
        """Cancel a download, keeping its bytes; False if it is over."""
        return self._stop(download_id, DownloadState.CANCELLED)

    def pause(self, download_id: str) -> bool:
        """Pause a download until :meth:`resume`; False if it is over or paused."""
        return self._stop(download_id, DownloadState.PAUSED)

    def resume(self, download_id: str) -> bool:
        """Queue a download again that is paused, cancelled or failed; False if there is none.

        It continues after the bytes that it has.
        """
        download = self._downloads.get(download_id)
        if download is None or download.state.active or download.state is DownloadState.DONE:
            return False
        del self._downloads[download_id]  # behind the waiting ones
        self._put(replace(download, state=DownloadState.WAITING, error=None))
        self._begin()
        return True

    def _stop(self, download_id: str, state: DownloadState) -> bool:
        download = self._downloads.get(download_id)
        paused = download is not None and download.state is DownloadState.PAUSED
        if download is None or not (download.state.active or paused) or download.state is state:
            return False
        if self._running is not None and self._running[0] == download_id:
            self._running[1].cancel()
        self._put(replace(download, state=state, bytes_per_s=None))
        return True

    def _begin(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="model downloads")

    async def settle(self) -> None:
        """Wait until no download runs or waits."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def aclose(self) -> None:
        """Cancel all downloads, keeping their bytes."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while waiting := [d for d in self._downloads.values() if d.state is DownloadState.WAITING]:
            await self._fetch(waiting[0])

    async def _fetch(self, download: ModelDownload) -> None:
        key = download.id
        self._put(replace(download, state=DownloadState.RUNNING))
        marks: deque[tuple[float, int]] = deque()

        def on_progress(received: int, total: int | None) -> None:
            now = self._now()
            marks.append((now, received))
            while marks[0][0] < now - _SPEED_S and len(marks) > 2:
                marks.popleft()
            (start, before), (end, after) = marks[0], marks[-1]
            speed = (after - before) / (end - start) if end > start else None
            self._put(
                replace(
                    self._downloads[key],
                    received_bytes=received,
                    total_bytes=total or download.total_bytes,
                    bytes_per_s=speed,
                )
            )

        task = asyncio.ensure_future(
            download_model(
                download.model.url or "",
                download.path,
                sources=self.sources,
                sha256=download.model.sha256,
                size_bytes=download.model.size_bytes,
                on_progress=on_progress,
                pause_s=self._pause_s,
            )
        )
        self._running = key, task
        try:
            await asyncio.wait([task])
        finally:
            self._running = None
            if not task.done():  # the app is stopping
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if task.cancelled():
            return  # cancel() or pause() has set the state
        error = task.exception()
        last = replace(self._downloads[key], bytes_per_s=None)
        if error is not None:
            if not isinstance(error, ComfyHeadlessError):
                logger.error("The download of %s failed", key, exc_info=error)
            self._put(replace(last, state=DownloadState.FAILED, error=JobError.of(error)))
            return
        await self._call_arrived()  # before DONE, so that the catalog is up to date by then
        size = last.received_bytes
        with suppress(OSError):  # the file was moved away
            size = (await asyncio.to_thread(download.path.stat)).st_size
        self._put(replace(last, state=DownloadState.DONE, received_bytes=size, total_bytes=size))

    async def _call_arrived(self) -> None:
        """Call ``arrived`` and log its errors: they must not stop the next download."""
        if self._arrived is None:
            return
        call = asyncio.ensure_future(self._arrived())
        try:
            await asyncio.wait([call])
        finally:
            call.cancel()  # the app is stopping
        if call.cancelled():
            logger.info("Looking for the new file was cancelled.")
        elif error := call.exception():
            logger.warning("Looking for the new file failed: %s", error)

    def _put(self, download: ModelDownload) -> None:
        self._downloads[download.id] = download
