"""Storage quotas: the ``storage_usage`` table, one row of sums per user.

Triggers in the database keep the sums, so each change of a row updates them in its transaction.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

_ITEM_SUMS: Final = (
    "kept_bytes = kept_bytes {sign} iif({row}.deleted_at IS NULL, {row}.size_bytes, 0),"
    " deleted_bytes = deleted_bytes {sign} iif({row}.deleted_at IS NULL, 0, {row}.size_bytes)"
)
_UPLOAD_SUM: Final = "upload_bytes = upload_bytes {sign} {row}.size_bytes"


def _trigger(name: str, event: str, change: str, *rows: str) -> str:
    """Return a trigger that subtracts the ``OLD`` row from the sums and adds the ``NEW`` one."""
    steps = []
    for row in rows:
        changed = change.format(row=row, sign="-" if row == "OLD" else "+")
        steps += [
            f"INSERT OR IGNORE INTO storage_usage (user_id) VALUES ({row}.user_id);",  # noqa: S608 -- constants
            f"UPDATE storage_usage SET {changed} WHERE user_id = {row}.user_id;",  # noqa: S608
        ]
    return f"CREATE TRIGGER {name} AFTER {event} BEGIN {' '.join(steps)} END"


SCHEMA: Final = (
    """CREATE TABLE storage_usage (
    user_id TEXT PRIMARY KEY,
    kept_bytes INTEGER NOT NULL DEFAULT 0,
    deleted_bytes INTEGER NOT NULL DEFAULT 0,   -- results that can still be restored
    upload_bytes INTEGER NOT NULL DEFAULT 0
)""",
    _trigger("usage_item_inserted", "INSERT ON items", _ITEM_SUMS, "NEW"),
    _trigger("usage_item_removed", "DELETE ON items", _ITEM_SUMS, "OLD"),
    _trigger(
        "usage_item_changed",
        "UPDATE OF user_id, size_bytes, deleted_at ON items",
        _ITEM_SUMS,
        "OLD",
        "NEW",
    ),
    _trigger("usage_upload_inserted", "INSERT ON uploads", _UPLOAD_SUM, "NEW"),
    _trigger("usage_upload_removed", "DELETE ON uploads", _UPLOAD_SUM, "OLD"),
)


@dataclass(frozen=True, slots=True)
class StorageUsage:
    """The disk space that a user occupies, in bytes.

    ``used_bytes``: results. ``deleted_bytes``: deleted results that can still be restored.
    ``upload_bytes``: uploads. ``limit_bytes``: the quota for results, or None for no limit.
    """

    used_bytes: int = 0
    deleted_bytes: int = 0
    upload_bytes: int = 0
    limit_bytes: int | None = None

    @property
    def is_full(self) -> bool:
        """Whether the results have reached the quota."""
        return self.limit_bytes is not None and self.used_bytes >= self.limit_bytes

    @property
    def total_limit_bytes(self) -> int | None:
        """Twice the quota: deleted results and uploads may take as much again as results."""
        return None if self.limit_bytes is None else 2 * self.limit_bytes

    def excess_bytes(self, more_bytes: int = 0) -> int:
        """Return by how much everything, plus ``more_bytes``, exceeds the total limit."""
        if self.total_limit_bytes is None:
            return 0
        total = self.used_bytes + self.deleted_bytes + self.upload_bytes + max(1, more_bytes)
        return max(0, total - self.total_limit_bytes)


def usage_of(connection: sqlite3.Connection, user_id: str, limit_bytes: int | None) -> StorageUsage:
    """Return the disk space that a user occupies."""
    row = connection.execute(
        "SELECT kept_bytes, deleted_bytes, upload_bytes FROM storage_usage WHERE user_id = ?",
        (user_id,),
    ).fetchone()
    results, deleted, uploads = row or (0, 0, 0)
    return StorageUsage(results, deleted, uploads, limit_bytes)
