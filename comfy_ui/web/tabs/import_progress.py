"""A folder that is being brought into the library, one at a time, whoever looks on."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ComfyHeadlessError, ValidationError
from ...library.folder_import import ImportProgress

if TYPE_CHECKING:
    from ..services import Services

__all__ = ["ImportTasks"]

logger = logging.getLogger(__name__)


class ImportTasks:
    """The import that runs, or how the last one ended."""

    def __init__(self, backend: Services) -> None:
        self._backend = backend
        self._task: asyncio.Task[None] | None = None
        self._progress: ImportProgress | None = None
        self._said = ""

    @property
    def running(self) -> bool:
        return self._task is not None and not self._task.done()

    def start(self, folder: str, user_id: str) -> None:
        """Begin; it goes on without the page.

        Raises:
            ValidationError: one is running, or no folder is named.
        """
        if self.running:
            raise ValidationError(
                "An import is running already.", hint="Let it finish, or stop it."
            )
        if not folder.strip():
            raise ValidationError("Name a folder.", hint="For instance ComfyUI's output folder.")
        self._progress, self._said = None, ""
        self._task = asyncio.create_task(self._run(Path(folder.strip()), user_id), name="import")

    async def stop(self) -> None:
        """End it; what is in stays in."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def state(self) -> dict[str, Any]:
        """For the page: does one run, how far is it, and what there is to say."""
        progress = self._progress
        return {
            "running": self.running,
            "looked_at": progress.looked_at if progress else 0,
            "found": progress.found if progress else 0,
            "said": self._said,
        }

    async def _run(self, folder: Path, user_id: str) -> None:
        def told(progress: ImportProgress) -> None:
            self._progress = progress

        try:
            done = await self._backend.studio.import_folder(folder, user_id, on_progress=told)
            self._said = summary(done)
        except ComfyHeadlessError as error:
            self._said = str(error)
        except asyncio.CancelledError:
            self._said = f"Stopped. {summary(self._progress)}" if self._progress else "Stopped."
            raise
        except Exception:
            logger.exception("Import of %s", folder)
            self._said = "Something went wrong here, in the app itself. What came before is in."


def summary(done: ImportProgress) -> str:
    """
    >>> summary(ImportProgress(folder=Path("x"), found=3, added=1, known=2))
    '1 added, 2 were here already.'
    """
    parts = [f"{done.added:,} added"]
    if done.known:
        parts.append(f"{done.known:,} were here already")
    if done.failed:
        parts.append(f"{done.failed:,} could not be read")
    return ", ".join(parts) + "."
