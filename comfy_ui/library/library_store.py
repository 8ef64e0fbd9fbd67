"""The store of results and uploads.

:class:`LibraryStore` is everything that the library asks about stored rows.
:class:`.sqlite_library_store.SqliteLibraryStore` implements it. Results are added by
:class:`~comfy_ui.storage.job_store.JobStore` in the transaction that finishes their job, so both
stores of an app use one database. Another implementation has to pass
``tests/library/test_library_store_contract.py``.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, Protocol

from ..storage.quota import StorageUsage
from ..storage.records import ItemQuery, Label, LabelKind, LibraryItem


class LibraryStore(Protocol):
    """Durable rows of results and uploads. Each method is one transaction.

    Paths are relative to the data folder. Times are in seconds since the epoch. Every method raises
    StorageError if the store fails; nothing has changed then.
    """

    @property
    def recovery(self) -> str:
        """What was recovered when a broken store was opened, or an empty string."""

    # Results

    async def page(self, query: ItemQuery) -> list[LibraryItem]:
        """Return the results that match, in the order of the query; those of a job in order."""

    async def deleted_page(
        self, user_id: str, *, limit: int, before: tuple[float, int] | None = None
    ) -> list[LibraryItem]:
        """Return results that can be restored, the latest deletion first.

        ``before`` is the ``deleted_at`` and id of the last one of the previous page.
        """

    async def items(
        self, item_ids: Iterable[int], user_id: str, *, deleted: bool = False
    ) -> list[LibraryItem]:
        """Return the user's results among ``item_ids``, in that order.

        ``deleted``: those that can be restored, instead of those that are not deleted.
        """

    async def presets(self, user_id: str) -> list[str]:
        """Return every preset that the user has results of."""

    async def user_of(self, item_id: int) -> str | None:
        """Return the ``user_id`` of a result; None if it is deleted or unknown."""

    async def paths(self) -> set[str]:
        """Return the path of every result, deleted or not."""

    async def star(self, item_id: int, user_id: str, *, starred: bool) -> bool:
        """Star or unstar a result; False if the user has no such result."""

    async def rate(self, item_ids: Iterable[int], user_id: str, rating: int) -> list[int]:
        """Rate results with 0 to 5 stars; return those of the ids that are the user's."""

    # Tags and collections. Names differ by more than case.

    async def add_label(
        self, item_ids: Iterable[int], user_id: str, kind: LabelKind, name: str
    ) -> list[int]:
        """Put a tag on results, or put them into a collection; return the ids that are the user's.

        Empty if the user has 1000 tags or collections already.
        """

    async def remove_label(
        self, item_ids: Iterable[int], user_id: str, kind: LabelKind, name: str
    ) -> list[int]:
        """Undo :meth:`add_label`; return the ids that are the user's."""

    async def labels(self, user_id: str, kind: LabelKind) -> list[Label]:
        """Return the user's tags or collections in alphabetical order, with their sizes."""

    async def labels_of(self, item_id: int, user_id: str) -> list[Label]:
        """Return the labels of a result in alphabetical order."""

    async def rename_label(self, user_id: str, kind: LabelKind, name: str, new_name: str) -> None:
        """Rename a label, or remove it from all results if ``new_name`` is empty.

        A label that has the new name already takes its results, too.
        """

    # Saved searches

    async def saved_searches(self, user_id: str) -> dict[str, dict[str, str]]:
        """Return the fields of the user's saved searches by name, the oldest first."""

    async def save_search(
        self, user_id: str, name: str, fields: Mapping[str, str], *, now: float
    ) -> bool:
        """Save a search, or replace the one that has the name; False if the user has 50 others."""

    async def delete_search(self, user_id: str, name: str) -> None:
        """Delete a saved search."""

    # Deletion

    async def set_deleted(
        self, item_ids: Iterable[int], user_id: str, deleted_at: float | None
    ) -> list[int]:
        """Delete (a time) or restore (None) results; return the ids that changed."""

    async def delete_forever(self, item_ids: Iterable[int], user_id: str) -> list[int]:
        """Mark deleted results for :meth:`purge`; return the ids that changed."""

    async def purge(self, *, deleted_before: float, created_before: float) -> Sequence[str]:
        """Drop results deleted before a time, and those deleted forever if created before a time.

        Returns the paths that no result uses any more.
        """

    async def purge_oldest(
        self, user_id: str, *, deleted_before: float, least_bytes: int
    ) -> Sequence[str]:
        """Drop ``least_bytes`` of results that the user deleted before a time, oldest first.

        Returns the paths that no result uses any more.
        """

    async def favorites(self, user_id: str, folder: str) -> frozenset[str]:
        """Return the files of a model folder that the user has marked."""

    async def save_favorite(self, user_id: str, folder: str, name: str, *, marked: bool) -> None:
        """Write whether the user has marked a model file; at most 1000 are kept."""

    async def children(self, item_id: int, user_id: str, *, limit: int) -> list[LibraryItem]:
        """Return results of jobs whose parent is this result, the newest first."""

    # Presets

    async def recent_presets(self, user_id: str, *, limit: int) -> list[str]:
        """Return the presets of the user's last ``limit`` finished jobs, the newest first."""

    async def preset_defaults(self, user_id: str, preset: str) -> dict[str, Any]:
        """Return the values that the user has saved as defaults; empty without any."""

    async def save_preset_defaults(
        self, user_id: str, preset: str, values: Mapping[str, Any]
    ) -> None:
        """Replace the user's defaults of a preset; empty ``values`` delete them."""

    # Uploads and quota

    async def add_upload(self, name: str, user_id: str, size_bytes: int, *, now: float) -> None:
        """Store the owner and size of an upload."""

    async def delete_upload(self, name: str) -> None:
        """Forget an upload."""

    async def delete_missing_uploads(
        self, existing: Container[str], *, created_before: float
    ) -> None:
        """Forget uploads created before a time that are not among ``existing``."""

    async def usage(self, user_id: str, limit_bytes: int | None) -> StorageUsage:
        """Return the disk space that a user occupies, with the quota ``limit_bytes``."""
