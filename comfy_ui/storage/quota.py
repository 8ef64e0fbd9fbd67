"""What each owner has on the disk: the tables of uploads and of sums.

The sums are kept by triggers in the database itself, so whatever enters, hides, brings back or
removes a row changes them in the same transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Container
from dataclasses import dataclass
from typing import Final

UPLOADS: Final = """CREATE TABLE uploads (
    name TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    created_at REAL NOT NULL
)"""

SPACE: Final = """CREATE TABLE space (
    user_id TEXT PRIMARY KEY,
    kept_bytes INTEGER NOT NULL DEFAULT 0,
    deleted_bytes INTEGER NOT NULL DEFAULT 0,   -- results that can still be restored
    sent_bytes INTEGER NOT NULL DEFAULT 0
)"""

_OF_ITEM: Final = (
    "kept_bytes = kept_bytes {sign} iif({row}.deleted_at IS NULL, {row}.size_bytes, 0),"
    " deleted_bytes = deleted_bytes {sign} iif({row}.deleted_at IS NULL, 0, {row}.size_bytes)"
)
_OF_UPLOAD: Final = "sent_bytes = sent_bytes {sign} {row}.size_bytes"


def _trigger(name: str, event: str, change: str, *rows: str) -> str:
    """Takes the ``OLD`` row from its owner's sums and adds the ``NEW`` one to its owner's."""
    steps = []
    for row in rows:
        changed = change.format(row=row, sign="-" if row == "OLD" else "+")
        steps += [
            f"INSERT OR IGNORE INTO space (user_id) VALUES ({row}.user_id);",  # noqa: S608 -- constants
            f"UPDATE space SET {changed} WHERE user_id = {row}.user_id;",  # noqa: S608
        ]
    return f"CREATE TRIGGER {name} AFTER {event} BEGIN {' '.join(steps)} END"


TRIGGERS: Final = (
    _trigger("space_item_in", "INSERT ON items", _OF_ITEM, "NEW"),
    _trigger("space_item_out", "DELETE ON items", _OF_ITEM, "OLD"),
    _trigger(
        "space_item_changed",
        "UPDATE OF user_id, size_bytes, deleted_at ON items",
        _OF_ITEM,
        "OLD",
        "NEW",
    ),
    _trigger("space_upload_in", "INSERT ON uploads", _OF_UPLOAD, "NEW"),
    _trigger("space_upload_out", "DELETE ON uploads", _OF_UPLOAD, "OLD"),
)

FILL: Final = """INSERT INTO space (user_id, kept_bytes, deleted_bytes)
    SELECT user_id, sum(iif(deleted_at IS NULL, size_bytes, 0)),
        sum(iif(deleted_at IS NULL, 0, size_bytes)) FROM items GROUP BY user_id"""


@dataclass(frozen=True, slots=True)
class StorageUsage:
    """What somebody has on the disk, in bytes.

    ``used_bytes``: results that they keep. ``deleted_bytes``: results that can still be restored.
    ``sent_bytes``: files for the inputs of jobs. ``limit_bytes``: how much of results they may
    keep, None: as much as the disk holds.
    """

    used_bytes: int = 0
    deleted_bytes: int = 0
    sent_bytes: int = 0
    limit_bytes: int | None = None

    @property
    def is_full(self) -> bool:
        """Whether they keep as much as they may."""
        return self.limit_bytes is not None and self.used_bytes >= self.limit_bytes

    @property
    def most_bytes(self) -> int | None:
        """How much there may be of everything: as much again for what is not kept."""
        return None if self.limit_bytes is None else 2 * self.limit_bytes

    def over_bytes(self, more_bytes: int = 0) -> int:
        """How much there is too much of everything, with ``more_bytes`` to come; 0: none."""
        if self.most_bytes is None:
            return 0
        whole = self.used_bytes + self.deleted_bytes + self.sent_bytes + max(1, more_bytes)
        return max(0, whole - self.most_bytes)


def of(connection: sqlite3.Connection, user_id: str, limit_bytes: int | None) -> StorageUsage:
    row = connection.execute(
        "SELECT kept_bytes, deleted_bytes, sent_bytes FROM space WHERE user_id = ?", (user_id,)
    ).fetchone()
    kept, deleted, sent = row or (0, 0, 0)
    return StorageUsage(kept, deleted, sent, limit_bytes)


def enter_upload(
    connection: sqlite3.Connection, name: str, user_id: str, size_bytes: int, *, now: float
) -> None:
    connection.execute(
        "INSERT INTO uploads (name, user_id, size_bytes, created_at) VALUES (?, ?, ?, ?)",
        (name, user_id, size_bytes, now),
    )


def drop_upload(connection: sqlite3.Connection, name: str) -> None:
    connection.execute("DELETE FROM uploads WHERE name = ?", (name,))


def drop_uploads(
    connection: sqlite3.Connection, there: Container[str], *, created_before: float
) -> None:
    """Forget uploads of which there is no file; young ones may just be being written."""
    rows = connection.execute(
        "SELECT name FROM uploads WHERE created_at < ?", (created_before,)
    ).fetchall()
    gone = [(row["name"],) for row in rows if row["name"] not in there]
    connection.executemany("DELETE FROM uploads WHERE name = ?", gone)
