"""The ``copies`` table: jobs that moved to another server and may still be at the one they left."""

from __future__ import annotations

import sqlite3
from typing import Final

SCHEMA: Final = (
    """CREATE TABLE copies (
    prompt_id TEXT PRIMARY KEY,
    job_id TEXT NOT NULL,
    server TEXT NOT NULL,
    there INTEGER NOT NULL          -- 0: the server is known not to have it
)""",
    "CREATE INDEX copies_job ON copies(job_id)",
)


def insert(
    connection: sqlite3.Connection, job_id: str, server: str, prompt_id: str, *, there: bool
) -> None:
    """Record that a job left ``server``. ``there``: its copy may still be at that server."""
    connection.execute(
        "INSERT OR REPLACE INTO copies (prompt_id, job_id, server, there) VALUES (?, ?, ?, ?)",
        (prompt_id, job_id, server, there),
    )


def at_server(connection: sqlite3.Connection, server: str) -> dict[str, str]:
    """Return the copies that may still be at a server: job ids by ``prompt_id``."""
    rows = connection.execute(
        "SELECT prompt_id, job_id FROM copies WHERE server = ? AND there", (server,)
    )
    return dict(rows.fetchall())


def of_unfinished_jobs(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Return each unfinished job with each server that it left, as ``(job id, server)``."""
    rows = connection.execute(
        "SELECT job_id, copies.server FROM copies JOIN jobs ON jobs.id = job_id"
        " WHERE finished_at IS NULL"
    )
    return [(row[0], row[1]) for row in rows]


def delete(connection: sqlite3.Connection, prompt_id: str) -> None:
    connection.execute("DELETE FROM copies WHERE prompt_id = ?", (prompt_id,))
