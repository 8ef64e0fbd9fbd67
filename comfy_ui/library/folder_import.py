"""Import of a folder of results, such as ComfyUI's output folder, into the library.

The original files stay unchanged. Prompt, seed, models and workflow come from a file's metadata,
and its modification time becomes the creation time of the result. The same bytes are imported
once.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import time
import uuid
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from ..errors import StorageError, ValidationError
from ..private_files import write_private
from ..protocol.outputs import OutputFile, kind_of
from ..storage.job_store import JobStore
from ..storage.records import Job, JobStatus, StoredFile
from ..storage.single_thread import SingleThread
from ..workflow.metadata import Metadata, read_metadata
from ..workflow.prompt_of_graph import prompt_of_graph
from .result_files import ResultFiles

logger = logging.getLogger(__name__)

IMPORTED: Final = "imported"
"""The preset of results whose preset is not known."""

_Outcome: TypeAlias = Literal["added", "known", "skipped", "failed"]

_KINDS: Final = frozenset({"image", "video", "audio", "3d"})
_NAMESPACE: Final = uuid.UUID("6f1b1f0e-5d0c-4b53-9b1e-0d6f5c9a7e21")
_FULL: Final = frozenset({errno.ENOSPC, errno.EROFS, errno.EDQUOT})
_MAX_PROMPT: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportProgress:
    """Progress of an import: of ``found`` files, ``added`` are new, ``known`` were in the library
    before, ``skipped`` have no generation metadata, and ``failed`` could not be read.

    ``added_kinds`` counts the new files by kind (image, video, audio, 3d).
    """

    folder: Path
    found: int = 0
    added: int = 0
    known: int = 0
    skipped: int = 0
    failed: int = 0
    added_bytes: int = 0
    added_kinds: Mapping[str, int] = field(default_factory=dict)

    @property
    def looked_at(self) -> int:
        """The number of files that were processed."""
        return self.added + self.known + self.skipped + self.failed

    def with_outcome(self, outcome: _Outcome, kind: str, size_bytes: int) -> ImportProgress:
        """The progress after one more file."""
        after = replace(self, **{outcome: getattr(self, outcome) + 1})
        if outcome != "added":
            return after
        kinds = {**self.added_kinds, kind: self.added_kinds.get(kind, 0) + 1}
        return replace(after, added_bytes=self.added_bytes + size_bytes, added_kinds=kinds)


class LastImport:
    """What the last import added, in a file of the data folder, so that it can be undone once."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "last_import.json"

    def paths(self) -> frozenset[str]:
        """Return the paths of the added files, relative to the data folder."""
        try:
            return frozenset(map(str, json.loads(self._path.read_bytes())))
        except (OSError, ValueError, TypeError):
            return frozenset()

    def save(self, paths: Sequence[str]) -> None:
        """Replace what can be undone. A full disk costs the undo, not the import."""
        try:
            write_private(self._path, json.dumps(paths).encode())
        except OSError as error:
            logger.warning("The import cannot be undone later: %s", error)

    def forget(self) -> None:
        """Leave nothing to undo."""
        self._path.unlink(missing_ok=True)


class _FoundFile(NamedTuple):
    path: Path
    modified_at: float
    size_bytes: int


class FolderImporter:
    """Imports the files of a folder one after the other.

    ``deletion_lock`` is held while files are deleted that no result uses yet.
    """

    def __init__(
        self,
        jobs: JobStore,
        files: ResultFiles,
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
        files = await asyncio.to_thread(self._list_files, folder)
        progress = ImportProgress(folder=folder, found=len(files))
        on_progress(progress)
        counted: set[str] = set()  # by a dry run, which stores nothing that the next file meets
        for path, modified_at, size_bytes in files:
            outcome: _Outcome
            try:
                outcome, stored = await self._import_file(
                    path,
                    user_id,
                    min(modified_at, time.time()),
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
                outcome, stored = "failed", str(path)
            if dry_run:
                outcome = "known" if stored in counted else outcome
                counted.add(stored)
            if outcome == "added":
                on_added(path, stored)
            progress = progress.with_outcome(outcome, kind_of(path.name), size_bytes)
            on_progress(progress)
        return progress

    async def recover(self, named: Container[str], user_id: str) -> int:
        """Import the library's own files that are not in ``named``; return their number."""
        count = 0
        async with self._deletion_lock:
            for relative in await self._file_thread.run(self._files.unnamed, named):
                try:
                    stored, at = await self._file_thread.run(self._files.recover, relative)
                except (OSError, StorageError) as error:
                    logger.warning("The file %s could not be imported: %s", relative, error)
                    continue
                metadata = await asyncio.to_thread(_metadata, self._files.folder / relative)
                count += await self._jobs.add_imported(
                    job_of(stored, metadata, user_id, at), stored
                )
        return count

    def _list_files(self, folder: Path) -> list[_FoundFile]:
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
        files = [file for file in _files_below(resolved) if own not in file.path.parents]
        return sorted(files, key=lambda file: file.modified_at)

    async def _import_file(
        self, path: Path, user_id: str, made_at: float, *, generated_only: bool, dry_run: bool
    ) -> tuple[_Outcome, str]:
        """Import one file; return the outcome and the file's path in the library."""
        file = OutputFile(path.name, node="import", kind=kind_of(path.name))
        metadata = await asyncio.to_thread(_metadata, path)
        unwanted = generated_only and not metadata
        if dry_run:
            stored_path = await self._file_thread.run(self._files.path_of, path, file)
            if await self._jobs.has_file(stored_path, user_id):
                return "known", stored_path
            return ("skipped" if unwanted else "added"), stored_path
        if unwanted:
            return "skipped", ""
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


def _files_below(folder: Path) -> Iterator[_FoundFile]:
    """Yield result files, without links and hidden files."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(parent, name)
            if name.startswith(".") or kind_of(name) not in _KINDS or path.is_symlink():
                continue
            with suppress(OSError):
                about = path.stat()
                yield _FoundFile(path, about.st_mtime, about.st_size)


def _is_library_error(error: OSError, folder: Path) -> bool:
    """Whether the library's disk refused, and not the imported file."""
    names = (error.filename2, error.filename)
    return error.errno in _FULL or any(
        str(name).startswith(str(folder)) for name in names if name is not None
    )
