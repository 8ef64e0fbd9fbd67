"""The ``pauses`` table: the users whose queue is paused."""

from __future__ import annotations

import sqlite3
from typing import Final

SCHEMA: Final = ("CREATE TABLE pauses (user_id TEXT PRIMARY KEY)",)  # records.EVERYONE: all users


def paused(connection: sqlite3.Connection) -> frozenset[str]:
    """Return the ids of the users whose queue is paused."""
    return frozenset(row["user_id"] for row in connection.execute("SELECT user_id FROM pauses"))


def insert(connection: sqlite3.Connection, user_id: str) -> None:
    connection.execute("INSERT OR IGNORE INTO pauses (user_id) VALUES (?)", (user_id,))


def delete(connection: sqlite3.Connection, user_id: str) -> None:
    connection.execute("DELETE FROM pauses WHERE user_id = ?", (user_id,))
