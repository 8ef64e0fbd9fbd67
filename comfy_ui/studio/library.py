"""The library: results to find, to keep and to take away."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from typing import Final

from ..errors import StorageError, ValidationError
from . import items
from .files import YOUNG_S, FileStore, zip_pieces
from .inputs import Inputs
from .job import Item, Kind
from .store import Database
from .threads import Thread

logger = logging.getLogger(__name__)

_PURGE_S: Final = 3600.0


class Library:
    """The half of the studio that is about results; see :class:`.studio.Studio`.

    ``inputs`` are the files that people sent for their jobs.
    """

    def __init__(self, database: Database, folder: Path, *, keep_deleted_s: float) -> None:
        self._database = database
        self._folder = folder
        self._keep_deleted_s = max(keep_deleted_s, YOUNG_S)
        self._file_thread = Thread("studio-files")
        self._files = FileStore(folder)
        self.inputs = Inputs(folder)

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
        """A page of results, newest first, of 500 at most.

        ``before`` is the id of the last item of the page before. ``text``: all its words occur
        in the prompt, the preset's id, the models or the file name, in any case and any language.
        ``since`` <= created_at < ``until``.
        """
        query = items.Query(
            owner=owner,
            limit=limit,
            before=before,
            kind=kind,
            preset=preset,
            text=text,
            starred=starred,
            since=since,
            until=until,
        )
        return await self._database.run(items.page, query, self._folder)

    async def used_presets(self, owner: str) -> list[str]:
        """The presets that the owner has results of, in no order."""
        return await self._database.run(items.presets, owner)

    async def item(self, item_id: int, owner: str) -> Item:
        """One result. Raises ValidationError: the owner has no such result."""
        found = await self._database.run(items.some, [item_id], owner, self._folder)
        if not found:
            raise _no_item()
        return found[0]

    async def star(self, item_id: int, owner: str, *, starred: bool = True) -> None:
        """Mark or unmark a result."""
        if not await self._database.run(items.star, item_id, owner, starred=starred):
            raise _no_item()

    async def delete(self, item_ids: Iterable[int], owner: str) -> list[int]:
        """Hide results; gives the ids that were there, for :meth:`restore`."""
        return await self._database.run(items.set_deleted, list(item_ids), owner, time.time())

    async def restore(self, item_ids: Iterable[int], owner: str) -> list[int]:
        """Undo :meth:`delete`, as long as ``keep_deleted_s`` has not passed."""
        return await self._database.run(items.set_deleted, list(item_ids), owner, None)

    async def zip(self, item_ids: Iterable[int], owner: str) -> AsyncGenerator[bytes, None]:
        """A ZIP file of the originals under their own names, in pieces as it is made."""
        found = await self._database.run(items.some, list(item_ids), owner, self._folder)
        pieces = zip_pieces((item.filename, item.path) for item in found)
        try:
            while piece := await self._file_thread.run(next, pieces, b""):
                yield piece
        finally:
            await self._file_thread.run(pieces.close)

    async def _purge_for_ever(self) -> None:
        while True:
            try:
                paths = await self._database.run(items.purge, time.time() - self._keep_deleted_s)
                await self._file_thread.run(self._files.remove, paths)
                await self._file_thread.run(self.inputs.purge)
            except StorageError as error:
                logger.warning("Deleted results could not be purged: %s", error)
            await asyncio.sleep(_PURGE_S)


def _no_item() -> ValidationError:
    return ValidationError("There is no such result.", hint="It may have been deleted.")
