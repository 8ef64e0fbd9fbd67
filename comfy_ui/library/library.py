"""The library: results to find, to keep and to take away."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from ..errors import StorageError, ValidationError
from ..storage import items_table, jobs_table, quota
from ..storage.database import Database
from ..storage.quota import StorageUsage
from ..storage.records import LOCAL_USER_ID, Kind, LibraryItem
from ..storage.single_thread import SingleThread
from .folder_import import FolderImporter, ImportProgress
from .result_files import YOUNG_S, FileStore, zip_pieces
from .uploads import UploadStore

logger = logging.getLogger(__name__)

KEEP_DELETED_S: Final = 7 * 86400.0
KEPT_FRUITLESS: Final = 200
"""So many jobs are remembered that are over and left nothing, the newest, of an owner who has a
limit: rows fill a disk, too. Of others all are."""
_PURGE_S: Final = 3600.0


class Library:
    """The half of the studio that is about results; see :class:`..jobs.studio.Studio`.

    ``inputs`` are the files that people sent for their jobs.
    ``limit_bytes`` tells how much of results an owner may keep; None: as much as the disk holds.
    """

    def __init__(
        self,
        database: Database,
        folder: Path,
        *,
        keep_deleted_s: float = KEEP_DELETED_S,
        limit_bytes: Callable[[str], int | None] = lambda _: None,
    ) -> None:
        self._database = database
        self._folder = folder
        self._keep_deleted_s = max(keep_deleted_s, YOUNG_S)
        self._file_thread = SingleThread("studio-files")
        self._files = FileStore(folder)
        self.inputs = UploadStore(folder)
        self._limit_bytes = limit_bytes
        self._sweep = asyncio.Lock()

    async def prepare(self) -> None:
        """Make the folders.

        Raises:
            OSError: the disk refuses.
        """
        await self._file_thread.run(self._files.prepare)

    async def close_files(self) -> None:
        """End the thread that works on files."""
        await self._file_thread.close()

    async def space(self, user_id: str) -> StorageUsage:
        """What the owner has on the disk, and how much of results they may keep."""
        return await self._database.run(quota.of, user_id, self._limit_bytes(user_id))

    async def keep_input(self, name: str, content: bytes, user_id: str) -> None:
        """Keep a file that somebody sent for their jobs, under a name not used before.

        Raises:
            ValidationError: they have as much on the disk as they may.
            StorageError: the disk refuses.
        """
        await self._require_disk(user_id, len(content))
        await self._database.run(
            quota.enter_upload, name, user_id, len(content), now=time.time()
        )  # first: bytes that nobody counts would stay so
        try:
            await asyncio.to_thread(self.inputs.put, name, content)
        except StorageError:
            await self._database.run(quota.drop_upload, name)
            raise

    async def import_folder(
        self,
        folder: Path,
        user_id: str,
        *,
        on_progress: Callable[[ImportProgress], None] = lambda _: None,
    ) -> ImportProgress:
        """Enter what is below a folder, ComfyUI's output for one; see :mod:`.folder_import`.

        Raises:
            ValidationError: there is no such folder.
            StorageError: the disk refused; what came before is in.
        """
        return await self._importer().run(folder, user_id, on_progress=on_progress)

    @property
    def notice(self) -> str:
        """What the owner of the machine should know since the start; empty when nothing."""
        rescued = self._database.rescued
        return str(rescued) if rescued else ""

    def _importer(self) -> FolderImporter:
        return FolderImporter(self._database, self._files, self._file_thread, sweep=self._sweep)

    async def _enter_lost(self) -> None:
        """After a rescue: files that have no record any more belong to the owner of the machine."""
        if self._database.rescued is not None:
            count = await self._importer().enter_unnamed(LOCAL_USER_ID)
            logger.warning("%d results were entered again from their files.", count)

    async def _require_room(self, user_id: str) -> None:
        """
        Raises:
            ValidationError: the owner keeps as much as they may, or has on the disk.
        """
        now = await self.space(user_id)
        if now.is_full:
            raise ValidationError(
                f"Your results fill the {(now.limit_bytes or 0) / 1e9:.3g} GB that you may keep.",
                hint="Delete some in the Library, then try again. Nothing was deleted by itself.",
            )
        await self._require_disk(user_id)

    async def _require_disk(self, user_id: str, more_bytes: int = 0) -> None:
        """See to it that what somebody deletes or sends does not fill the disk either.

        What they deleted longest ago makes room, as in any bin that is full.

        Raises:
            ValidationError: that was not enough.
        """
        over = (await self.space(user_id)).over_bytes(more_bytes)
        if not over:
            return
        async with self._sweep:
            before = time.time() - YOUNG_S
            paths = await self._database.run(items_table.purge_oldest, user_id, before, over)
            await self._file_thread.run(self._files.remove, paths)
        left = await self.space(user_id)
        if left.over_bytes(more_bytes):
            raise ValidationError(
                f"Your results, deleted ones too, and the files that you sent fill the "
                f"{(left.most_bytes or 0) / 1e9:.3g} GB that there are for them.",
                hint="What you deleted makes room after an hour, a file that you sent when no job "
                "has used it for 30 days.",
            )

    async def results(
        self,
        user_id: str,
        *,
        limit: int = 50,
        before: int | None = None,
        kind: Kind | None = None,
        preset: str | None = None,
        text: str = "",
        starred: bool | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> list[LibraryItem]:
        """A page of results, newest first, of 500 at most.

        ``before`` is the id of the last item of the page before. ``text``: all its words occur
        in the prompt, the preset's id, the models or the file name, in any case and any language.
        ``since`` <= created_at < ``until``.
        """
        query = items_table.ItemQuery(
            user_id=user_id,
            limit=limit,
            before=before,
            kind=kind,
            preset=preset,
            text=text,
            starred=starred,
            since=since,
            until=until,
        )
        return await self._database.run(items_table.page, query, self._folder)

    async def used_presets(self, user_id: str) -> list[str]:
        """The presets that the owner has results of, in no order."""
        return await self._database.run(items_table.presets, user_id)

    async def item(self, item_id: int, user_id: str) -> LibraryItem:
        """One result. Raises ValidationError: the owner has no such result."""
        found = await self._database.run(items_table.some, [item_id], user_id, self._folder)
        if not found:
            raise _no_item()
        return found[0]

    async def star(self, item_id: int, user_id: str, *, starred: bool = True) -> None:
        """Mark or unmark a result."""
        if not await self._database.run(items_table.star, item_id, user_id, starred=starred):
            raise _no_item()

    async def delete(self, item_ids: Iterable[int], user_id: str) -> list[int]:
        """Hide results; gives the ids that were there, for :meth:`restore`."""
        return await self._database.run(
            items_table.set_deleted, list(item_ids), user_id, time.time()
        )

    async def restore(self, item_ids: Iterable[int], user_id: str) -> list[int]:
        """Undo :meth:`delete`, as long as ``keep_deleted_s`` has not passed."""
        return await self._database.run(items_table.set_deleted, list(item_ids), user_id, None)

    async def zip(self, item_ids: Iterable[int], user_id: str) -> AsyncGenerator[bytes, None]:
        """A ZIP file of the originals under their own names, in pieces as it is made."""
        found = await self._database.run(items_table.some, list(item_ids), user_id, self._folder)
        pieces = zip_pieces((item.filename, item.path) for item in found)
        try:
            while piece := await self._file_thread.run(next, pieces, b""):
                yield piece
        finally:
            await self._file_thread.run(pieces.close)

    async def _purge_for_ever(self) -> None:
        while True:
            try:
                async with self._sweep:
                    before = time.time() - self._keep_deleted_s
                    paths = await self._database.run(items_table.purge, before)
                    await self._file_thread.run(self._files.remove, paths)
                for user_id in await self._database.run(jobs_table.owners):
                    if self._limit_bytes(user_id) is not None:
                        await self._database.run(
                            jobs_table.forget_fruitless, user_id, keep=KEPT_FRUITLESS
                        )
                waiting = await self._database.run(jobs_table.unfinished)
                await self._file_thread.run(self.inputs.purge, [job.graph for job in waiting])
                await self._database.run(
                    quota.drop_uploads,
                    await self._file_thread.run(self.inputs.names),
                    created_before=time.time() - YOUNG_S,
                )
            except (StorageError, OSError) as error:
                logger.warning("Deleted results could not be purged: %s", error)
            await asyncio.sleep(_PURGE_S)


@asynccontextmanager
async def open_library(folder: Path) -> AsyncIterator[Library]:
    """The library of a data folder that no app has open.

    Raises:
        StorageError: the folder cannot be used, or an app is using it.
    """
    database = Database(folder)
    await database.open()
    library = Library(database, folder)
    try:
        await library.prepare()
        yield library
    finally:
        await library.close_files()
        await database.close()


def _no_item() -> ValidationError:
    return ValidationError("There is no such result.", hint="It may have been deleted.")
