"""The ``uploads`` table: the ``user_id`` and size of each uploaded file."""

from __future__ import annotations

import sqlite3
from collections.abc import Container
from typing import Final

SCHEMA: Final = (
    """CREATE TABLE uploads (
    name TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    created_at REAL NOT NULL
)""",
)


def insert(
    connection: sqlite3.Connection, name: str, user_id: str, size_bytes: int, *, now: float
) -> None:
    connection.execute(
        "INSERT INTO uploads (name, user_id, size_bytes, created_at) VALUES (?, ?, ?, ?)",
        (name, user_id, size_bytes, now),
    )


def delete(connection: sqlite3.Connection, name: str) -> None:
    connection.execute("DELETE FROM uploads WHERE name = ?", (name,))


def delete_missing(
    connection: sqlite3.Connection, existing: Container[str], *, created_before: float
) -> None:
    """Delete uploads without a file. Recent ones are kept: their file may not be written yet."""
    rows = connection.execute(
        "SELECT name FROM uploads WHERE created_at < ?", (created_before,)
    ).fetchall()
    missing = [(row["name"],) for row in rows if row["name"] not in existing]
    connection.executemany("DELETE FROM uploads WHERE name = ?", missing)
