"""Import of a folder of results, such as ComfyUI's output folder, into the library.

The original files stay unchanged. Prompt, seed, models and workflow come from a file's metadata,
and its modification time becomes the creation time of the result. The same bytes are imported
once.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import time
import uuid
from collections.abc import Callable, Container, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from ..errors import StorageError, ValidationError
from ..protocol.outputs import OutputFile, kind_of
from ..storage.job_store import JobStore
from ..storage.records import Job, JobStatus, StoredFile
from ..storage.single_thread import SingleThread
from ..workflow.metadata import Metadata, read_metadata
from ..workflow.prompt_of_graph import prompt_of_graph
from .result_files import FileStore

logger = logging.getLogger(__name__)

IMPORTED: Final = "imported"
"""The preset of results whose preset is not known."""

_Outcome: TypeAlias = Literal["added", "known", "skipped"]

_KINDS: Final = frozenset({"image", "video", "audio", "3d"})
_NAMESPACE: Final = uuid.UUID("6f1b1f0e-5d0c-4b53-9b1e-0d6f5c9a7e21")
_FULL: Final = frozenset({errno.ENOSPC, errno.EROFS, errno.EDQUOT})
_MAX_PROMPT: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportProgress:
    """Progress of an import: of ``found`` files, ``added`` are new, ``known`` were in the library
    before, ``skipped`` have no generation metadata, and ``failed`` could not be read.
    """

    folder: Path
    found: int = 0
    added: int = 0
    known: int = 0
    skipped: int = 0
    failed: int = 0

    @property
    def looked_at(self) -> int:
        """The number of files that were processed."""
        return self.added + self.known + self.skipped + self.failed


class FolderImporter:
    """Imports the files of a folder one after the other.

    ``deletion_lock`` is held while files are deleted that no result uses yet.
    """

    def __init__(
        self,
        jobs: JobStore,
        files: FileStore,
        file_thread: SingleThread,
        *,
        deletion_lock: asyncio.Lock,
    ) -> None:
        self._deletion_lock = deletion_lock
        self._jobs = jobs
        self._files = files
        self._file_thread = file_thread

    async def run(
        self,
        folder: Path,
        user_id: str,
        *,
        on_progress: Callable[[ImportProgress], None],
        on_added: Callable[[Path, str], None] = lambda *_: None,
        generated_only: bool = False,
        dry_run: bool = False,
    ) -> ImportProgress:
        """Import the files below ``folder``, oldest first; return the last progress.

        ``on_added`` gets each new file and its path in the library. ``generated_only`` skips files
        without generation metadata. ``dry_run`` changes nothing.

        Cancelling the task is safe at any time: imported files are kept, and the next run
        continues.

        Raises:
            ValidationError: there is no such folder, or it is the library's own.
            StorageError: the disk refuses; files that were imported before are kept.
        """
        paths = await asyncio.to_thread(self._list_files, folder)
        progress = ImportProgress(folder=folder, found=len(paths))
        on_progress(progress)
        for path, made_at in paths:
            try:
                outcome, stored = await self._import_file(
                    path,
                    user_id,
                    min(made_at, time.time()),
                    generated_only=generated_only,
                    dry_run=dry_run,
                )
            except (OSError, ValidationError) as error:
                if isinstance(error, OSError) and _is_library_error(error, self._files.folder):
                    raise StorageError(
                        f"The library cannot be written: {error.strerror}.",
                        hint="Free some disk space, then import again: it resumes from there.",
                    ) from error
                logger.info("Not imported: %s: %s", path, error)
                progress = replace(progress, failed=progress.failed + 1)
            else:
                if outcome == "added":
                    on_added(path, stored)
                progress = replace(progress, **{outcome: getattr(progress, outcome) + 1})
            on_progress(progress)
        return progress

    async def recover(self, named: Container[str], user_id: str) -> int:
        """Import the library's own files that are not in ``named``; return their number."""
        count = 0
        async with self._deletion_lock:
            for relative in await self._file_thread.run(self._files.unnamed, named):
                try:
                    stored, at = await self._file_thread.run(self._files.recover, relative)
                except OSError as error:
                    logger.warning("The file %s could not be imported: %s", relative, error)
                    continue
                metadata = await asyncio.to_thread(_metadata, self._files.folder / relative)
                count += await self._jobs.add_imported(
                    job_of(stored, metadata, user_id, at), stored
                )
        return count

    def _list_files(self, folder: Path) -> list[tuple[Path, float]]:
        try:
            resolved = folder.expanduser().resolve()
            if not resolved.is_dir():
                raise ValidationError(f"There is no folder {folder}.", hint="Check the path.")
        except (OSError, ValueError, RuntimeError) as error:
            raise ValidationError(f"The folder {folder} cannot be read.") from error
        own = self._files.folder.resolve()
        if resolved == own or own in resolved.parents:
            raise ValidationError(
                "This is the library's own folder.", hint="Choose ComfyUI's output folder."
            )
        files = [(path, at) for path, at in _files_below(resolved) if own not in path.parents]
        return sorted(files, key=lambda pair: pair[1])

    async def _import_file(
        self, path: Path, user_id: str, made_at: float, *, generated_only: bool, dry_run: bool
    ) -> tuple[_Outcome, str]:
        """Import one file; return the outcome and the file's path in the library."""
        file = OutputFile(path.name, node="import", kind=kind_of(path.name))
        metadata = await asyncio.to_thread(_metadata, path)
        if generated_only and not metadata:
            return "skipped", ""
        if dry_run:
            held = await self._file_thread.run(self._files.holds, path, file)
            return ("known" if held else "added"), ""
        async with self._deletion_lock:
            stored = await self._file_thread.run(self._files.import_file, path, file)
            job = job_of(stored, metadata, user_id, made_at)
            added = await self._jobs.add_imported(job, stored)
        return ("added" if added else "known"), stored.path


def job_of(stored: StoredFile, metadata: Metadata, user_id: str, made_at: float) -> Job:
    """Return the job that created a file, according to the file's metadata.

    Without start and end, it does not count for the speed of the preset and is not among the
    recently finished jobs.
    """
    graph: Any = metadata.graph or {}
    prompt, seed = prompt_of_graph(graph)
    values = metadata.values
    return Job(
        id=str(uuid.uuid5(_NAMESPACE, f"{user_id}/{stored.path}")),
        user_id=user_id,
        preset=metadata.preset or IMPORTED,
        values=values,
        prompt=str(values.get("prompt") or prompt).strip()[:_MAX_PROMPT],
        seed=_seed(values.get("seed")) if "seed" in values else seed,
        graph=graph,
        status=JobStatus.SUCCEEDED,
        created_at=made_at,
    )


def _seed(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _metadata(path: Path) -> Metadata:
    with suppress(ValidationError):  # a kind of file without metadata
        return read_metadata(path)
    return Metadata()


def _files_below(folder: Path) -> Iterator[tuple[Path, float]]:
    """Yield result files and their modification times, without links and hidden files."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(parent, name)
            if name.startswith(".") or kind_of(name) not in _KINDS or path.is_symlink():
                continue
            with suppress(OSError):
                yield path, path.stat().st_mtime


def _is_library_error(error: OSError, folder: Path) -> bool:
    """Whether the library's disk refused, and not the imported file."""
    names = (error.filename2, error.filename)
    return error.errno in _FULL or any(
        str(name).startswith(str(folder)) for name in names if name is not None
    )
