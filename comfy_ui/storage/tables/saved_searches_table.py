"""The ``saved_searches`` table: searches of the Library that users have given a name."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Final

SCHEMA: Final = (
    """CREATE TABLE saved_searches (
    user_id TEXT NOT NULL,
    name TEXT NOT NULL,
    fields TEXT NOT NULL,           -- JSON: the fields of the search form that are set
    saved_at REAL NOT NULL,
    PRIMARY KEY (user_id, name)
)""",
)

MOST: Final = 50
"""The largest number of saved searches of a user."""


def get(connection: sqlite3.Connection, user_id: str) -> dict[str, dict[str, str]]:
    """Return the fields of the user's saved searches by name, the oldest first."""
    rows = connection.execute(
        "SELECT name, fields FROM saved_searches WHERE user_id = ? ORDER BY saved_at", (user_id,)
    )
    return {row["name"]: json.loads(row["fields"]) for row in rows}


def save(
    connection: sqlite3.Connection,
    user_id: str,
    name: str,
    fields: Mapping[str, str],
    *,
    now: float,
) -> bool:
    """Save a search, or replace the one that has the name; False if the user has too many."""
    saved = connection.execute(
        "INSERT INTO saved_searches (user_id, name, fields, saved_at) SELECT ?, ?, ?, ?"
        " WHERE (SELECT count(*) FROM saved_searches WHERE user_id = ? AND name <> ?) < ?"
        " ON CONFLICT (user_id, name) DO UPDATE SET fields = excluded.fields",
        (user_id, name, json.dumps(fields), now, user_id, name, MOST),
    )
    return saved.rowcount > 0


def delete(connection: sqlite3.Connection, user_id: str, name: str) -> None:
    """Delete a saved search."""
    connection.execute("DELETE FROM saved_searches WHERE user_id = ? AND name = ?", (user_id, name))
