"""Download a finished job's output files, unmodified."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

from ...client import ComfyWSClient
from ...client.transfer.files import MAX_FILE_BYTES, DownloadTarget
from ...errors import (
    ComfyHeadlessError,
    ComfyUIConnectionError,
    GenerationCancelledError,
    OutputMissingError,
    ServerRejectedError,
    StorageError,
)
from ...library.result_files import ResultFiles
from ...library.video_editing import join_videos
from ...protocol.outputs import OutputFile, Outputs
from ...storage.records import Job, JobError, JobStatus, StoredFile
from ...storage.single_thread import SingleThread
from ...worker_processes.process_pool import ENCODING_VIDEO, VIDEO_WORKERS
from ...workflow.video_extension import continues_video
from ..queue import JobReport
from .active_job import ActiveJob, cancelled, wait_for_any

logger = logging.getLogger(__name__)

_MAX_JOB_BYTES: Final = 4 * MAX_FILE_BYTES
_CANCEL_GRACE_S: Final = 3.0
_REPORT_INTERVAL_S: Final = 1.0

T = TypeVar("T")


class OutputDownloader:
    """Downloads files from one server into the library.

    ``on_unreachable`` is awaited before each retry while the server is unreachable, and
    ``on_storage_away`` while the file store is. ``on_joining`` is awaited with 0 to 1 while two
    videos are joined. ``limit_bytes`` returns a user's quota, which also limits the files of one
    job. ``find_source`` returns the file of the result that a job works on, or None if it is
    deleted.
    """

    def __init__(
        self,
        client: ComfyWSClient,
        files: ResultFiles,
        file_thread: SingleThread,
        on_unreachable: Callable[[ActiveJob, ComfyHeadlessError], Awaitable[None]],
        on_joining: Callable[[ActiveJob, float], Awaitable[None]],
        *,
        on_storage_away: Callable[[ActiveJob, StorageError], Awaitable[None]],
        limit_bytes: Callable[[str], int | None],
        find_source: Callable[[Job], Awaitable[Path | None]],
    ) -> None:
        self._client = client
        self._files = files
        self._file_thread = file_thread
        self._on_unreachable = on_unreachable
        self._on_joining = on_joining
        self._on_storage_away = on_storage_away
        self._limit_bytes = limit_bytes
        self._find_source = find_source

    async def require_same_server(self, active: ActiveJob) -> None:
        """Check that the server ran the job: another may have other files of the same names.

        Raises:
            OutputMissingError: another server has the results.
        """
        if await self._client.history(active.prompt_id) is None:
            raise OutputMissingError(
                "The results are at a server that is not connected.",
                hint="Connect it again and they are fetched, or run the job again.",
            )

    async def fetch(self, active: ActiveJob, outputs: Outputs) -> JobReport:
        """Download all files that exist; return the report that ends the job."""
        stored: list[StoredFile] = []
        missing: list[OutputMissingError] = []
        quota = self._limit_bytes(active.job.user_id)
        remaining = _MAX_JOB_BYTES if quota is None else min(quota, _MAX_JOB_BYTES)
        for file in outputs.files:
            try:
                stored.append(await self._fetch_file(active, file, remaining))
                remaining -= stored[-1].size_bytes
                if stored[-1].kind == "video" and continues_video(active.job.graph):
                    stored[-1:] = await self._joined(active, file, stored[-1])
            except OutputMissingError as error:
                missing.append(error)
            except GenerationCancelledError:  # files that were downloaded are kept
                return JobReport(job_id=active.job.id, status=JobStatus.CANCELLED, files=stored)
        return JobReport(
            job_id=active.job.id,
            status=JobStatus.FAILED if missing else JobStatus.SUCCEEDED,
            files=stored,
            error=JobError.of(missing[0]) if missing else None,
        )

    async def _fetch_file(self, active: ActiveJob, file: OutputFile, max_bytes: int) -> StoredFile:
        while True:
            try:
                download = await self._download(active, file, max_bytes)
                active.connected()
                return await self._keep(
                    active, await self._file_thread.run(self._place, download, file), file
                )
            except (ComfyUIConnectionError, ServerRejectedError) as error:
                if not error.retryable:
                    raise
                await self._on_unreachable(active, error)
                if active.stop.is_set():
                    raise GenerationCancelledError(
                        "Cancelled while its files were out of reach."
                    ) from error
            except (OSError, StorageError) as error:
                cause = error.__cause__ if isinstance(error, StorageError) else error
                reason = (
                    getattr(cause, "strerror", None) or "the disk refused"
                )  # users must not see the path
                raise StorageError(
                    f"The result could not be stored: {reason}.",
                    hint="It is still on the ComfyUI server. "
                    "Free some disk space, then download it again.",
                ) from error

    def _place(self, download: DownloadTarget, file: OutputFile) -> Path:
        try:
            return self._files.place(download.finish(), file)
        finally:
            download.discard()

    async def _keep(self, active: ActiveJob, path: Path, file: OutputFile) -> StoredFile:
        """Store a downloaded file, however long the file store is away.

        Raises:
            GenerationCancelledError: the job was cancelled meanwhile.
        """
        while True:
            try:
                stored = await self._file_thread.run(self._files.keep, path, file)
            except StorageError as error:
                if not error.retryable:
                    raise
                await self._on_storage_away(active, error)
                if active.stop.is_set():
                    raise GenerationCancelledError(
                        "Cancelled before its files were stored."
                    ) from error
            else:
                active.connected()
                return stored

    async def _joined(
        self, active: ActiveJob, file: OutputFile, clip: StoredFile
    ) -> list[StoredFile]:
        """Join a clip to the video that it continues; return the new files.

        The clip is kept beside the whole if it had to be encoded again, and alone if joining fails.

        Raises:
            GenerationCancelledError: the job was cancelled meanwhile.
        """
        source = await self._find_source(active.job)
        if source is None:
            logger.info("Job %s: the video that it continues is deleted.", active.job.id)
            return [clip]
        target = self._files.incoming()
        joined = 0.0

        def on_progress(fraction: float) -> None:
            nonlocal joined
            joined = fraction

        async def report() -> None:
            while True:
                await asyncio.sleep(_REPORT_INTERVAL_S)
                await self._on_joining(active, joined)

        reporting = asyncio.ensure_future(report())
        try:
            copied = await _unless_stopped(
                active,
                VIDEO_WORKERS.run(
                    join_videos,
                    *(source, self._files.folder / clip.path, target),
                    user_id=active.job.user_id,
                    limits=ENCODING_VIDEO,
                    on_progress=on_progress,
                ),
            )
            name = f"{PurePosixPath(file.filename).stem}_extended.mp4"
            file = replace(file, filename=name)
            placed = await self._file_thread.run(self._files.place, target, file)
            whole = await self._keep(active, placed, file)
        except GenerationCancelledError:
            raise
        except Exception as error:  # noqa: BLE001 -- a decoder may raise anything, and no result is lost over it
            logger.warning("Job %s: the videos could not be joined: %s", active.job.id, error)
            return [clip]
        finally:
            await cancelled(reporting)
            target.unlink(missing_ok=True)
        return [whole] if copied else [whole, clip]

    async def _download(
        self, active: ActiveJob, file: OutputFile, max_bytes: int
    ) -> DownloadTarget:
        download = self._files.download_target(min(max_bytes, MAX_FILE_BYTES))
        try:
            await _unless_stopped(active, self._client.receive(file, download))
        except BaseException:
            download.discard()
            raise
        return download


async def _unless_stopped(active: ActiveJob, work: Coroutine[None, None, T]) -> T:
    """Return the result of the work; once the job is cancelled, for a few seconds only.

    The result of a job that is cancelled just as it finishes is kept that way.

    Raises:
        GenerationCancelledError: the job was cancelled, and the work did not end soon.
    """
    working = asyncio.ensure_future(work)
    try:
        await wait_for_any(active.stop, task=working)
        if not working.done():
            await asyncio.wait({working}, timeout=_CANCEL_GRACE_S)
        if not working.done():
            raise GenerationCancelledError("Cancelled while its files were stored.")
    finally:
        await cancelled(working)
    return working.result()
