"""A search for model files with the same content, in a thread, with progress and cancel."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from .inventory import LocalModel, find_duplicates

__all__ = ["DuplicateSearch"]

logger = logging.getLogger(__name__)


class _CancelledError(Exception):
    """Ends the thread of a cancelled search."""


@dataclass
class DuplicateSearch:
    """At most one search at a time. All methods are called in one event loop."""

    share: float = 0.0
    """How much has been read, from 0 to 1."""
    groups: list[list[LocalModel]] | None = None
    """What was found; None until a search has ended."""
    error: str = ""
    """Why the last search has failed."""

    def __post_init__(self) -> None:
        self._cancel = threading.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def active(self) -> bool:
        """Whether a search runs."""
        return self._task is not None and not self._task.done()

    def start(self, files: Sequence[LocalModel]) -> None:
        """Compare files by their content, unless a search runs already."""
        if self.active:
            return
        self.share, self.groups, self.error = 0.0, None, ""
        self._cancel.clear()
        self._task = asyncio.create_task(self._run(files), name="duplicate model files")

    def cancel(self) -> None:
        """End the search; nothing is found then."""
        self._cancel.set()

    def forget(self) -> None:
        """Drop what was found, because files have changed since."""
        self.groups = None

    async def wait(self) -> None:
        """Wait until no search runs."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def aclose(self) -> None:
        """Cancel the search and wait for its end."""
        self.cancel()
        await self.wait()

    async def _run(self, files: Sequence[LocalModel]) -> None:
        def on_progress(done: int, total: int) -> None:
            self.share = done / total
            if self._cancel.is_set():
                raise _CancelledError

        try:
            self.groups = await asyncio.to_thread(find_duplicates, files, on_progress=on_progress)
        except _CancelledError:
            return
        except OSError as error:
            logger.warning("The search for duplicates failed: %s", error)
            self.error = f"A file cannot be read: {error.strerror or error}."
