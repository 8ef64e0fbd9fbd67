"""The ``preset_defaults`` table: the values that users have saved as their defaults of presets."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any, Final

SCHEMA: Final = (
    """CREATE TABLE preset_defaults (
    user_id TEXT NOT NULL,
    preset TEXT NOT NULL,
    vals TEXT NOT NULL,             -- JSON: values by param id
    PRIMARY KEY (user_id, preset)
)""",
)


def get(connection: sqlite3.Connection, user_id: str, preset: str) -> dict[str, Any]:
    """Return the user's defaults of a preset; empty without any."""
    row = connection.execute(
        "SELECT vals FROM preset_defaults WHERE user_id = ? AND preset = ?", (user_id, preset)
    ).fetchone()
    values: dict[str, Any] = json.loads(row["vals"]) if row else {}
    return values


def save(
    connection: sqlite3.Connection, user_id: str, preset: str, values: Mapping[str, Any]
) -> None:
    """Replace the user's defaults of a preset; empty ``values`` delete them."""
    if values:
        connection.execute(
            "INSERT OR REPLACE INTO preset_defaults (user_id, preset, vals) VALUES (?, ?, ?)",
            (user_id, preset, json.dumps(values)),
        )
    else:
        connection.execute(
            "DELETE FROM preset_defaults WHERE user_id = ? AND preset = ?", (user_id, preset)
        )
