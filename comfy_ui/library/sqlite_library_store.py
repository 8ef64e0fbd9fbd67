"""The library store in the SQLite database of this process."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..storage import quota
from ..storage.database import Database
from ..storage.quota import StorageUsage
from ..storage.records import ItemQuery, Label, LabelKind, LibraryItem
from ..storage.tables import (
    favorites_table,
    items_table,
    jobs_table,
    labels_table,
    preset_defaults_table,
    saved_searches_table,
    uploads_table,
)


class SqliteLibraryStore:
    """The :class:`.library_store.LibraryStore` of one data folder.

    ``folder`` is the data folder, which the paths of results are relative to.
    """

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._folder = folder

    @property
    def recovery(self) -> str:
        recovered = self._database.recovered
        return str(recovered) if recovered else ""

    async def page(self, query: ItemQuery) -> list[LibraryItem]:
        return await self._database.run(items_table.page, query, self._folder)

    async def deleted_page(
        self, user_id: str, *, limit: int, before: tuple[float, int] | None = None
    ) -> list[LibraryItem]:
        return await self._database.run(
            items_table.deleted_page, user_id, self._folder, limit=limit, before=before
        )

    async def items(
        self, item_ids: Iterable[int], user_id: str, *, deleted: bool = False
    ) -> list[LibraryItem]:
        return await self._database.run(
            items_table.select, item_ids, user_id, self._folder, deleted=deleted
        )

    async def presets(self, user_id: str) -> list[str]:
        return await self._database.run(items_table.presets, user_id)

    async def user_of(self, item_id: int) -> str | None:
        return await self._database.run(items_table.user_of, item_id)

    async def paths(self) -> set[str]:
        return await self._database.run(items_table.paths)

    async def star(self, item_id: int, user_id: str, *, starred: bool) -> bool:
        return await self._database.run(items_table.star, item_id, user_id, starred=starred)

    async def rate(self, item_ids: Iterable[int], user_id: str, rating: int) -> list[int]:
        return await self._database.run(items_table.rate, item_ids, user_id, rating)

    async def add_label(
        self, item_ids: Iterable[int], user_id: str, kind: LabelKind, name: str
    ) -> list[int]:
        return await self._database.run(labels_table.add, item_ids, user_id, kind, name)

    async def remove_label(
        self, item_ids: Iterable[int], user_id: str, kind: LabelKind, name: str
    ) -> list[int]:
        return await self._database.run(labels_table.remove, item_ids, user_id, kind, name)

    async def labels(self, user_id: str, kind: LabelKind) -> list[Label]:
        return await self._database.run(labels_table.names, user_id, kind)

    async def labels_of(self, item_id: int, user_id: str) -> list[Label]:
        return await self._database.run(labels_table.of_item, item_id, user_id)

    async def rename_label(self, user_id: str, kind: LabelKind, name: str, new_name: str) -> None:
        await self._database.run(labels_table.rename, user_id, kind, name, new_name)

    async def saved_searches(self, user_id: str) -> dict[str, dict[str, str]]:
        return await self._database.run(saved_searches_table.get, user_id)

    async def save_search(
        self, user_id: str, name: str, fields: Mapping[str, str], *, now: float
    ) -> bool:
        return await self._database.run(saved_searches_table.save, user_id, name, fields, now=now)

    async def delete_search(self, user_id: str, name: str) -> None:
        await self._database.run(saved_searches_table.delete, user_id, name)

    async def set_deleted(
        self, item_ids: Iterable[int], user_id: str, deleted_at: float | None
    ) -> list[int]:
        return await self._database.run(items_table.set_deleted, item_ids, user_id, deleted_at)

    async def delete_forever(self, item_ids: Iterable[int], user_id: str) -> list[int]:
        return await self._database.run(items_table.delete_forever, item_ids, user_id)

    async def purge(self, *, deleted_before: float, created_before: float) -> Sequence[str]:
        return await self._database.run(items_table.purge, deleted_before, created_before)

    async def purge_oldest(
        self, user_id: str, *, deleted_before: float, least_bytes: int
    ) -> Sequence[str]:
        return await self._database.run(
            items_table.purge_oldest, user_id, deleted_before, least_bytes
        )

    async def favorites(self, user_id: str, folder: str) -> frozenset[str]:
        return await self._database.run(favorites_table.names, user_id, folder)

    async def save_favorite(self, user_id: str, folder: str, name: str, *, marked: bool) -> None:
        write = favorites_table.insert if marked else favorites_table.delete
        await self._database.run(write, user_id, folder, name)

    async def children(self, item_id: int, user_id: str, *, limit: int) -> list[LibraryItem]:
        return await self._database.run(
            items_table.children, item_id, user_id, self._folder, limit=limit
        )

    async def recent_presets(self, user_id: str, *, limit: int) -> list[str]:
        return await self._database.run(jobs_table.recent_presets, user_id, limit)

    async def preset_defaults(self, user_id: str, preset: str) -> dict[str, Any]:
        return await self._database.run(preset_defaults_table.get, user_id, preset)

    async def save_preset_defaults(
        self, user_id: str, preset: str, values: Mapping[str, Any]
    ) -> None:
        await self._database.run(preset_defaults_table.save, user_id, preset, values)

    async def add_upload(self, name: str, user_id: str, size_bytes: int, *, now: float) -> None:
        await self._database.run(uploads_table.insert, name, user_id, size_bytes, now=now)

    async def delete_upload(self, name: str) -> None:
        await self._database.run(uploads_table.delete, name)

    async def delete_missing_uploads(
        self, existing: Container[str], *, created_before: float
    ) -> None:
        await self._database.run(
            uploads_table.delete_missing, existing, created_before=created_before
        )

    async def usage(self, user_id: str, limit_bytes: int | None) -> StorageUsage:
        return await self._database.run(quota.usage_of, user_id, limit_bytes)
