"""The ``items`` table of library items and its full-text index: schema and queries."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from ...workflow.graph import AnyGraph
from ...workflow.model_files import model_files
from ..records import PREVIEW_FOLDER, ItemQuery, Job, LibraryItem, StoredFile
from . import labels_table
from .items_page import MAX_PAGE, page_ids
from .row import Row

# A covering index: rows are read only for the page that is shown.
_PAGE_INDEX: Final = """CREATE INDEX items_page
    ON items(user_id, id, kind, preset, starred, created_at, rating, group_id)
    WHERE deleted_at IS NULL"""
_ORDERS: Final = (
    # Also lists the presets of a user with one step per preset, not one per result.
    "CREATE INDEX items_by_preset ON items(user_id, preset, id DESC) WHERE deleted_at IS NULL",
    "CREATE INDEX items_by_rating ON items(user_id, rating, id) WHERE deleted_at IS NULL",
    "CREATE INDEX items_by_largest ON items(user_id, size_bytes, id) WHERE deleted_at IS NULL",
    """CREATE INDEX items_by_name ON items(user_id, filename COLLATE NOCASE, id DESC)
    WHERE deleted_at IS NULL""",
    """CREATE INDEX items_group ON items(group_id, id)
    WHERE group_id IS NOT NULL AND deleted_at IS NULL""",
    # The trigrams of all texts: a shorter word is searched by those that it begins.
    "CREATE VIRTUAL TABLE items_terms USING fts5vocab(items_search, row)",
)

SCHEMA: Final = (
    """CREATE TABLE items (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id TEXT NOT NULL REFERENCES jobs(id),
    source TEXT NOT NULL,           -- node, type, subfolder, filename at the server
    user_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    filename TEXT NOT NULL,
    media_type TEXT NOT NULL,
    path TEXT NOT NULL,             -- relative to the data folder, so that the folder can be moved
    thumbnail TEXT,
    width INTEGER,
    height INTEGER,
    size_bytes INTEGER NOT NULL,
    created_at REAL NOT NULL,
    preset TEXT NOT NULL,
    starred INTEGER NOT NULL DEFAULT 0,
    rating INTEGER NOT NULL DEFAULT 0, -- 1 to 5 stars; 0: not rated
    deleted_at REAL,                -- 0: deleted forever, and purged when the file is not young
    group_id TEXT,                  -- of its job
    UNIQUE (job_id, source)         -- a result that is downloaded twice is stored once
)""",
    _PAGE_INDEX,
    # Case-folded prompt, preset, models and file name. Trigrams also match within words, and
    # so work in languages that are written without spaces.
    "CREATE VIRTUAL TABLE items_search USING fts5(body, tokenize = 'trigram')",
    "CREATE INDEX items_path ON items(path)",
    "CREATE INDEX items_deleted ON items(deleted_at) WHERE deleted_at IS NOT NULL",
    *_ORDERS,
)
ADD_RATING: Final = ("ALTER TABLE items ADD COLUMN rating INTEGER NOT NULL DEFAULT 0",)
ADD_ORDERS: Final = (
    "ALTER TABLE items ADD COLUMN group_id TEXT",
    """UPDATE items SET group_id = jobs.group_id FROM jobs
        WHERE jobs.id = job_id AND jobs.group_id IS NOT NULL""",
    "DROP INDEX items_page",
    _PAGE_INDEX,
    "DROP INDEX items_preset",
    *_ORDERS,
    # See search_text().
    "UPDATE items_search SET body = body || char(10) || char(10)",
)
COLUMNS: Final = "items.*, jobs.prompt, jobs.seed, jobs.vals, jobs.parent_id"
_SELECT = f"SELECT {COLUMNS} FROM items JOIN jobs ON jobs.id = job_id"  # noqa: S608 -- constant
NEW_COLUMNS: Final = (
    "id",
    "job_id",
    "source",
    "user_id",
    "kind",
    "filename",
    "media_type",
    "path",
    "thumbnail",
    "width",
    "height",
    "size_bytes",
    "created_at",
    "preset",
    "group_id",
)
_INSERT: Final = (
    f"INSERT OR IGNORE INTO items ({', '.join(NEW_COLUMNS)})"  # noqa: S608 -- constant
    f" VALUES ({', '.join('?' * len(NEW_COLUMNS))})"
)


def new_values(item_id: int, job: Job, file: StoredFile, *, at: float) -> tuple[object, ...]:
    """Return the values of :data:`NEW_COLUMNS`."""
    return (
        item_id,
        job.id,
        file.source,
        job.user_id,
        file.kind,
        file.filename,
        file.media_type,
        file.path,
        file.thumbnail,
        file.width,
        file.height,
        file.size_bytes,
        at,
        job.preset,
        job.group_id,
    )


def insert(
    connection: sqlite3.Connection, job: Job, files: Iterable[StoredFile], *, now: float
) -> None:
    """Insert results of ``job``, ignoring files that are stored already.

    They become the newest results even if the system clock was set back.
    """
    newest = connection.execute("SELECT coalesce(max(id), 0) FROM items").fetchone()[0]
    _insert(connection, job, files, at=now, first_id=max(id_at(now), newest + 1))


def insert_dated(
    connection: sqlite3.Connection, job: Job, file: StoredFile, *, made_at: float
) -> None:
    """Insert a result that was created at ``made_at``, in the order of creation."""
    item_id = id_at(made_at)
    while connection.execute("SELECT 1 FROM items WHERE id = ?", (item_id,)).fetchone():
        item_id += 1
    _insert(connection, job, [file], at=made_at, first_id=item_id)


def id_at(at: float) -> int:
    """Return the microseconds of a time as an id, so that pages are cut by the id alone.

    These ids stay exact in JavaScript for two more centuries.
    """
    return max(1, int(at * 1e6))


def _insert(
    connection: sqlite3.Connection,
    job: Job,
    files: Iterable[StoredFile],
    *,
    at: float,
    first_id: int,
) -> None:
    item_id = first_id
    for file in reversed([*files]):  # pages are by descending id: the first file comes first
        added = connection.execute(_INSERT, new_values(item_id, job, file, at=at))
        if added.rowcount:
            _index(connection, item_id, job.graph, job.prompt, job.preset, file.filename)
            item_id += 1


def rebuild_search_index(connection: sqlite3.Connection) -> None:
    """Rebuild the full-text index of all results."""
    connection.execute("DELETE FROM items_search")
    for row in connection.execute(
        "SELECT items.id, prompt, items.preset, graph, filename FROM items"
        " JOIN jobs ON jobs.id = job_id"
    ).fetchall():
        graph = json.loads(row["graph"])
        _index(connection, row["id"], graph, row["prompt"], row["preset"], row["filename"])


def _index(connection: sqlite3.Connection, item_id: int, graph: AnyGraph, *words: str) -> None:
    connection.execute(
        "INSERT INTO items_search (rowid, body) VALUES (?, ?)",
        (item_id, search_text(graph, *words)),
    )


def search_text(graph: AnyGraph, *words: str) -> str:
    """Return what a search for words looks at: the words and the model files of the graph.

    Line breaks at the end make every letter the first one of a trigram.
    """
    return "\n".join([*words, *model_files(graph), "", ""]).casefold()


def user_of(connection: sqlite3.Connection, item_id: int) -> str | None:
    """Return the ``user_id`` of a result; None if it is deleted or unknown."""
    row = connection.execute(
        "SELECT user_id FROM items WHERE id = ? AND deleted_at IS NULL", (item_id,)
    ).fetchone()
    return row["user_id"] if row else None


def paths(connection: sqlite3.Connection) -> set[str]:
    """Return the path of every stored result."""
    return {row["path"] for row in connection.execute("SELECT DISTINCT path FROM items")}


def find_by_path(connection: sqlite3.Connection, user_id: str, path: str) -> int | None:
    """Return the id of the user's result with this path, deleted or not."""
    row = connection.execute(
        "SELECT id FROM items WHERE path = ? AND user_id = ?"
        " ORDER BY deleted_at IS NOT NULL LIMIT 1",
        (path, user_id),
    ).fetchone()
    return None if row is None else int(row[0])


def has_path(connection: sqlite3.Connection, user_id: str, path: str) -> bool:
    """Whether the user has a result with this path that is not deleted."""
    row = connection.execute(
        "SELECT 1 FROM items WHERE path = ? AND user_id = ? AND deleted_at IS NULL",
        (path, user_id),
    ).fetchone()
    return row is not None


def page(connection: sqlite3.Connection, query: ItemQuery, folder: Path) -> list[LibraryItem]:
    return select(connection, page_ids(connection, query), query.user_id, folder)


def deleted_page(
    connection: sqlite3.Connection,
    user_id: str,
    folder: Path,
    *,
    limit: int,
    before: tuple[float, int] | None,
) -> list[LibraryItem]:
    """Return results that can be restored, the latest deletion first.

    ``before`` is the ``deleted_at`` and id of the last one of the previous page.
    """
    rows = connection.execute(
        f"{_SELECT} WHERE items.user_id = ? AND deleted_at > 0"
        " AND (deleted_at, items.id) < (?, ?) ORDER BY deleted_at DESC, items.id DESC LIMIT ?",
        (user_id, *(before or (math.inf, 0)), min(limit, MAX_PAGE)),
    )
    return [item_of(row, folder) for row in rows]


def presets(connection: sqlite3.Connection, user_id: str) -> list[str]:
    """Return every preset that the user has results of."""
    next_one = (
        "SELECT min(preset) FROM items INDEXED BY items_by_preset"
        " WHERE user_id = :user_id AND deleted_at IS NULL AND preset > "
    )
    rows = connection.execute(
        f"WITH RECURSIVE found(preset) AS ({next_one} '' UNION ALL"  # noqa: S608 -- constant
        f" SELECT ({next_one} found.preset) FROM found WHERE found.preset IS NOT NULL)"
        " SELECT preset FROM found WHERE preset IS NOT NULL",
        {"user_id": user_id},
    )
    return [row["preset"] for row in rows]


def for_job(connection: sqlite3.Connection, job_id: str, folder: Path) -> tuple[LibraryItem, ...]:
    """Return the results of a job in the order of its files."""
    rows = connection.execute(
        f"{_SELECT} WHERE job_id = ? AND deleted_at IS NULL ORDER BY items.id DESC", (job_id,)
    )
    return tuple(item_of(row, folder) for row in rows)


def select(
    connection: sqlite3.Connection,
    ids: Iterable[int],
    user_id: str,
    folder: Path,
    *,
    deleted: bool = False,
) -> list[LibraryItem]:
    """Return the user's results among ``ids``, in that order; ``deleted``: the deleted ones."""
    state = "deleted_at > 0" if deleted else "deleted_at IS NULL"
    items = []
    for item_id in ids:
        row = connection.execute(
            f"{_SELECT} WHERE items.id = ? AND items.user_id = ? AND {state}",
            (item_id, user_id),
        ).fetchone()
        if row:
            items.append(item_of(row, folder))
    return items


def children(
    connection: sqlite3.Connection, item_id: int, user_id: str, folder: Path, *, limit: int
) -> list[LibraryItem]:
    """Return what the user has made from a result, the newest first."""
    rows = connection.execute(
        f"{_SELECT} WHERE jobs.parent_id = ? AND items.user_id = ? AND deleted_at IS NULL"
        " ORDER BY items.id DESC LIMIT ?",
        (item_id, user_id, limit),
    )
    return [item_of(row, folder) for row in rows]


def star(connection: sqlite3.Connection, item_id: int, user_id: str, *, starred: bool) -> bool:
    changed = connection.execute(
        "UPDATE items SET starred = ? WHERE id = ? AND user_id = ? AND deleted_at IS NULL",
        (starred, item_id, user_id),
    )
    return changed.rowcount > 0


def rate(
    connection: sqlite3.Connection, ids: Iterable[int], user_id: str, rating: int
) -> list[int]:
    """Rate results with stars; return the ids that are the user's."""
    return [
        item_id
        for item_id in ids
        if connection.execute(
            "UPDATE items SET rating = ? WHERE id = ? AND user_id = ? AND deleted_at IS NULL",
            (rating, item_id, user_id),
        ).rowcount
    ]


def set_deleted(
    connection: sqlite3.Connection, ids: Iterable[int], user_id: str, deleted_at: float | None
) -> list[int]:
    """Delete (a time) or restore (None) results; return the ids that changed."""
    was = "IS NOT NULL" if deleted_at is None else "IS NULL"
    return [
        item_id
        for item_id in ids
        if connection.execute(
            f"UPDATE items SET deleted_at = ? WHERE id = ? AND user_id = ? AND deleted_at {was}",  # noqa: S608 -- one of two words
            (deleted_at, item_id, user_id),
        ).rowcount
    ]


def delete_forever(connection: sqlite3.Connection, ids: Iterable[int], user_id: str) -> list[int]:
    """Mark deleted results for the next purge; return the ids that changed."""
    return [
        item_id
        for item_id in ids
        if connection.execute(
            "UPDATE items SET deleted_at = 0 WHERE id = ? AND user_id = ? AND deleted_at > 0",
            (item_id, user_id),
        ).rowcount
    ]


def purge(
    connection: sqlite3.Connection, deleted_before: float, created_before: float
) -> Sequence[str]:
    """Drop results deleted before a time, and those deleted forever if created before a time.

    Returns the paths that no result uses any more.
    """
    rows = connection.execute(
        "DELETE FROM items WHERE deleted_at < ? AND (deleted_at > 0 OR created_at < ?)"
        " RETURNING id, path",
        (deleted_before, created_before),
    ).fetchall()
    return _unused_paths(connection, rows)


def purge_oldest(
    connection: sqlite3.Connection, user_id: str, deleted_before: float, least_bytes: int
) -> Sequence[str]:
    """Drop ``least_bytes`` of results that the user deleted before a time, oldest first.

    Returns the paths that no result uses any more.
    """
    rows: list[sqlite3.Row] = []
    for row in connection.execute(
        "SELECT id, size_bytes FROM items WHERE deleted_at < ? AND user_id = ?"
        " AND (deleted_at > 0 OR created_at < ?) ORDER BY deleted_at",
        (deleted_before, user_id, deleted_before),
    ).fetchall():
        if least_bytes <= 0:
            break
        least_bytes -= row["size_bytes"]
        rows += connection.execute(
            "DELETE FROM items WHERE id = ? RETURNING id, path", (row["id"],)
        ).fetchall()
    return _unused_paths(connection, rows)


def _unused_paths(connection: sqlite3.Connection, rows: Sequence[sqlite3.Row]) -> Sequence[str]:
    """Drop removed results from the full-text index and their labels.

    Returns the paths that no other result uses.
    """
    labels_table.delete_for_items(connection, [row["id"] for row in rows])
    connection.executemany(
        "DELETE FROM items_search WHERE rowid = ?", [(row["id"],) for row in rows]
    )
    return [
        path
        for path in {row["path"] for row in rows}
        if not connection.execute("SELECT 1 FROM items WHERE path = ?", (path,)).fetchone()
    ]


def item_of(row: Row, folder: Path) -> LibraryItem:
    """Return the result of a row of :data:`COLUMNS`. ``folder`` is the data folder."""
    return LibraryItem(
        id=row["id"],
        job_id=row["job_id"],
        user_id=row["user_id"],
        kind=row["kind"],
        filename=row["filename"],
        media_type=row["media_type"],
        path=folder / row["path"],
        thumbnail=folder / row["thumbnail"] if row["thumbnail"] else None,
        width=row["width"],
        height=row["height"],
        size_bytes=row["size_bytes"],
        created_at=row["created_at"],
        preset=row["preset"],
        prompt=row["prompt"],
        seed=None if row["seed"] is None else int(row["seed"]),
        values=json.loads(row["vals"]),
        starred=bool(row["starred"]),
        rating=row["rating"],
        is_preview=row["source"].split("/", 2)[1:2] == [PREVIEW_FOLDER],
        deleted_at=row["deleted_at"],
        parent_id=row["parent_id"],
        group_id=row["group_id"],
    )
