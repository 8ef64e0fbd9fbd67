"""The import of a folder into the library: one at a time, for everyone on the page."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

from ..errors import ComfyHeadlessError, ValidationError
from ..library.folder_import import ImportProgress
from ..library.library_service import LibraryService

__all__ = ["ImportTask"]

logger = logging.getLogger(__name__)


class ImportTask:
    """The running import, or the outcome of the last one."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._progress: ImportProgress | None = None
        self._message = ""

    @property
    def running(self) -> bool:
        """Whether an import is running."""
        return self._task is not None and not self._task.done()

    def start(self, library: LibraryService, folder: str, user_id: str) -> None:
        """Start an import, which continues after the page is closed.

        Raises:
            ValidationError: an import is already running, or ``folder`` is empty.
        """
        if self.running:
            raise ValidationError(
                "An import is running already.", hint="Let it finish, or stop it."
            )
        if not folder.strip():
            raise ValidationError("Name a folder.", hint="For instance ComfyUI's output folder.")
        self._progress, self._message = None, ""
        self._task = asyncio.create_task(
            self._run(library, Path(folder.strip()), user_id), name="import"
        )

    async def stop(self) -> None:
        """Stop the import. Files imported so far stay in the library."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def state(self) -> dict[str, Any]:
        """The import as JSON for the page: whether it runs, its progress and its message."""
        progress = self._progress
        return {
            "running": self.running,
            "looked_at": progress.looked_at if progress else 0,
            "found": progress.found if progress else 0,
            "said": self._message,
        }

    async def _run(self, library: LibraryService, folder: Path, user_id: str) -> None:
        def on_progress(progress: ImportProgress) -> None:
            self._progress = progress

        try:
            done = await library.import_folder(folder, user_id, on_progress=on_progress)
            self._message = summary(done)
        except ComfyHeadlessError as error:
            self._message = str(error)
        except asyncio.CancelledError:
            self._message = f"Stopped. {summary(self._progress)}" if self._progress else "Stopped."
            raise
        except Exception:
            logger.exception("Import of %s", folder)
            self._message = (
                "The import failed with an internal error. Files imported before are kept."
            )


def summary(done: ImportProgress) -> str:
    """Describe the outcome of an import in one sentence.

    >>> summary(ImportProgress(folder=Path("x"), found=3, added=1, known=2))
    '1 added, 2 already in the library.'
    """
    parts = [f"{done.added:,} added"]
    if done.known:
        parts.append(f"{done.known:,} already in the library")
    if done.failed:
        parts.append(f"{done.failed:,} could not be read")
    return ", ".join(parts) + "."
