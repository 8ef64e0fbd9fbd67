"""The ``grids`` table: schema and queries."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict
from typing import Final

from ..records import Grid, GridAxis
from .row import Row

SCHEMA: Final = (
    """CREATE TABLE grids (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    sides TEXT NOT NULL,            -- JSON: the axes across and down, with labels
    jobs TEXT NOT NULL,             -- JSON: the ids of the cells, row by row
    created_at REAL NOT NULL,
    done INTEGER NOT NULL DEFAULT 0 -- its contact sheet is drawn, or cannot be
)""",
    "CREATE INDEX grids_unfinished ON grids(created_at) WHERE done = 0",
)


NEW_COLUMNS: Final = ("id", "user_id", "sides", "jobs", "created_at")


def new_values(grid: Grid) -> tuple[object, ...]:
    """Return the values of :data:`NEW_COLUMNS`."""
    sides = [asdict(side) if side else None for side in (grid.across, grid.down)]
    return grid.id, grid.user_id, json.dumps(sides), json.dumps(grid.jobs), grid.created_at


def insert(connection: sqlite3.Connection, grid: Grid) -> None:
    connection.execute(
        f"INSERT INTO grids ({', '.join(NEW_COLUMNS)}) VALUES (?, ?, ?, ?, ?)",  # noqa: S608 -- constant
        new_values(grid),
    )


def delete(connection: sqlite3.Connection, grid_id: str) -> None:
    connection.execute("DELETE FROM grids WHERE id = ?", (grid_id,))


def get(connection: sqlite3.Connection, grid_id: str, user_id: str) -> Grid | None:
    row = connection.execute(
        "SELECT * FROM grids WHERE id = ? AND user_id = ?", (grid_id, user_id)
    ).fetchone()
    return grid_of(row) if row else None


def unfinished(connection: sqlite3.Connection) -> list[Grid]:
    """Return the grids without a contact sheet, oldest first."""
    rows = connection.execute("SELECT * FROM grids WHERE done = 0 ORDER BY created_at")
    return [grid_of(row) for row in rows]


def set_done(connection: sqlite3.Connection, grid_id: str) -> None:
    connection.execute("UPDATE grids SET done = 1 WHERE id = ?", (grid_id,))


def grid_of(row: Row) -> Grid:
    """Return the grid of a whole row of the table."""
    across, down = (
        GridAxis(side["label"], tuple(side["labels"])) if side else None
        for side in json.loads(row["sides"])
    )
    assert across is not None  # noqa: S101 -- new_values() has one
    return Grid(
        id=row["id"],
        user_id=row["user_id"],
        across=across,
        down=down,
        jobs=tuple(json.loads(row["jobs"])),
        created_at=row["created_at"],
    )
