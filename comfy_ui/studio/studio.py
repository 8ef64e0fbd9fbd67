"""The studio: jobs that outlive the page that asked for them, and the library of results."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from ..client import ComfyWSClient
from .job import Item, Job, JobRequest, Kind, ServerStatus, Snapshot


class Studio:
    """Submit, follow, cancel; read the library. One instance per process and ``data_dir``.

    Every method belongs to the event loop that ran :meth:`start`. Every read and every change
    names an ``owner``; what belongs to somebody else does not exist for them.

    Args:
        client: the connection to ComfyUI; the studio uses it and never closes it.
        data_dir: database, results and thumbnails live here; made when absent.
        concurrency: how many jobs ComfyUI holds at once; the rest wait here.
        waiting_limit: how many jobs of one owner may wait.
        keep_deleted_s: how long a deleted result can be restored.

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
    ) -> None: ...

    async def start(self) -> None:
        """Open the store and take up every unfinished job where it stands at the server.

        Raises:
            StorageError: the folder cannot be used, or another process is using it.
        """

    async def aclose(self) -> None:
        """Stop following and close the store. Jobs at ComfyUI go on and are found again."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
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
            ValidationError: the owner has ``waiting_limit`` jobs waiting already.
            StorageError: the disk refused; nothing was queued.
        """

    def follow(self, job_id: str, owner: str) -> AsyncIterator[Snapshot]:
        """Snapshots of a job, newest only, at most 12 a second; ends after the terminal one.

        The first comes at once. Any number may follow; leaving early (``break``, a cancelled
        task) or reading slowly does not touch the job.

        Raises (on the first step):
            ValidationError: the owner has no such job.
        """

    async def snapshot(self, job_id: str, owner: str) -> Snapshot:
        """The job as it stands now. Raises ValidationError: the owner has no such job."""

    async def job(self, job_id: str, owner: str) -> Job:
        """The stored job. Raises ValidationError: the owner has no such job."""

    async def active(self, owner: str) -> list[Job]:
        """Unfinished jobs: those ComfyUI has, then those that wait, in the owner's order."""

    async def recent(self, owner: str, *, limit: int = 20) -> list[Job]:
        """Finished jobs, newest first, failed ones included."""

    async def cancel(self, job_id: str, owner: str) -> bool:
        """Ask for the end of a job; True unless it was over already.

        Returns at once. The snapshots say what came of it: a node that does not listen runs to
        its end, and a job may be done before the request arrives.

        Raises:
            ValidationError: the owner has no such job.
        """

    async def cancel_all(self, owner: str, *, waiting_only: bool = False) -> int:
        """Cancel the owner's jobs; gives how many were asked to end."""

    async def reorder(self, job_id: str, owner: str, *, before: str | None) -> bool:
        """Move a waiting job before another of the owner's (None: to the end).

        False when it no longer waits.
        """

    async def retry_fetch(self, job_id: str, owner: str) -> bool:
        """Fetch the files of a finished job that could not be stored; False: nothing to fetch."""

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
        """A page of results, newest first.

        ``before`` is the id of the last item of the page before. ``text``: all its words occur
        in the prompt, the preset's id or the file name, in any case and any language.
        ``since`` <= created_at < ``until``.
        """

    async def item(self, item_id: int, owner: str) -> Item:
        """One result. Raises ValidationError: the owner has no such result."""

    async def star(self, item_id: int, owner: str, *, starred: bool = True) -> None:
        """Mark or unmark a result."""

    async def delete(self, item_ids: Iterable[int], owner: str) -> list[int]:
        """Hide results; gives the ids that were there, for :meth:`restore`."""

    async def restore(self, item_ids: Iterable[int], owner: str) -> list[int]:
        """Undo :meth:`delete`, as long as ``keep_deleted_s`` has not passed."""

    def zip(self, item_ids: Iterable[int], owner: str) -> AsyncIterator[bytes]:
        """A ZIP file of the originals under their own names, in pieces as it is made."""

    # Server

    async def server_status(self) -> ServerStatus:
        """Ask ComfyUI now. Never raises for a server that is away: see ``.online``, ``.error``."""
