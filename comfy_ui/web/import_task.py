"""The import of a folder into the library: one at a time, for everyone on the page."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any, Literal

from ..errors import ComfyHeadlessError, ValidationError
from ..library.folder_import import ImportProgress
from ..library.library_service import LibraryService
from .components.html import size

__all__ = ["ImportTask"]

logger = logging.getLogger(__name__)


class ImportTask:
    """The running count or import, or the outcome of the last one."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._phase: Literal["count", "import"] = "import"
        self._progress: ImportProgress | None = None
        self._done = False
        self._texts: list[str] = []

    @property
    def running(self) -> bool:
        """Whether files are counted or imported."""
        return self._task is not None and not self._task.done()

    def count(self, library: LibraryService, folder: str, user_id: str) -> None:
        """Start counting what an import would add. Nothing changes.

        Raises:
            ValidationError: an import is already running, or ``folder`` is empty.
        """
        self._begin("count", library, folder, user_id, generated_only=True)

    def start(
        self, library: LibraryService, folder: str, user_id: str, *, generated_only: bool = False
    ) -> None:
        """Start an import, which continues after the page is closed.

        ``generated_only`` skips files without generation metadata.

        Raises:
            ValidationError: an import is already running, or ``folder`` is empty.
        """
        self._begin("import", library, folder, user_id, generated_only=generated_only)

    async def stop(self) -> None:
        """Stop. Files imported so far stay in the library."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def undo(self, library: LibraryService, user_id: str) -> None:
        """Delete what the last import added; it can be restored like other deleted results.

        Raises:
            ValidationError: an import is running, or there is nothing to undo.
        """
        self._require_idle()
        removed = await library.undo_import(user_id)
        self._phase, self._progress, self._done = "import", None, False
        self._texts = [f"{len(removed):,} removed", "The folder is unchanged"]

    def state(self) -> dict[str, Any]:
        """The count or import as JSON for the page.

        ``count`` is there as soon as all files of the folder were counted.
        """
        progress = self._progress
        counted = progress if self._phase == "count" and self._done else None
        return {
            "running": self.running,
            "phase": self._phase,
            "looked_at": progress.looked_at if progress else 0,
            "found": progress.found if progress else 0,
            "texts": self._texts,
            "count": counted
            and {
                "added": counted.added,
                "kinds": dict(counted.added_kinds),
                "size": size(counted.added_bytes),
                "known": counted.known,
                "skipped": counted.skipped,
                "failed": counted.failed,
            },
        }

    def _begin(
        self,
        phase: Literal["count", "import"],
        library: LibraryService,
        folder: str,
        user_id: str,
        *,
        generated_only: bool,
    ) -> None:
        self._require_idle()
        if not folder.strip():
            raise ValidationError("Name a folder.", hint="For instance ComfyUI's output folder.")
        self._phase, self._progress, self._done, self._texts = phase, None, False, []
        work = self._run(library, Path(folder.strip()), user_id, generated_only=generated_only)
        self._task = asyncio.create_task(work, name=phase)

    def _require_idle(self) -> None:
        if self.running:
            raise ValidationError(
                "An import is running already.", hint="Let it finish, or stop it."
            )

    async def _run(
        self, library: LibraryService, folder: Path, user_id: str, *, generated_only: bool
    ) -> None:
        def on_progress(progress: ImportProgress) -> None:
            self._progress = progress

        counting = self._phase == "count"
        try:
            done = await library.import_folder(
                folder,
                user_id,
                on_progress=on_progress,
                generated_only=generated_only,
                dry_run=counting,
            )
            self._done = True
            self._texts = [] if counting else summary(done)
        except ComfyHeadlessError as error:
            self._texts = [str(error)]
        except asyncio.CancelledError:
            imported = self._progress if not counting else None
            self._texts = ["Stopped", *(summary(imported) if imported else ())]
            raise
        except Exception:
            logger.exception("Import of %s", folder)
            self._texts = [
                "The import failed with an internal error. Files imported before are kept."
            ]


def summary(done: ImportProgress) -> list[str]:
    """Describe the outcome of an import.

    >>> summary(ImportProgress(folder=Path("x"), found=3, added=1, known=2))
    ['1 added', '2 already in the library']
    """
    texts = [f"{done.added:,} added"]
    if done.known:
        texts.append(f"{done.known:,} already in the library")
    if done.skipped:
        texts.append(f"{done.skipped:,} without generation metadata")
    if done.failed:
        texts.append(f"{done.failed:,} could not be read")
    return texts
