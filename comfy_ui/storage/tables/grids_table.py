"""The ``grids`` table, and the groups of jobs that it names: schema and queries."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Final

from ..records import Grid, GridAxis, Job, JobGroup, JobStatus
from . import jobs_table
from .row import Row

SCHEMA: Final = (
    """CREATE TABLE grids (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    sides TEXT NOT NULL,            -- JSON: the axes across and down, with labels
    jobs TEXT NOT NULL,             -- JSON: the ids of the cells, row by row
    created_at REAL NOT NULL,
    paused INTEGER NOT NULL DEFAULT 0,
    done INTEGER NOT NULL DEFAULT 0 -- its contact sheet is drawn, or cannot be
)""",
    "CREATE INDEX grids_unfinished ON grids(created_at) WHERE done = 0",
)


ADD_GROUPS: Final = (
    *jobs_table.ADD_GROUP,
    "ALTER TABLE grids ADD COLUMN paused INTEGER NOT NULL DEFAULT 0",
    """UPDATE jobs SET group_id = cells.grid_id FROM (
            SELECT grids.id AS grid_id, value AS job_id FROM grids, json_each(grids.jobs)
        ) AS cells WHERE jobs.id = cells.job_id""",
    # A contact sheet has the time of its grid, and never ran.
    """UPDATE jobs SET group_id = grids.id FROM grids
        WHERE jobs.created_at = grids.created_at AND jobs.user_id = grids.user_id
        AND jobs.prompt_id IS NULL AND jobs.status = 'succeeded'""",
)
"""The statements that make groups of the grids of earlier versions."""

IS_SHEET: Final = "(prompt_id IS NULL AND status = 'succeeded')"
"""Whether a job of a group is its contact sheet, which no server has made."""

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


def set_done(connection: sqlite3.Connection, grid_id: str) -> bool:
    """Mark a grid as done; False if it is done already."""
    changed = connection.execute("UPDATE grids SET done = 1 WHERE id = ? AND NOT done", (grid_id,))
    return changed.rowcount > 0


def paused(connection: sqlite3.Connection) -> frozenset[str]:
    """Return the ids of paused groups."""
    rows = connection.execute("SELECT id FROM grids WHERE paused = 1")
    return frozenset(row["id"] for row in rows)


def set_paused(connection: sqlite3.Connection, grid_id: str, *, paused: bool) -> None:
    connection.execute("UPDATE grids SET paused = ? WHERE id = ?", (paused, grid_id))


def groups(
    connection: sqlite3.Connection, group_ids: Iterable[str], user_id: str
) -> list[JobGroup]:
    """Return those of the groups that are the user's."""
    found = []
    for group_id in group_ids:
        row = connection.execute(
            "SELECT * FROM grids WHERE id = ? AND user_id = ?", (group_id, user_id)
        ).fetchone()
        first = connection.execute(
            f"SELECT prompt, preset FROM jobs WHERE group_id = ? AND NOT {IS_SHEET}"  # noqa: S608 -- constant
            " ORDER BY created_at, id LIMIT 1",
            (group_id,),
        ).fetchone()
        if row is None or first is None:
            continue
        counts = connection.execute(
            f"SELECT status, count(*) FROM jobs WHERE group_id = ? AND NOT {IS_SHEET}"  # noqa: S608 -- constant
            " AND finished_at IS NOT NULL GROUP BY status",
            (group_id,),
        )
        (results,) = connection.execute(
            "SELECT count(*) FROM jobs CROSS JOIN items ON job_id = jobs.id"  # noqa: S608 -- constant
            f" WHERE jobs.group_id = ? AND NOT {IS_SHEET} AND deleted_at IS NULL",
            (group_id,),
        ).fetchone()
        found.append(group_of(row, first, dict(counts.fetchall()), results))
    return found


def group_jobs(
    connection: sqlite3.Connection, group_id: str, user_id: str, *, limit: int, offset: int
) -> list[Job]:
    """Return the jobs of a group in the order of their submission."""
    rows = connection.execute(
        f"SELECT * FROM jobs WHERE group_id = ? AND user_id = ? AND NOT {IS_SHEET}"  # noqa: S608 -- constant
        " ORDER BY created_at, id LIMIT ? OFFSET ?",
        (group_id, user_id, limit, offset),
    )
    return [jobs_table.job_of(row) for row in rows]


def group_of(row: Row, first: Row, counts: Mapping[str, int], results: int) -> JobGroup:
    """Return the group of a row of the table, of its first job, and of the ended jobs by status."""
    grid = grid_of(row)
    return JobGroup(
        id=grid.id,
        title=grid.title,
        prompt=first["prompt"],
        preset=first["preset"],
        size=len(grid.jobs),
        succeeded=counts.get(JobStatus.SUCCEEDED, 0),
        failed=sum(counts.get(s, 0) for s in (JobStatus.FAILED, JobStatus.LOST)),
        cancelled=counts.get(JobStatus.CANCELLED, 0),
        results=results,
        paused=bool(row["paused"]),
    )


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
