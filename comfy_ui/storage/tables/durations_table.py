"""The ``durations`` table: how long the nodes of each server took, by their shape."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Final

from ...protocol.durations import Measurement, ShapeKey
from ...protocol.graph_cost import NodeShape
from .row import Row

SCHEMA: Final = (
    """CREATE TABLE durations (
    server TEXT NOT NULL,
    class_type TEXT NOT NULL,
    models TEXT NOT NULL,
    megapixels REAL NOT NULL,
    steps REAL NOT NULL,
    cold INTEGER NOT NULL,
    measurements TEXT NOT NULL,     -- JSON: [start_s, step_s] of the newest runs, oldest first
    learned_at REAL NOT NULL,
    PRIMARY KEY (server, class_type, models, megapixels, steps, cold)
) WITHOUT ROWID""",
    "CREATE INDEX durations_age ON durations(learned_at)",
)
MAX_ROWS: Final = 20_000  # of all servers; the demo engine is another server after each start


def new_values(
    server: str, durations: Mapping[ShapeKey, Iterable[Measurement]], *, now: float
) -> list[tuple[object, ...]]:
    """Return the values of a row for each shape."""
    return [
        (server, *key.shape, key.cold, json.dumps([*measurements]), now)
        for key, measurements in durations.items()
    ]


def save(
    connection: sqlite3.Connection,
    server: str,
    durations: Mapping[ShapeKey, Iterable[Measurement]],
    *,
    now: float,
) -> None:
    """Write what was learned of some shapes, and delete the oldest rows of a full table."""
    connection.executemany(
        "INSERT OR REPLACE INTO durations VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        new_values(server, durations, now=now),
    )
    connection.execute(
        "DELETE FROM durations WHERE learned_at < (SELECT learned_at FROM durations"
        " ORDER BY learned_at DESC LIMIT 1 OFFSET ?)",
        (MAX_ROWS,),
    )


def of_server(
    connection: sqlite3.Connection, server: str
) -> dict[ShapeKey, tuple[Measurement, ...]]:
    """Return what is known of a server, the least recently learned shape first."""
    rows = connection.execute(
        "SELECT * FROM durations WHERE server = ? ORDER BY learned_at", (server,)
    )
    return durations_of(rows)


def durations_of(rows: Iterable[Row]) -> dict[ShapeKey, tuple[Measurement, ...]]:
    """Return the measurements of whole rows of the table, by shape."""
    return {
        ShapeKey(
            NodeShape(row["class_type"], row["models"], row["megapixels"], row["steps"]),
            bool(row["cold"]),
        ): tuple(Measurement(*seconds) for seconds in json.loads(row["measurements"]))
        for row in rows
    }
