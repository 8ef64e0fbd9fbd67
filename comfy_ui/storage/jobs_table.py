"""The table of jobs: what is asked of the database about them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ..protocol.outputs import OutputFile, Outputs
from .records import ACTIVE, Job, JobError, JobStatus

_PACE_JOBS = 20  # how many recent jobs tell how quick a preset is


def insert(connection: sqlite3.Connection, job: Job) -> None:
    connection.execute(
        "INSERT INTO jobs (id, user_id, preset, vals, prompt, seed, graph, status, rank, work,"
        " cost_s, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            job.id,
            job.user_id,
            job.preset,
            json.dumps(job.values),
            job.prompt,
            None if job.seed is None else str(job.seed),
            json.dumps(job.graph),
            job.status,
            job.rank,
            job.work,
            job.cost_s,
            job.created_at,
        ),
    )


def delete(connection: sqlite3.Connection, job_id: str) -> None:
    """Forget a job that never ran."""
    connection.execute("DELETE FROM jobs WHERE id = ?", (job_id,))


def save(connection: sqlite3.Connection, job: Job) -> None:
    """Write all that changes in the life of a job."""
    connection.execute(
        "UPDATE jobs SET status = ?, server = ?, prompt_id = ?, cancel_requested = ?,"
        " started_at = ?, finished_at = ?, outputs = ?, error = ? WHERE id = ?",
        (
            job.status,
            job.server,
            job.prompt_id,
            job.cancel_requested,
            job.started_at,
            job.finished_at,
            json.dumps(asdict(job.outputs)) if job.outputs else None,
            json.dumps(asdict(job.error)) if job.error else None,
            job.id,
        ),
    )


def set_tags(connection: sqlite3.Connection, job_id: str, tags: tuple[float, float]) -> None:
    connection.execute(
        "UPDATE jobs SET start_tag = ?, finish_tag = ? WHERE id = ?", (*tags, job_id)
    )


def set_ranks(connection: sqlite3.Connection, ranks: Mapping[str, float]) -> None:
    connection.executemany(
        "UPDATE jobs SET rank = ? WHERE id = ?", [(rank, job_id) for job_id, rank in ranks.items()]
    )


def leave(
    connection: sqlite3.Connection, job: Job, server: str, prompt_id: str, *, there: bool
) -> None:
    """Put a job back in line. ``there``: a copy of it may be at the server that it leaves."""
    save(connection, job)
    set_ranks(connection, {job.id: job.rank})
    connection.execute(
        "INSERT OR REPLACE INTO copies (prompt_id, job_id, server, there) VALUES (?, ?, ?, ?)",
        (prompt_id, job.id, server, there),
    )


def copies(connection: sqlite3.Connection, server: str) -> dict[str, str]:
    """What a server may still have of jobs that left it: job ids by ``prompt_id``."""
    rows = connection.execute(
        "SELECT prompt_id, job_id FROM copies WHERE server = ? AND there", (server,)
    )
    return dict(rows.fetchall())


def drop_copy(connection: sqlite3.Connection, prompt_id: str) -> None:
    connection.execute("DELETE FROM copies WHERE prompt_id = ?", (prompt_id,))


def left(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Which unfinished jobs left which servers, as ``(job id, server)``."""
    rows = connection.execute(
        "SELECT job_id, copies.server FROM copies JOIN jobs ON jobs.id = job_id"
        " WHERE finished_at IS NULL"
    )
    return [(row[0], row[1]) for row in rows]


def unfinished(connection: sqlite3.Connection) -> list[Job]:
    """Jobs that something must still be done about, oldest first."""
    wanted = sorted({*ACTIVE, JobStatus.UNFETCHED})
    marks = ", ".join("?" * len(wanted))
    rows = connection.execute(
        f"SELECT * FROM jobs WHERE status IN ({marks}) ORDER BY created_at",  # noqa: S608 -- marks only
        wanted,
    )
    return [_job(row) for row in rows]


def get(connection: sqlite3.Connection, job_id: str, user_id: str) -> Job | None:
    row = connection.execute(
        "SELECT * FROM jobs WHERE id = ? AND user_id = ?", (job_id, user_id)
    ).fetchone()
    return _job(row) if row else None


def recent(connection: sqlite3.Connection, user_id: str, limit: int) -> list[Job]:
    rows = connection.execute(
        "SELECT * FROM jobs WHERE user_id = ? AND finished_at IS NOT NULL"
        " ORDER BY finished_at DESC LIMIT ?",
        (user_id, limit),
    )
    return [_job(row) for row in rows]


def owners(connection: sqlite3.Connection) -> list[str]:
    """Everybody who has, or has had, a job."""
    return [row["user_id"] for row in connection.execute("SELECT DISTINCT user_id FROM jobs")]


def forget_fruitless(connection: sqlite3.Connection, user_id: str, *, keep: int) -> int:
    """Forget an owner's jobs that are over and of which nothing is left, but for the newest.

    Nothing: neither files, deleted ones neither, nor texts, nor a copy at a server that is away.
    Gives how many were forgotten.
    """
    return connection.execute(
        "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE user_id = ?"
        "  AND NOT EXISTS (SELECT 1 FROM items WHERE job_id = jobs.id)"  # most have some
        "  AND status IN ('succeeded', 'failed', 'cancelled', 'lost')"
        "  AND finished_at IS NOT NULL AND json_extract(outputs, '$.texts[0]') IS NULL"
        "  AND NOT EXISTS (SELECT 1 FROM copies WHERE job_id = jobs.id)"
        # the clock of the fair queue goes on from these
        "  AND coalesce(start_tag < (SELECT max(start_tag) FROM jobs), 1)"
        "  AND coalesce(finish_tag <= (SELECT max(start_tag) FROM jobs), 1)"
        " ORDER BY finished_at DESC LIMIT -1 OFFSET ?)",
        (user_id, keep),
    ).rowcount


def seconds_per_work(connection: sqlite3.Connection, preset: str) -> float:
    """How long a unit of work took lately with ``preset``; 1 when it never ran."""
    row = connection.execute(
        "SELECT sum(finished_at - started_at), sum(work) FROM (SELECT started_at, finished_at, work"
        " FROM jobs WHERE preset = ? AND status = 'succeeded' AND started_at IS NOT NULL"
        " ORDER BY finished_at DESC LIMIT ?)",
        (preset, _PACE_JOBS),
    ).fetchone()
    seconds, work = row
    return max(seconds / work, 1e-3) if work else 1.0


def fair_queue_tags(connection: sqlite3.Connection) -> tuple[float, dict[str, float]]:
    """The fair queue's virtual time and each owner's last finish tag, as last stored."""
    virtual = connection.execute("SELECT coalesce(max(start_tag), 0) FROM jobs").fetchone()[0]
    rows = connection.execute(
        "SELECT user_id, max(finish_tag) FROM jobs WHERE finish_tag > ? GROUP BY user_id",
        (virtual,),
    )
    return virtual, dict(rows.fetchall())


def _job(row: sqlite3.Row) -> Job:
    return Job(
        id=row["id"],
        user_id=row["user_id"],
        preset=row["preset"],
        values=json.loads(row["vals"]),
        prompt=row["prompt"],
        seed=None if row["seed"] is None else int(row["seed"]),
        graph=json.loads(row["graph"]),
        status=JobStatus(row["status"]),
        rank=row["rank"],
        work=row["work"],
        cost_s=row["cost_s"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        prompt_id=row["prompt_id"],
        server=row["server"],
        cancel_requested=bool(row["cancel_requested"]),
        outputs=_outputs(json.loads(row["outputs"])) if row["outputs"] else None,
        error=JobError(**json.loads(row["error"])) if row["error"] else None,
    )


def _outputs(stored: Mapping[str, Any]) -> Outputs:
    return Outputs(
        files=tuple(OutputFile(**file) for file in stored["files"]), texts=tuple(stored["texts"])
    )
