"""Results of elsewhere come into the library: ComfyUI's output folder, or any folder of pictures.

The originals stay where and as they are. What a file tells of itself is read from it: prompt,
seed, models, workflow. Its time is the result's time, so it stands among the others where it
belongs. The same bytes come in once, however often they are met.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ..errors import StorageError, ValidationError
from ..protocol.outputs import OutputFile, kind_of
from ..storage import items_table, jobs_table
from ..storage.database import Database
from ..storage.records import Job, JobStatus, StoredFile
from ..storage.single_thread import SingleThread
from ..workflow.metadata import Metadata, read_metadata
from ..workflow.prompt_of_graph import prompt_of_graph
from .result_files import FileStore

logger = logging.getLogger(__name__)

IMPORTED: Final = "imported"
"""The preset of results whose own is not known."""

_KINDS: Final = frozenset({"image", "video", "audio", "3d"})
_NAMESPACE: Final = uuid.UUID("6f1b1f0e-5d0c-4b53-9b1e-0d6f5c9a7e21")
_FULL: Final = frozenset({errno.ENOSPC, errno.EROFS, errno.EDQUOT})
_MAX_PROMPT: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportProgress:
    """How far an import is. ``found`` files are looked at; of these ``added`` are new, ``known``
    were there before, and ``failed`` could not be read.
    """

    folder: Path
    found: int = 0
    added: int = 0
    known: int = 0
    failed: int = 0

    @property
    def looked_at(self) -> int:
        return self.added + self.known + self.failed


class FolderImporter:
    """Brings the files of a folder into the library, one after the other."""

    def __init__(
        self,
        database: Database,
        files: FileStore,
        file_thread: SingleThread,
        *,
        sweep: asyncio.Lock,
    ) -> None:
        self._sweep = sweep  # held by what removes files that no result names yet
        self._database = database
        self._files = files
        self._file_thread = file_thread

    async def run(
        self, folder: Path, user_id: str, *, on_progress: Callable[[ImportProgress], None]
    ) -> ImportProgress:
        """Import what is below ``folder``, oldest first; gives the last progress.

        Cancelling the task is safe at any time: what is in is in, and the next run goes on.

        Raises:
            ValidationError: there is no such folder, or it is the library's own.
            StorageError: the disk refused; what came before is in.
        """
        found = await asyncio.to_thread(self._look, folder)
        progress = ImportProgress(folder=folder, found=len(found))
        on_progress(progress)
        for path, made_at in found:
            try:
                added = await self._one(path, user_id, min(made_at, time.time()))
            except (OSError, ValidationError) as error:
                if isinstance(error, OSError) and _is_ours(error, self._files.folder):
                    raise StorageError(
                        f"The library cannot be written: {error.strerror}.",
                        hint="Free some disk space, then import again: it goes on from there.",
                    ) from error
                logger.info("Not imported: %s: %s", path, error)
                progress = replace(progress, failed=progress.failed + 1)
            else:
                name = "added" if added else "known"
                progress = replace(progress, **{name: getattr(progress, name) + 1})
            on_progress(progress)
        return progress

    async def enter_unnamed(self, user_id: str) -> int:
        """Enter again what lies among the library's files and no result names; gives how many."""
        count = 0
        async with self._sweep:
            named = await self._database.run(items_table.paths)
            for relative in await self._file_thread.run(self._files.unnamed, named):
                try:
                    stored, at = await self._file_thread.run(self._files.enter_again, relative)
                except OSError as error:
                    logger.warning("The file %s could not be entered: %s", relative, error)
                    continue
                metadata = await asyncio.to_thread(_metadata, self._files.folder / relative)
                count += await self._database.run(_enter, stored, metadata, user_id, at)
        return count

    def _look(self, folder: Path) -> list[tuple[Path, float]]:
        try:
            whole = folder.expanduser().resolve()
            if not whole.is_dir():
                raise ValidationError(f"There is no folder {folder}.", hint="Check the path.")
        except (OSError, ValueError, RuntimeError) as error:
            raise ValidationError(f"The folder {folder} cannot be read.") from error
        own = self._files.folder.resolve()
        if whole == own or own in whole.parents:
            raise ValidationError(
                "This is the library's own folder.", hint="Choose ComfyUI's output folder."
            )
        found = [(path, at) for path, at in _files_below(whole) if own not in path.parents]
        return sorted(found, key=lambda pair: pair[1])

    async def _one(self, path: Path, user_id: str, made_at: float) -> bool:
        file = OutputFile(path.name, node="import", kind=kind_of(path.name))
        metadata = await asyncio.to_thread(_metadata, path)
        async with self._sweep:
            stored = await self._file_thread.run(self._files.take_in, path, file)
            return await self._database.run(_enter, stored, metadata, user_id, made_at)


def job_of(stored: StoredFile, metadata: Metadata, user_id: str, made_at: float) -> Job:
    """The job that a file must have come from, as far as the file tells.

    It never ran here: without start and end it tells nothing about how quick the preset is, and
    is not among the jobs that were finished lately.
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


def _enter(
    connection: Any, stored: StoredFile, metadata: Metadata, user_id: str, made_at: float
) -> bool:
    known = items_table.holding(connection, user_id, stored.path)
    if known is not None:
        return bool(items_table.set_deleted(connection, [known], user_id, None))
    job = job_of(stored, metadata, user_id, made_at)
    if jobs_table.get(connection, job.id, user_id) is None:  # else its result was deleted for good
        jobs_table.insert(connection, job)
    items_table.add_old(connection, job, stored, made_at=made_at)
    return True


def _seed(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _metadata(path: Path) -> Metadata:
    with suppress(ValidationError):  # a kind that carries none
        return read_metadata(path)
    return Metadata()


def _files_below(folder: Path) -> Iterator[tuple[Path, float]]:
    """Files with results and when they were made. Links are not followed, hidden ones left out."""
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(where, name)
            if name.startswith(".") or kind_of(name) not in _KINDS or path.is_symlink():
                continue
            with suppress(OSError):
                yield path, path.stat().st_mtime


def _is_ours(error: OSError, folder: Path) -> bool:
    """Whether it was our disk that refused and not the file that could not be read."""
    named = (error.filename2, error.filename)
    return error.errno in _FULL or any(
        str(name).startswith(str(folder)) for name in named if name is not None
    )
