"""The library service: find, star, delete, restore, export and import results; keep uploads."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Container, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any, Final, TypeVar

from ..errors import StorageError, ValidationError
from ..pictures import load_formats
from ..protocol.outputs import OutputFile
from ..storage.file_stores.file_store import FileStore
from ..storage.job_store import JobStore
from ..storage.quota import StorageUsage
from ..storage.records import (
    LOCAL_USER_ID,
    PREVIEW_FOLDER,
    ItemQuery,
    ItemSort,
    Job,
    JobStatus,
    Kind,
    Label,
    LabelKind,
    LibraryItem,
    make_id,
)
from ..storage.single_thread import SingleThread
from ..worker_processes.process_pool import DECODING_VIDEO, ENCODING_VIDEO, VIDEO_WORKERS, WORKERS
from .folder_import import FolderImporter, ImportProgress, LastImport
from .library_store import LibraryStore
from .result_files import YOUNG_S, ResultFiles, zip_chunks
from .stores import OpenStores, open_sqlite_stores
from .timelines import write_peaks, write_strip, write_views
from .uploads import UploadStore
from .video_editing import cut_video

logger = logging.getLogger(__name__)

KEEP_DELETED_S: Final = 7 * 86400.0
KEPT_EMPTY_JOBS: Final = 200
"""Finished jobs without results that are kept per user with a quota, because rows take up disk
space, too. Users without a quota keep all of them."""
MAX_LABEL_LENGTH: Final = 60
_PREVIEW_SUFFIXES: Final = {"image/png": ".png", "image/webp": ".webp"}
_TIMELINES: Final[Mapping[Kind, Callable[[Path, Path], None]]] = {
    "video": write_strip,
    "audio": write_peaks,
    "3d": write_views,
}
_PURGE_INTERVAL_S: Final = 3600.0
_RECENT_JOBS: Final = 40
_CUT_INTERVAL_S: Final = 0.25
_FETCHES: Final = 8  # at a time, from a remote file store

R = TypeVar("R")
T = TypeVar("T")


class LibraryService:
    """The results and uploads of all users.

    Every method is called in one event loop. A user sees only their own results.

    Args:
        store: the store of results and uploads.
        jobs: the store of the jobs that results belong to.
        files: the store of the files of results and uploads.
        keep_deleted_s: how long a deleted result can be restored, unless its space is needed; at
            least one hour.
        limit_bytes: returns a user's quota for results, or None for no limit.

    Attributes:
        files: the result files.
        file_thread: the thread that works on them.
        uploads: the uploaded files.
    """

    def __init__(
        self,
        store: LibraryStore,
        jobs: JobStore,
        files: FileStore,
        *,
        keep_deleted_s: float = KEEP_DELETED_S,
        limit_bytes: Callable[[str], int | None] = lambda _: None,
    ) -> None:
        self.files = ResultFiles(files)
        self.file_thread = SingleThread("comfy-ui-files")
        self.uploads = UploadStore(files)
        self._store = store
        self._jobs = jobs
        self._file_store = files
        self._keep_deleted_s = max(keep_deleted_s, YOUNG_S)
        self._limit_bytes = limit_bytes
        self._fetching = ThreadPoolExecutor(_FETCHES, "comfy-ui-fetch")
        self._loading: asyncio.Future[None] | None = None
        self._last_import = LastImport(files.folder)
        self._deletion_lock = asyncio.Lock()  # against deleting a file that is being imported

    async def open(self) -> None:
        """Create the folders.

        Raises:
            StorageError: the disk refuses, or the file store cannot be used.
        """
        try:
            await self.file_thread.run(self._file_store.prepare)
        except OSError as error:
            folder = self._file_store.folder
            raise StorageError(f"The folder {folder} cannot be used: {error}.") from error
        self._loading = asyncio.ensure_future(self.file_thread.run(load_formats))

    async def check_files(self) -> None:
        """Check that results can be stored. In a thread of its own: the other one may be busy.

        Raises:
            OSError: the folder cannot be written to.
            StorageError: the file store cannot be used.
        """
        await asyncio.to_thread(self.files.check)

    async def aclose(self) -> None:
        """End the threads. May be called twice."""
        await self.file_thread.close()
        self._fetching.shutdown(wait=False)

    @property
    def notice(self) -> str:
        """A message for the administrator about a recovered database, or an empty string."""
        return self._store.recovery

    # Results

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
        group_id: str | None = None,
        folded: bool = False,
        sort: ItemSort = "newest",
        before_value: str | int | None = None,
    ) -> list[LibraryItem]:
        """Return a page of results, newest first unless ``sort`` says otherwise, 500 at most.

        Args:
            before: the id of the last item of the previous page.
            before_value: its :func:`~comfy_ui.storage.records.sort_value`.
            text: words that all occur in the prompt, preset id, models or file name, ignoring case,
                and the filters of :mod:`comfy_ui.storage.search_terms`.
            since: the earliest creation time, in seconds since the epoch.
            until: the first creation time that is too late.
            group_id: only results of the jobs of this group, and its contact sheet.
            folded: of each group only the newest result.
        """
        query = ItemQuery(
            user_id=user_id,
            limit=limit,
            before=before,
            kind=kind,
            preset=preset,
            text=text,
            starred=starred,
            since=since,
            until=until,
            group_id=group_id,
            folded=folded,
            sort=sort,
            before_value=before_value,
        )
        return await self._store.page(query)

    async def with_groups(
        self, item_ids: Iterable[int], group_ids: Iterable[str], user_id: str
    ) -> list[int]:
        """Return the ids of results and of all results of the groups, each once."""
        ids = dict.fromkeys(item_ids)
        for group_id in group_ids:
            before: int | None = None
            while page := await self.results(user_id, limit=500, before=before, group_id=group_id):
                before = page[-1].id
                ids |= dict.fromkeys(item.id for item in page)
        return [*ids]

    async def keep_preview(self, job: Job, image: bytes, media_type: str) -> LibraryItem:
        """Store the last preview of a stopped job as a result with the job's settings.

        Returns the existing result if it was kept before.

        Raises:
            ValidationError: the user has reached the storage quota.
            StorageError: the disk refuses.
        """
        await self.require_space(job.user_id)
        name = f"preview_{job.id[:8]}{_PREVIEW_SUFFIXES.get(media_type, '.jpg')}"
        file = OutputFile(name, type=PREVIEW_FOLDER, kind="image")
        try:
            stored = await self.file_thread.run(self.files.write, image, file)
        except OSError as error:
            raise StorageError(
                "The preview could not be stored.", hint="Free some disk space, then try again."
            ) from error
        items = await self._jobs.finish(job, [stored])
        return next(item for item in items if item.is_preview)

    async def used_presets(self, user_id: str) -> list[str]:
        """Return the ids of the presets that the user has results of, in no order."""
        return await self._store.presets(user_id)

    async def deleted_results(
        self, user_id: str, *, limit: int = 50, before: tuple[float, int] | None = None
    ) -> list[LibraryItem]:
        """Return a page of results that can be restored, the latest deletion first.

        ``before`` is the ``deleted_at`` and id of the last one of the previous page.
        """
        return await self._store.deleted_page(user_id, limit=limit, before=before)

    async def user_of(self, item_id: int) -> str | None:
        """Return the ``user_id`` of a result; None if it is deleted or unknown."""
        return await self._store.user_of(item_id)

    async def item(self, item_id: int, user_id: str, *, deleted: bool = False) -> LibraryItem:
        """Return one result; ``deleted``: one that can be restored.

        Raises:
            ValidationError: the user has no such result.
        """
        items = await self._store.items([item_id], user_id, deleted=deleted)
        if not items:
            raise _unknown_item()
        return items[0]

    async def star(self, item_id: int, user_id: str, *, starred: bool = True) -> None:
        """Star or unstar a result.

        Raises:
            ValidationError: the user has no such result.
        """
        if not await self._store.star(item_id, user_id, starred=starred):
            raise _unknown_item()

    async def rate(self, item_ids: Iterable[int], user_id: str, rating: int) -> list[int]:
        """Rate results with 1 to 5 stars, or 0 for none; return the ids that existed."""
        return await self._store.rate(list(item_ids), user_id, rating)

    async def label(
        self, item_ids: Iterable[int], user_id: str, kind: LabelKind, name: str, *, on: bool = True
    ) -> list[int]:
        """Tag results or put them into a collection, or undo that; return the ids that existed.

        Raises:
            ValidationError: the name is empty or too long, or the user has too many names.
        """
        name = _label_name(name)
        if not on:
            return await self._store.remove_label(list(item_ids), user_id, kind, name)
        ids = await self._store.add_label(list(item_ids), user_id, kind, name)
        if not ids:
            raise ValidationError(
                f"There is no such result, or you have too many {kind}s.",
                hint=f"Remove a {kind} that you do not use.",
            )
        return ids

    async def labels(self, user_id: str, kind: LabelKind) -> list[Label]:
        """Return the user's tags or collections in alphabetical order, with their sizes."""
        return await self._store.labels(user_id, kind)

    async def labels_of(self, item_id: int, user_id: str) -> list[Label]:
        """Return the tags and collections of a result in alphabetical order."""
        return await self._store.labels_of(item_id, user_id)

    async def rename_label(self, user_id: str, kind: LabelKind, name: str, new_name: str) -> None:
        """Rename a tag or a collection, or remove it if ``new_name`` is empty; results stay.

        Raises:
            ValidationError: the new name is too long.
        """
        await self._store.rename_label(
            user_id, kind, _label_name(name), _label_name(new_name) if new_name.strip() else ""
        )

    async def saved_searches(self, user_id: str) -> dict[str, dict[str, str]]:
        """Return the fields of the user's saved searches by name, the oldest first."""
        return await self._store.saved_searches(user_id)

    async def save_search(self, user_id: str, name: str, fields: Mapping[str, str]) -> None:
        """Save the fields of a search under a name, or replace the search that has it.

        Raises:
            ValidationError: the name is empty or too long, or the user has too many searches.
        """
        if not await self._store.save_search(user_id, _label_name(name), fields, now=time.time()):
            raise ValidationError(
                "You have too many saved searches.", hint="Delete one that you do not use."
            )

    async def delete_search(self, user_id: str, name: str) -> None:
        """Delete a saved search."""
        await self._store.delete_search(user_id, name)

    async def favorites(self, user_id: str, folder: str) -> frozenset[str]:
        """Return the files of a model folder that the user has marked."""
        return await self._store.favorites(user_id, folder)

    async def save_favorite(self, user_id: str, folder: str, name: str, *, marked: bool) -> None:
        """Mark a model file for the user, or remove the mark."""
        await self._store.save_favorite(user_id, folder, name, marked=marked)

    async def children(self, item_id: int, user_id: str, *, limit: int = 24) -> list[LibraryItem]:
        """Return what the user has made from a result, the newest first."""
        return await self._store.children(item_id, user_id, limit=limit)

    async def source_of(self, job: Job) -> Path | None:
        """Return the file of the result that a job works on; None if it is deleted or unknown."""
        if job.parent_id is None:
            return None
        items = await self._store.items([job.parent_id], job.user_id)
        return await self.fetch(items[0].path) if items else None

    async def recent_presets(self, user_id: str) -> list[str]:
        """Return the presets that the user has run lately, the newest first."""
        return await self._store.recent_presets(user_id, limit=_RECENT_JOBS)

    async def preset_defaults(self, user_id: str, preset: str) -> dict[str, Any]:
        """Return the values that the user has saved as defaults of a preset; empty without any."""
        return await self._store.preset_defaults(user_id, preset)

    async def save_preset_defaults(
        self, user_id: str, preset: str, values: Mapping[str, Any]
    ) -> None:
        """Save values as the user's defaults of a preset; empty ``values`` delete them."""
        await self._store.save_preset_defaults(user_id, preset, values)

    async def timeline(self, item: LibraryItem) -> Path | None:
        """Return a video's strip, a sound's peaks or a 3D model's turntable, made once.

        None for other files, and for those that cannot be read.
        """
        write = _TIMELINES.get(item.kind)
        if write is None:
            return None
        path = await self.fetch(self.files.timeline(item.path))
        if not path.exists():
            original = await self.fetch(item.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                await WORKERS.run(
                    write, original, path, user_id=item.user_id, limits=DECODING_VIDEO
                )
                await self._in_file_store(self.files.save_drawn, path)
            except Exception as error:  # noqa: BLE001 -- a decoder may raise anything
                logger.info("No timeline of %s: %s", item.path.name, error)
                return None
        return path

    async def fetch(self, path: Path) -> Path:
        """Return the path of a result or its thumbnail, once its file is on this machine.

        There is no file at the path if there is none anywhere.

        Raises:
            StorageError: the file store cannot be used, or its file is damaged.
        """
        return await self._in_file_store(self.files.fetch, path)

    async def link(self, item: LibraryItem) -> str | None:
        """Return a signed address that downloads a result, or None to send it through the app.

        Raises:
            StorageError: the file store cannot be used.
        """
        return await self._in_file_store(self.files.link, item)

    async def _in_file_store(self, call: Callable[[T], R], argument: T) -> R:
        """Call a method that may wait for the file store: in a thread unless it is a folder."""
        if not self._file_store.remote:
            return call(argument)
        return await asyncio.get_running_loop().run_in_executor(self._fetching, call, argument)

    async def cut(
        self, item_id: int, user_id: str, start_s: float, end_s: float
    ) -> AsyncGenerator[float | LibraryItem, None]:
        """Store a part of a video as a new result, whose parent is the video.

        Yields the progress from 0 to 1 several times a second, and at last the result. Closing the
        generator earlier cancels the work and leaves nothing behind.

        Raises:
            ValidationError: the user has no such video, nothing is in that part, or the user has
                reached the storage quota.
            StorageError: it cannot be read or stored.
        """
        progress = 0.0

        def on_progress(fraction: float) -> None:
            nonlocal progress
            progress = fraction

        cutting = asyncio.ensure_future(self._cut(item_id, user_id, start_s, end_s, on_progress))
        try:
            while not (await asyncio.wait({cutting}, timeout=_CUT_INTERVAL_S))[0]:
                yield progress
            yield cutting.result()
        finally:
            cutting.cancel()
            await asyncio.gather(cutting, return_exceptions=True)

    async def _cut(
        self,
        item_id: int,
        user_id: str,
        start_s: float,
        end_s: float,
        on_progress: Callable[[float], None],
    ) -> LibraryItem:
        item = await self.item(item_id, user_id)
        if item.kind != "video":
            raise ValidationError("Only videos can be trimmed.")
        await self.require_space(user_id)
        made_from = await self._jobs.get(item.job_id, user_id)
        if made_from is None:
            raise _unknown_item()
        part = self.files.incoming()
        try:
            await VIDEO_WORKERS.run(
                cut_video,
                *(await self.fetch(item.path), part, start_s, end_s),
                user_id=user_id,
                limits=ENCODING_VIDEO,
                on_progress=on_progress,
            )
            name = f"{PurePath(item.filename).stem}_part.mp4"
            file = OutputFile(name, node="trim", kind="video")
            stored = await self.file_thread.run(self.files.adopt, part, file)
        except OSError as error:
            raise StorageError(
                "The video could not be trimmed.", hint="Free some disk space, then try again."
            ) from error
        finally:
            part.unlink(missing_ok=True)
        job = replace(
            made_from,
            id=make_id(user_id, stored.path),
            status=JobStatus.SUCCEEDED,
            created_at=time.time(),
            started_at=None,
            finished_at=None,
            prompt_id=None,
            outputs=None,
            error=None,
            parent_id=item.id,
            webhook=None,
            group_id=None,
        )
        await self._jobs.add_imported(job, stored)
        children = await self._store.children(item.id, user_id, limit=1000)
        for child in children:
            if child.job_id == job.id:
                return child
        raise ValidationError("The library has this part already.")

    async def delete(self, item_ids: Iterable[int], user_id: str) -> list[int]:
        """Delete results; return the ids that existed, for :meth:`restore`."""
        return await self._store.set_deleted(list(item_ids), user_id, time.time())

    async def restore(self, item_ids: Iterable[int], user_id: str) -> list[int]:
        """Restore deleted results within ``keep_deleted_s``; return the restored ids."""
        return await self._store.set_deleted(list(item_ids), user_id, None)

    async def delete_forever(self, item_ids: Iterable[int], user_id: str) -> list[int]:
        """Delete results for good that :meth:`delete` has deleted; return their ids.

        A file that was created within the last hour is removed later.
        """
        ids = await self._store.delete_forever(list(item_ids), user_id)
        try:
            await self._purge_results()
        except StorageError as error:
            logger.warning("The files of deleted results are removed later: %s", error)
        return ids

    async def zip(self, item_ids: Iterable[int], user_id: str) -> AsyncGenerator[bytes, None]:
        """Yield a ZIP file of the original files in chunks, while it is created.

        :data:`.result_files.METADATA_FILE` in it has the settings of each file.
        """
        items = await self._store.items(list(item_ids), user_id)
        chunks = zip_chunks(
            (item.filename, self.files.fetch(item.path), _settings(item)) for item in items
        )
        try:
            while chunk := await self.file_thread.run(next, chunks, b""):
                yield chunk
        finally:
            await self.file_thread.run(chunks.close)

    # Import

    async def import_folder(
        self,
        folder: Path,
        user_id: str,
        *,
        on_progress: Callable[[ImportProgress], None] = lambda _: None,
        on_added: Callable[[Path], None] = lambda _: None,
        generated_only: bool = False,
        dry_run: bool = False,
    ) -> ImportProgress:
        """Import the results below a folder, see :meth:`.FolderImporter.run`.

        What it adds can be taken back by :meth:`undo_import`.

        Raises:
            ValidationError: there is no such folder.
            StorageError: the disk refuses; files that were imported before are kept.
        """
        added: list[str] = []

        def note(path: Path, stored: str) -> None:
            added.append(stored)
            on_added(path)

        try:
            return await self._importer().run(
                folder,
                user_id,
                on_progress=on_progress,
                on_added=note,
                generated_only=generated_only,
                dry_run=dry_run,
            )
        finally:
            if added and not dry_run:
                self._last_import.save(added)

    def imported_last(self) -> int:
        """Return how many files the last import added, until it is undone."""
        return len(self._last_import.paths())

    async def undo_import(self, user_id: str) -> list[int]:
        """Delete the results that the last import added; return their ids.

        They can be restored like other deleted results. The imported folder stays unchanged.

        Raises:
            ValidationError: there is no import to undo.
        """
        paths = self._last_import.paths()
        if not paths:
            raise ValidationError(
                "There is no import to undo.", hint="Only the last one can be undone, once."
            )
        deleted = await self._delete_files(paths, user_id)
        self._last_import.forget()
        return deleted

    async def _delete_files(self, paths: Container[str], user_id: str) -> list[int]:
        """Delete the results at these paths, relative to the data folder; return their ids."""
        found: list[int] = []
        before: int | None = None
        while page := await self.results(user_id, limit=500, before=before):
            before = page[-1].id
            found += [
                item.id
                for item in page
                if item.path.relative_to(self.files.folder).as_posix() in paths
            ]
        return await self.delete(found, user_id)

    async def recover_files(self) -> None:
        """Import files without a row for the local user, if the database was recovered."""
        if self._store.recovery:
            named = await self._store.paths()
            count = await self._importer().recover(named, LOCAL_USER_ID)
            logger.warning("%d results were imported again from their files.", count)

    def _importer(self) -> FolderImporter:
        return FolderImporter(
            self._jobs, self.files, self.file_thread, deletion_lock=self._deletion_lock
        )

    # Uploads and quota

    async def keep_upload(self, name: str, content: bytes, user_id: str) -> None:
        """Store an uploaded file under a new name.

        Raises:
            ValidationError: the user's total limit is reached.
            StorageError: the disk refuses.
        """
        await self._require_total(user_id, len(content))
        # The row first: a file without a row would never be counted.
        await self._store.add_upload(name, user_id, len(content), now=time.time())
        try:
            await asyncio.to_thread(self.uploads.put, name, content)
        except StorageError:
            await self._store.delete_upload(name)
            raise

    async def usage(self, user_id: str) -> StorageUsage:
        """Return the disk space that a user occupies, and their quota."""
        return await self._store.usage(user_id, self._limit_bytes(user_id))

    async def require_space(self, user_id: str) -> None:
        """Check that the user may create more results.

        Raises:
            ValidationError: the quota or the total limit is reached.
        """
        if self._limit_bytes(user_id) is None:
            return
        usage = await self.usage(user_id)
        if usage.is_full:
            raise ValidationError(
                f"Your results use all {(usage.limit_bytes or 0) / 1e9:.3g} GB of your storage.",
                hint="Delete some in the Library and try again. Nothing is deleted automatically.",
            )
        if usage.excess_bytes(0):
            await self._require_total(user_id)

    async def _require_total(self, user_id: str, more_bytes: int = 0) -> None:
        """Purge the user's oldest deleted results if the total limit would be exceeded.

        Raises:
            ValidationError: the limit is exceeded even so.
        """
        excess = (await self.usage(user_id)).excess_bytes(more_bytes)
        if not excess:
            return
        async with self._deletion_lock:
            await self.file_thread.run(self._file_store.check)
            before = time.time() - YOUNG_S
            paths = await self._store.purge_oldest(
                user_id, deleted_before=before, least_bytes=excess
            )
            await self.file_thread.run(self.files.remove, paths)
        usage = await self.usage(user_id)
        if usage.excess_bytes(more_bytes):
            raise ValidationError(
                "Your results (including deleted ones) and uploads use all "
                f"{(usage.total_limit_bytes or 0) / 1e9:.3g} GB of your storage.",
                hint="Deleted results free their space after an hour, uploads when no job has used "
                "them for 30 days.",
            )

    # Purge

    async def run_purge(self) -> None:
        """Purge deleted results, empty jobs and unused uploads every hour, until cancelled."""
        while True:
            try:
                await self._purge()
            except (StorageError, OSError) as error:
                logger.warning("Deleted results could not be purged: %s", error)
            await asyncio.sleep(_PURGE_INTERVAL_S)

    async def user_ids(self) -> list[str]:
        """Return the ids of all users with stored jobs."""
        return await self._jobs.user_ids()

    async def _purge(self) -> None:
        await self._purge_results()
        for user_id in await self._jobs.user_ids():
            if self._limit_bytes(user_id) is not None:
                await self._jobs.delete_empty(user_id, keep=KEPT_EMPTY_JOBS)
        unfinished = await self._jobs.unfinished()
        await self.file_thread.run(self.uploads.purge, [job.graph for job in unfinished])
        await self._store.delete_missing_uploads(
            await self.file_thread.run(self.uploads.names),
            created_before=time.time() - YOUNG_S,
        )

    async def _purge_results(self) -> None:
        async with self._deletion_lock:
            await self.file_thread.run(self._file_store.check)  # else files without rows stay
            now = time.time()
            paths = await self._store.purge(
                deleted_before=now - self._keep_deleted_s, created_before=now - YOUNG_S
            )
            await self.file_thread.run(self.files.remove, paths)


def _settings(item: LibraryItem) -> dict[str, Any]:
    """Return how a result was made, and how its user has rated it, for the file in a ZIP."""
    return {
        "kind": item.kind,
        "width": item.width,
        "height": item.height,
        "created_at": datetime.fromtimestamp(item.created_at, UTC).isoformat(),
        "preset": item.preset,
        "prompt": item.prompt,
        "seed": item.seed,
        "values": item.values,
        "starred": item.starred,
        "rating": item.rating,
    }


@asynccontextmanager
async def open_library(
    folder: Path, *, open_stores: OpenStores = open_sqlite_stores
) -> AsyncIterator[LibraryService]:
    """Open the library of a data folder that no app is using.

    Raises:
        StorageError: the folder cannot be used, or an app is using it.
    """
    async with open_stores(folder) as stores:
        library = LibraryService(stores.library, stores.jobs, stores.files)
        try:
            await library.open()
            yield library
        finally:
            await library.aclose()


def _label_name(text: str) -> str:
    name = " ".join(text.replace('"', "").split())
    if not 0 < len(name) <= MAX_LABEL_LENGTH:
        raise ValidationError(
            f"A name needs 1 to {MAX_LABEL_LENGTH} letters.", hint="Choose another name."
        )
    return name


def _unknown_item() -> ValidationError:
    return ValidationError("There is no such result.", hint="It may have been deleted.")
