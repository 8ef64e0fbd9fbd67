"""The ``favorites`` table: the model files that users have marked."""

from __future__ import annotations

import sqlite3
from typing import Final

SCHEMA: Final = (
    """CREATE TABLE favorites (
    user_id TEXT NOT NULL,
    folder TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (user_id, folder, name)
)""",
)

MOST: Final = 1000
"""The largest number of marked files of a user."""


def names(connection: sqlite3.Connection, user_id: str, folder: str) -> frozenset[str]:
    """Return the user's favorites among the files of a model folder."""
    rows = connection.execute(
        "SELECT name FROM favorites WHERE user_id = ? AND folder = ?", (user_id, folder)
    )
    return frozenset(row["name"] for row in rows)


def insert(connection: sqlite3.Connection, user_id: str, folder: str, name: str) -> None:
    """Mark a file, unless the user has marked as many as are allowed."""
    connection.execute(
        "INSERT OR IGNORE INTO favorites (user_id, folder, name) SELECT ?, ?, ? "
        "WHERE (SELECT count(*) FROM favorites WHERE user_id = ?) < ?",
        (user_id, folder, name, user_id, MOST),
    )


def delete(connection: sqlite3.Connection, user_id: str, folder: str, name: str) -> None:
    connection.execute(
        "DELETE FROM favorites WHERE user_id = ? AND folder = ? AND name = ?",
        (user_id, folder, name),
    )
