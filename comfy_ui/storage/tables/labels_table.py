"""The ``labels`` table: the tags and collections that users have put results into."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final

from ..records import Label, LabelKind

SCHEMA: Final = (
    """CREATE TABLE labels (
    user_id TEXT NOT NULL,
    kind TEXT NOT NULL,             -- tag or collection
    folded TEXT NOT NULL,           -- the name in lower case, by which it is found
    name TEXT NOT NULL,
    item_id INTEGER NOT NULL,
    PRIMARY KEY (user_id, kind, folded, item_id)
)""",
    "CREATE INDEX labels_item ON labels(item_id)",
)

MOST_NAMES: Final = 1000
"""The largest number of tags, and of collections, of a user."""


def add(
    connection: sqlite3.Connection,
    item_ids: Iterable[int],
    user_id: str,
    kind: LabelKind,
    name: str,
) -> list[int]:
    """Put a label on results; return those of the ids that are the user's."""
    folded = name.casefold()
    known = connection.execute(
        "SELECT name FROM labels WHERE user_id = ? AND kind = ? AND folded = ? LIMIT 1",
        (user_id, kind, folded),
    ).fetchone()
    if known is None and len(names(connection, user_id, kind)) >= MOST_NAMES:
        return []
    name = known["name"] if known else name  # as it was typed first
    ids = _own(connection, item_ids, user_id)
    connection.executemany(
        "INSERT OR IGNORE INTO labels (user_id, kind, folded, name, item_id)"
        " VALUES (?, ?, ?, ?, ?)",
        [(user_id, kind, folded, name, item_id) for item_id in ids],
    )
    return ids


def remove(
    connection: sqlite3.Connection,
    item_ids: Iterable[int],
    user_id: str,
    kind: LabelKind,
    name: str,
) -> list[int]:
    """Take a label off results; return those of the ids that are the user's."""
    ids = _own(connection, item_ids, user_id)
    connection.executemany(
        "DELETE FROM labels WHERE user_id = ? AND kind = ? AND folded = ? AND item_id = ?",
        [(user_id, kind, name.casefold(), item_id) for item_id in ids],
    )
    return ids


def names(connection: sqlite3.Connection, user_id: str, kind: LabelKind) -> list[Label]:
    """Return the user's tags or collections in alphabetical order, with their sizes."""
    rows = connection.execute(
        "SELECT name, count(*) AS size FROM labels JOIN items ON items.id = item_id"
        " WHERE labels.user_id = ? AND labels.kind = ? AND deleted_at IS NULL"
        " GROUP BY folded ORDER BY folded",
        (user_id, kind),
    )
    return [Label(kind, row["name"], row["size"]) for row in rows]


def of_item(connection: sqlite3.Connection, item_id: int, user_id: str) -> list[Label]:
    """Return the labels of a result in alphabetical order."""
    rows = connection.execute(
        "SELECT kind, name FROM labels WHERE item_id = ? AND user_id = ? ORDER BY folded",
        (item_id, user_id),
    )
    return [Label(row["kind"], row["name"]) for row in rows]


def rename(
    connection: sqlite3.Connection, user_id: str, kind: LabelKind, name: str, new_name: str
) -> None:
    """Rename a label; one that has the new name already takes its results, too.

    An empty ``new_name`` removes it from all results.
    """
    if new_name:
        connection.execute(
            "UPDATE OR REPLACE labels SET folded = :new_folded WHERE user_id = :user_id"
            " AND kind = :kind AND folded = :folded",
            {
                "new_folded": new_name.casefold(),
                "user_id": user_id,
                "kind": kind,
                "folded": name.casefold(),
            },
        )
        connection.execute(
            "UPDATE labels SET name = ? WHERE user_id = ? AND kind = ? AND folded = ?",
            (new_name, user_id, kind, new_name.casefold()),
        )
    else:
        connection.execute(
            "DELETE FROM labels WHERE user_id = ? AND kind = ? AND folded = ?",
            (user_id, kind, name.casefold()),
        )


def delete_for_items(connection: sqlite3.Connection, item_ids: Iterable[int]) -> None:
    """Delete the labels of results that are dropped."""
    connection.executemany(
        "DELETE FROM labels WHERE item_id = ?", [(item_id,) for item_id in item_ids]
    )


def _own(connection: sqlite3.Connection, item_ids: Iterable[int], user_id: str) -> list[int]:
    return [
        item_id
        for item_id in item_ids
        if connection.execute(
            "SELECT 1 FROM items WHERE id = ? AND user_id = ? AND deleted_at IS NULL",
            (item_id, user_id),
        ).fetchone()
    ]
