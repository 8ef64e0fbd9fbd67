"""Bringing home what a job has made: every file that is there, once, byte for byte."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ..client import ComfyWSClient
from ..errors import (
    ComfyHeadlessError,
    ComfyUIConnectionError,
    GenerationCancelledError,
    OutputMissingError,
    ServerRejectedError,
    StorageError,
)
from ..library.result_files import FileStore
from ..protocol.outputs import OutputFile, Outputs
from ..storage.records import JobError, JobStatus, StoredFile
from ..storage.single_thread import SingleThread
from .active_job import ActiveJob
from .queue import JobReport


class OutputDownloader:
    """Gets files from one server into the library's folder.

    ``waits`` is awaited when the server is out of reach, before the next try.
    """

    def __init__(
        self,
        client: ComfyWSClient,
        files: FileStore,
        file_thread: SingleThread,
        waits: Callable[[ActiveJob, ComfyHeadlessError], Awaitable[None]],
    ) -> None:
        self._client = client
        self._files = files
        self._file_thread = file_thread
        self._waits = waits

    async def require_its_server(self, run: ActiveJob) -> None:
        """Another server may well have other files by the same names.

        Raises:
            OutputMissingError: this is not the server that made the results.
        """
        if await self._client.history(run.prompt_id) is None:
            raise OutputMissingError(
                "The results are at a server that is not connected.",
                hint="Connect it again and they are fetched, or run the job again.",
            )

    async def fetch(self, run: ActiveJob, outputs: Outputs) -> JobReport:
        """Bring home all files that are there; one that is gone does not cost the others."""
        stored: list[StoredFile] = []
        missing: list[OutputMissingError] = []
        for file in outputs.files:
            try:
                stored.append(await self._fetch_file(run, file))
            except OutputMissingError as error:
                missing.append(error)
            except GenerationCancelledError:  # what has come is there all the same
                return JobReport(job_id=run.job.id, status=JobStatus.CANCELLED, files=stored)
        return JobReport(
            job_id=run.job.id,
            status=JobStatus.FAILED if missing else JobStatus.SUCCEEDED,
            files=stored,
            error=JobError.of(missing[0]) if missing else None,
        )

    async def _fetch_file(self, run: ActiveJob, file: OutputFile) -> StoredFile:
        while True:
            arriving = self._files.incoming()
            try:
                await self._client.download(file, to=arriving)
                run.connected()
                return await self._file_thread.run(self._files.adopt, arriving, file)
            except (ComfyUIConnectionError, ServerRejectedError) as error:
                if not error.retryable:
                    raise
                await self._waits(run, error)
                if run.stop.is_set():
                    raise GenerationCancelledError(
                        "Cancelled while its files were out of reach."
                    ) from error
            except (OSError, StorageError) as error:
                cause = error.__cause__ if isinstance(error, StorageError) else error
                reason = getattr(cause, "strerror", None) or "the disk refused"  # and no path
                raise StorageError(
                    f"The result could not be stored: {reason}.",
                    hint="It is still on the ComfyUI server. "
                    "Free some disk space, then download it again.",
                ) from error
