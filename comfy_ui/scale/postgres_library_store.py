"""The library store in a PostgreSQL database."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ..storage.quota import StorageUsage
from ..storage.records import ItemQuery, Label, LabelKind, LibraryItem
from ..storage.search_terms import parse_search
from ..storage.tables import favorites_table, items_table, labels_table, saved_searches_table
from ..storage.tables.items_page import MAX_PAGE, flat, order_and_cursor
from .postgres_database import Cursor, PostgresDatabase
from .postgres_job_store import SELECT_ITEMS

_NEWEST_OF_GROUP: Final = (
    "(items.group_id IS NULL OR items.id IN (SELECT max(newer.id) FROM items AS newer"
    " WHERE newer.user_id = %s AND newer.group_id IS NOT NULL AND newer.deleted_at IS NULL"
    " GROUP BY newer.group_id))"
)
"""As :data:`.items_page.NEWEST_OF_GROUP`, but not asked for each result: 248 ms became 33 ms for
100,000 results, of which the newest 18,000 are in groups."""
_HAS_PAIR: Final = "letter_pairs(search) @@ %s::tsquery"
"""For the index: none serves LIKE with a word that is shorter than a trigram. A rare word of two
letters among 100,000 results took 300 ms and takes 1 ms; one in each result, 45 ms instead of 1."""
_COLUMNS = {
    "rating": ("rating", "DESC"),
    "largest": ("size_bytes", "DESC"),
    "preset": ('items.preset COLLATE "C"', "ASC"),
    "name": ('lower(filename) COLLATE "C"', "ASC"),
}
"""The column of each order other than that of creation."""


class PostgresLibraryStore:
    """The :class:`~comfy_ui.library.library_store.LibraryStore` of a database.

    ``folder`` is the data folder, which the paths of results are relative to.
    """

    recovery = ""  # PostgreSQL recovers its files itself

    def __init__(self, database: PostgresDatabase, folder: Path) -> None:
        self._database = database
        self._folder = folder

    # Results

    async def page(self, query: ItemQuery) -> list[LibraryItem]:
        terms = parse_search(query.text)
        words = [*terms.words, *terms.models, *terms.loras]  # models and LoRAs are in the text, too
        order, cursor = _order_and_cursor(query)
        filters: list[tuple[str, object]] = [
            ("items.user_id = %s", query.user_id),
            (_NEWEST_OF_GROUP, query.user_id if query.folded else None),
            cursor,
            *(("kind = %s", kind) for kind in (query.kind, terms.kind)),
            ("items.preset = %s", query.preset),
            *(("starred = %s", starred) for starred in (query.starred, terms.starred)),
            *(("items.created_at >= %s", since) for since in (query.since, terms.since)),
            *(("items.created_at < %s", until) for until in (query.until, terms.until)),
            ("rating BETWEEN %s AND %s", terms.stars),
            *((_LABELED, (query.user_id, *label)) for label in terms.labels),
            *(("lower(items.preset) LIKE %s", _containing(preset)) for preset in terms.presets),
            *(("search LIKE %s", _containing(word)) for word in words),
            *((_HAS_PAIR, _pair(word)) for word in words if len(word) <= 2 and word[0] > " "),
            *(("search NOT LIKE %s", _containing(word)) for word in terms.without),
            *(("jobs.graph ~* %s", _input_pattern("name", name)) for name in terms.models),
            *(("jobs.graph ~* %s", _input_pattern("lora", name)) for name in terms.loras),
            ("jobs.seed = %s", None if terms.seed is None else str(terms.seed)),
            ("jobs.group_id = %s", query.group_id),
        ]
        conditions = [(condition, value) for condition, value in filters if value is not None]
        where = " AND ".join(["deleted_at IS NULL", *(text for text, _ in conditions)])
        return await self._items(
            f"{SELECT_ITEMS} WHERE {where} ORDER BY {order} LIMIT %s",
            (
                *flat(value for _, value in conditions),
                max(0, min(query.limit, MAX_PAGE)),
            ),
        )

    async def deleted_page(
        self, user_id: str, *, limit: int, before: tuple[float, int] | None = None
    ) -> list[LibraryItem]:
        return await self._items(
            f"{SELECT_ITEMS} WHERE items.user_id = %s AND deleted_at > 0"
            " AND (deleted_at, items.id) < (%s::float8, %s::bigint)"
            " ORDER BY deleted_at DESC, items.id DESC LIMIT %s",
            (user_id, *(before or (math.inf, 0)), max(0, min(limit, MAX_PAGE))),
        )

    async def items(
        self, item_ids: Iterable[int], user_id: str, *, deleted: bool = False
    ) -> list[LibraryItem]:
        ids = [*item_ids]
        state = "deleted_at > 0" if deleted else "deleted_at IS NULL"
        items = await self._items(
            f"{SELECT_ITEMS} WHERE items.id = ANY(%s) AND items.user_id = %s AND {state}",
            (ids, user_id),
        )
        by_id = {item.id: item for item in items}
        return [by_id[item_id] for item_id in ids if item_id in by_id]

    async def presets(self, user_id: str) -> list[str]:
        next_one = (
            "SELECT min(preset) FROM items WHERE user_id = %(user)s AND deleted_at IS NULL"
            " AND preset > "
        )
        rows = await self._database.fetch(
            f"WITH RECURSIVE names(preset) AS (({next_one} '') UNION ALL"  # noqa: S608 -- constant
            f" SELECT ({next_one} names.preset) FROM names WHERE names.preset IS NOT NULL)"
            " SELECT preset FROM names WHERE preset IS NOT NULL",
            {"user": user_id},
        )
        return [row["preset"] for row in rows]

    async def user_of(self, item_id: int) -> str | None:
        rows = await self._database.fetch(
            "SELECT user_id FROM items WHERE id = %s AND deleted_at IS NULL", (item_id,)
        )
        return rows[0]["user_id"] if rows else None

    async def paths(self) -> set[str]:
        return {
            row["path"] for row in await self._database.fetch("SELECT DISTINCT path FROM items")
        }

    async def star(self, item_id: int, user_id: str, *, starred: bool) -> bool:
        changed = await self._database.execute(
            "UPDATE items SET starred = %s WHERE id = %s AND user_id = %s AND deleted_at IS NULL",
            (starred, item_id, user_id),
        )
        return changed > 0

    async def rate(self, item_ids: Iterable[int], user_id: str, rating: int) -> list[int]:
        return await self._changed("rating", "deleted_at IS NULL", item_ids, user_id, rating)

    async def add_label(
        self, item_ids: Iterable[int], user_id: str, kind: LabelKind, name: str
    ) -> list[int]:
        label = user_id, kind, name.casefold()

        async def write(cursor: Cursor) -> list[int]:
            await cursor.execute(
                "SELECT name FROM labels WHERE user_id = %s AND kind = %s AND folded = %s LIMIT 1",
                label,
            )
            known = await cursor.fetchone()
            if known is None:
                await cursor.execute(
                    "SELECT count(DISTINCT folded) AS count FROM labels"
                    " WHERE user_id = %s AND kind = %s",
                    (user_id, kind),
                )
                row = await cursor.fetchone()
                if row and row["count"] >= labels_table.MOST_NAMES:
                    return []
            ids = await _own(cursor, item_ids, user_id)
            await cursor.execute(
                "INSERT INTO labels (user_id, kind, folded, name, item_id)"
                " SELECT %s, %s, %s, %s, unnest(%s::bigint[]) ON CONFLICT DO NOTHING",
                (*label, known["name"] if known else name, ids),
            )
            return ids

        return await self._database.run(write)

    async def remove_label(
        self, item_ids: Iterable[int], user_id: str, kind: LabelKind, name: str
    ) -> list[int]:
        async def write(cursor: Cursor) -> list[int]:
            ids = await _own(cursor, item_ids, user_id)
            await cursor.execute(
                "DELETE FROM labels WHERE user_id = %s AND kind = %s AND folded = %s"
                " AND item_id = ANY(%s)",
                (user_id, kind, name.casefold(), ids),
            )
            return ids

        return await self._database.run(write)

    async def labels(self, user_id: str, kind: LabelKind) -> list[Label]:
        rows = await self._database.fetch(
            "SELECT min(name) AS name, count(*) AS size FROM labels"
            " JOIN items ON items.id = item_id WHERE labels.user_id = %s AND labels.kind = %s"
            ' AND deleted_at IS NULL GROUP BY folded ORDER BY folded COLLATE "C"',
            (user_id, kind),
        )
        return [Label(kind, row["name"], row["size"]) for row in rows]

    async def labels_of(self, item_id: int, user_id: str) -> list[Label]:
        rows = await self._database.fetch(
            "SELECT kind, name FROM labels WHERE item_id = %s AND user_id = %s"
            ' ORDER BY folded COLLATE "C"',
            (item_id, user_id),
        )
        return [Label(row["kind"], row["name"]) for row in rows]

    async def rename_label(self, user_id: str, kind: LabelKind, name: str, new_name: str) -> None:
        async def write(cursor: Cursor) -> None:
            await cursor.execute(
                "DELETE FROM labels WHERE user_id = %s AND kind = %s AND folded = %s"
                " RETURNING item_id",
                (user_id, kind, name.casefold()),
            )
            ids = [row["item_id"] for row in await cursor.fetchall()]
            if not new_name:
                return
            renamed = user_id, kind, new_name.casefold()
            await cursor.execute(
                "INSERT INTO labels (user_id, kind, folded, name, item_id)"
                " SELECT %s, %s, %s, %s, unnest(%s::bigint[]) ON CONFLICT DO NOTHING",
                (*renamed, new_name, ids),
            )
            await cursor.execute(
                "UPDATE labels SET name = %s WHERE user_id = %s AND kind = %s AND folded = %s",
                (new_name, *renamed),
            )

        await self._database.run(write)

    async def saved_searches(self, user_id: str) -> dict[str, dict[str, str]]:
        rows = await self._database.fetch(
            "SELECT name, fields FROM saved_searches WHERE user_id = %s ORDER BY saved_at",
            (user_id,),
        )
        return {row["name"]: json.loads(row["fields"]) for row in rows}

    async def save_search(
        self, user_id: str, name: str, fields: Mapping[str, str], *, now: float
    ) -> bool:
        saved = await self._database.execute(
            "INSERT INTO saved_searches (user_id, name, fields, saved_at) SELECT %s, %s, %s, %s"
            " WHERE (SELECT count(*) FROM saved_searches WHERE user_id = %s AND name <> %s) < %s"
            " ON CONFLICT (user_id, name) DO UPDATE SET fields = excluded.fields",
            (user_id, name, json.dumps(fields), now, user_id, name, saved_searches_table.MOST),
        )
        return saved > 0

    async def delete_search(self, user_id: str, name: str) -> None:
        await self._database.execute(
            "DELETE FROM saved_searches WHERE user_id = %s AND name = %s", (user_id, name)
        )

    async def set_deleted(
        self, item_ids: Iterable[int], user_id: str, deleted_at: float | None
    ) -> list[int]:
        was = "IS NOT NULL" if deleted_at is None else "IS NULL"
        return await self._changed("deleted_at", f"deleted_at {was}", item_ids, user_id, deleted_at)

    async def delete_forever(self, item_ids: Iterable[int], user_id: str) -> list[int]:
        return await self._changed("deleted_at", "deleted_at > 0", item_ids, user_id, 0.0)

    async def _changed(
        self,
        column: str,
        condition: str,
        item_ids: Iterable[int],
        user_id: str,
        value: float | None,
    ) -> list[int]:
        """Set a column of the user's results that meet a condition; return their ids."""
        ids = [*item_ids]
        rows = await self._database.fetch(
            f"UPDATE items SET {column} = %s WHERE id = ANY(%s) AND user_id = %s"  # noqa: S608 -- constants
            f" AND {condition} RETURNING id",
            (value, ids, user_id),
        )
        changed = {row["id"] for row in rows}
        return [item_id for item_id in ids if item_id in changed]

    async def purge(self, *, deleted_before: float, created_before: float) -> Sequence[str]:
        async def write(cursor: Cursor) -> Sequence[str]:
            await cursor.execute(
                "DELETE FROM items WHERE deleted_at < %s AND (deleted_at > 0 OR created_at < %s)"
                " RETURNING path",
                (deleted_before, created_before),
            )
            return await _unused(cursor, {row["path"] for row in await cursor.fetchall()})

        return await self._database.run(write)

    async def purge_oldest(
        self, user_id: str, *, deleted_before: float, least_bytes: int
    ) -> Sequence[str]:
        async def write(cursor: Cursor) -> Sequence[str]:
            await cursor.execute(
                "DELETE FROM items WHERE id IN (SELECT id FROM (SELECT id,"
                " sum(size_bytes) OVER (ORDER BY deleted_at, id) - size_bytes AS before_bytes"
                " FROM items WHERE user_id = %s AND deleted_at < %s"
                " AND (deleted_at > 0 OR created_at < %s)) AS oldest"
                " WHERE before_bytes < %s) RETURNING path",
                (user_id, deleted_before, deleted_before, least_bytes),
            )
            return await _unused(cursor, {row["path"] for row in await cursor.fetchall()})

        return await self._database.run(write)

    async def favorites(self, user_id: str, folder: str) -> frozenset[str]:
        rows = await self._database.fetch(
            "SELECT name FROM favorites WHERE user_id = %s AND folder = %s", (user_id, folder)
        )
        return frozenset(row["name"] for row in rows)

    async def save_favorite(self, user_id: str, folder: str, name: str, *, marked: bool) -> None:
        if marked:
            await self._database.execute(
                "INSERT INTO favorites (user_id, folder, name) SELECT %s, %s, %s"
                " WHERE (SELECT count(*) FROM favorites WHERE user_id = %s) < %s"
                " ON CONFLICT DO NOTHING",
                (user_id, folder, name, user_id, favorites_table.MOST),
            )
        else:
            await self._database.execute(
                "DELETE FROM favorites WHERE user_id = %s AND folder = %s AND name = %s",
                (user_id, folder, name),
            )

    async def children(self, item_id: int, user_id: str, *, limit: int) -> list[LibraryItem]:
        return await self._items(
            f"{SELECT_ITEMS} WHERE jobs.parent_id = %s AND items.user_id = %s"
            " AND deleted_at IS NULL ORDER BY items.id DESC LIMIT %s",
            (item_id, user_id, limit),
        )

    # Presets

    async def recent_presets(self, user_id: str, *, limit: int) -> list[str]:
        rows = await self._database.fetch(
            "SELECT preset FROM jobs WHERE user_id = %s AND finished_at IS NOT NULL"
            " ORDER BY finished_at DESC LIMIT %s",
            (user_id, limit),
        )
        return [*dict.fromkeys(row["preset"] for row in rows)]

    async def preset_defaults(self, user_id: str, preset: str) -> dict[str, Any]:
        rows = await self._database.fetch(
            "SELECT vals FROM preset_defaults WHERE user_id = %s AND preset = %s",
            (user_id, preset),
        )
        values: dict[str, Any] = json.loads(rows[0]["vals"]) if rows else {}
        return values

    async def save_preset_defaults(
        self, user_id: str, preset: str, values: Mapping[str, Any]
    ) -> None:
        if values:
            await self._database.execute(
                "INSERT INTO preset_defaults (user_id, preset, vals) VALUES (%s, %s, %s)"
                " ON CONFLICT (user_id, preset) DO UPDATE SET vals = excluded.vals",
                (user_id, preset, json.dumps(values)),
            )
        else:
            await self._database.execute(
                "DELETE FROM preset_defaults WHERE user_id = %s AND preset = %s",
                (user_id, preset),
            )

    # Uploads and quota

    async def add_upload(self, name: str, user_id: str, size_bytes: int, *, now: float) -> None:
        await self._database.execute(
            "INSERT INTO uploads (name, user_id, size_bytes, created_at) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (name) DO NOTHING",
            (name, user_id, size_bytes, now),
        )

    async def delete_upload(self, name: str) -> None:
        await self._database.execute("DELETE FROM uploads WHERE name = %s", (name,))

    async def delete_missing_uploads(
        self, existing: Container[str], *, created_before: float
    ) -> None:
        async def write(cursor: Cursor) -> None:
            await cursor.execute(
                "SELECT name FROM uploads WHERE created_at < %s", (created_before,)
            )
            names = [row["name"] for row in await cursor.fetchall()]
            await cursor.execute(
                "DELETE FROM uploads WHERE name = ANY(%s)",
                ([name for name in names if name not in existing],),
            )

        await self._database.run(write)

    async def usage(self, user_id: str, limit_bytes: int | None) -> StorageUsage:
        rows = await self._database.fetch(
            "SELECT kept_bytes, deleted_bytes, upload_bytes FROM storage_usage WHERE user_id = %s",
            (user_id,),
        )
        results, deleted, uploads = rows[0].values() if rows else (0, 0, 0)
        return StorageUsage(results, deleted, uploads, limit_bytes)

    async def _items(self, statement: str, values: Sequence[object]) -> list[LibraryItem]:
        return [
            items_table.item_of(row, self._folder)
            for row in await self._database.fetch(statement, values)
        ]


def _order_and_cursor(query: ItemQuery) -> tuple[str, tuple[str, object]]:
    """Return the order of a page, and the condition of what follows the page before it."""
    match query.sort:
        case "newest":
            return "items.id DESC", ("items.id < %s", query.before)
        case "oldest":
            return "items.id", ("items.id > %s", query.before)
        case "name":
            value = "lower(%s::text)"
        case _:
            value = "%s"
    column, direction = _COLUMNS[query.sort]
    order, cursor, values = order_and_cursor(query, column, direction, mark="%s", value=value)
    return order, (cursor, values or None)


def _input_pattern(key: str, text: str) -> str:
    """Return the pattern of a graph's JSON in which an input with such a name contains a text."""
    value = rf'"(?:[^"\\]|\\.)*{re.escape(json.dumps(text)[1:-1])}'
    return f'"[^"]*{key}[^"]*": *{value}'


_LABELED = (
    "items.id IN (SELECT item_id FROM labels"
    " WHERE labels.user_id = %s AND labels.kind = %s AND folded = %s)"
)


async def _own(cursor: Cursor, item_ids: Iterable[int], user_id: str) -> list[int]:
    """Return those of the ids that are results of the user."""
    ids = [*item_ids]
    await cursor.execute(
        "SELECT id FROM items WHERE id = ANY(%s) AND user_id = %s AND deleted_at IS NULL",
        (ids, user_id),
    )
    own = {row["id"] for row in await cursor.fetchall()}
    return [item_id for item_id in ids if item_id in own]


def _containing(word: str) -> str:
    """Return the LIKE pattern of texts that contain a word."""
    escaped = word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _pair(word: str) -> str:
    """Return the tsquery of a word of one or two letters."""
    escaped = word.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'{':*' if len(word) == 1 else ''}"


async def _unused(cursor: Cursor, paths: set[str]) -> Sequence[str]:
    """Return the paths that no result uses."""
    await cursor.execute("SELECT DISTINCT path FROM items WHERE path = ANY(%s)", ([*paths],))
    return sorted(paths - {row["path"] for row in await cursor.fetchall()})
