"""Jobs that belong together, as the cells of a grid; the table of them.

A grid is written down before its jobs. When the last of them is over, its sheet is drawn (see
:mod:`.contact_sheet`) and enters the library as the result of a job of its own, which ComfyUI
never sees.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict, dataclass
from pathlib import Path

from ...storage import items_table, jobs_table
from ...storage.records import Job, LibraryItem, StoredFile

__all__ = ["Grid", "GridAxis", "GridCell"]


@dataclass(frozen=True, slots=True)
class GridAxis:
    """One side of a grid: what varies along it, and what is written beside each row or column."""

    label: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GridCell:
    """A place in a grid: which one of how many, from 1, and what is written at its sides."""

    number: int
    size: int
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """``jobs`` are the cells row by row; ``down`` is None where there is one row."""

    id: str
    user_id: str
    across: GridAxis
    down: GridAxis | None
    jobs: tuple[str, ...]
    created_at: float

    @property
    def title(self) -> str:
        """What varies: 'Steps / Sampler'."""
        return f"{self.across.label} / {self.down.label}" if self.down else self.across.label

    def cell(self, job_id: str) -> GridCell | None:
        """Where a job stands in it."""
        if job_id not in self.jobs:
            return None
        row, column = divmod(self.jobs.index(job_id), len(self.across.labels))
        labels = (self.across.labels[column], *((self.down.labels[row],) if self.down else ()))
        return GridCell(self.jobs.index(job_id) + 1, len(self.jobs), labels)


def insert(connection: sqlite3.Connection, grid: Grid) -> None:
    sides = [asdict(side) if side else None for side in (grid.across, grid.down)]
    connection.execute(
        "INSERT INTO grids (id, user_id, sides, jobs, created_at) VALUES (?, ?, ?, ?, ?)",
        (grid.id, grid.user_id, json.dumps(sides), json.dumps(grid.jobs), grid.created_at),
    )


def delete(connection: sqlite3.Connection, grid_id: str) -> None:
    """Forget a grid whose jobs were not queued."""
    connection.execute("DELETE FROM grids WHERE id = ?", (grid_id,))


def get(connection: sqlite3.Connection, grid_id: str, user_id: str) -> Grid | None:
    row = connection.execute(
        "SELECT * FROM grids WHERE id = ? AND user_id = ?", (grid_id, user_id)
    ).fetchone()
    return _grid(row) if row else None


def unfinished(connection: sqlite3.Connection) -> list[Grid]:
    """Grids that have no sheet yet."""
    rows = connection.execute("SELECT * FROM grids WHERE done = 0 ORDER BY created_at")
    return [_grid(row) for row in rows]


def cells(
    connection: sqlite3.Connection, grid: Grid, folder: Path
) -> list[tuple[Job | None, LibraryItem | None]]:
    """Each cell's job and its first result, as far as there are any."""
    found = []
    for job_id in grid.jobs:
        made = items_table.of_job(connection, job_id, folder)
        found.append((jobs_table.get(connection, job_id, grid.user_id), made[0] if made else None))
    return found


def finish(
    connection: sqlite3.Connection, grid: Grid, sheet: tuple[Job, StoredFile] | None, *, now: float
) -> None:
    """Enter the sheet, if there is one, and forget that one is owed."""
    if sheet is not None:
        job, file = sheet
        jobs_table.insert(connection, job)
        jobs_table.save(connection, job)
        items_table.add(connection, job, [file], now=now)
    connection.execute("UPDATE grids SET done = 1 WHERE id = ?", (grid.id,))


def _grid(row: sqlite3.Row) -> Grid:
    across, down = (
        GridAxis(side["label"], tuple(side["labels"])) if side else None
        for side in json.loads(row["sides"])
    )
    assert across is not None  # noqa: S101 -- insert() writes one
    return Grid(
        id=row["id"],
        user_id=row["user_id"],
        across=across,
        down=down,
        jobs=tuple(json.loads(row["jobs"])),
        created_at=row["created_at"],
    )
