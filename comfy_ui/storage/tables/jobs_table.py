"""The ``jobs`` table: schema and queries."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from ...protocol._replace import fast_replace
from ...protocol.outputs import OutputFile, Outputs
from ..records import ACTIVE, Job, JobError, JobStatus, WebhookTarget
from .row import Row

SEED_INDEX: Final = "CREATE INDEX jobs_seed ON jobs(seed)"
GROUP_INDEX: Final = (
    "CREATE INDEX jobs_group ON jobs(group_id, finished_at DESC) WHERE group_id IS NOT NULL"
)
PARENT_INDEX: Final = "CREATE INDEX jobs_parent ON jobs(parent_id) WHERE parent_id IS NOT NULL"
SCHEMA: Final = (
    """CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    preset TEXT NOT NULL,
    vals TEXT NOT NULL,             -- JSON: the requested values, with the concrete seed
    prompt TEXT NOT NULL,
    seed TEXT,                      -- decimal: seeds go up to 2**64 - 1, SQLite integers do not
    graph TEXT NOT NULL,            -- JSON: the graph that ComfyUI receives
    status TEXT NOT NULL,
    rank REAL NOT NULL,             -- order of the user's waiting jobs, lowest first
    work REAL NOT NULL,             -- relative size, see jobs/fair_queue.relative_work
    cost_s REAL NOT NULL,           -- estimate
    start_tag REAL,                 -- start-time fair queuing, set when the job is claimed
    finish_tag REAL,
    server TEXT,
    prompt_id TEXT UNIQUE,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    server_deaths INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    started_at REAL,
    finished_at REAL,
    outputs TEXT,                   -- JSON: files and texts, once ComfyUI has finished
    error TEXT,                     -- JSON
    group_id TEXT,                  -- the grid of the job or of the contact sheet
    key_id TEXT,                    -- the API key that the job was submitted with
    parent_id INTEGER,              -- the result that the job works on
    may_spend INTEGER NOT NULL DEFAULT 0,   -- whether it may run partner nodes
    traceparent TEXT,               -- W3C trace context of the span that submitted the job
    webhook TEXT                    -- JSON: the address that hears of the end, and ours
)""",
    """CREATE INDEX jobs_unfinished ON jobs(status)
        WHERE status IN ('waiting', 'claimed', 'sent', 'fetching', 'unfetched')""",
    "CREATE INDEX jobs_recent ON jobs(user_id, finished_at)",
    "CREATE INDEX jobs_start_tag ON jobs(start_tag)",
    "CREATE INDEX jobs_finish_tag ON jobs(finish_tag)",
    "CREATE INDEX jobs_pace ON jobs(preset, finished_at) WHERE status = 'succeeded'",
    PARENT_INDEX,
    SEED_INDEX,
    GROUP_INDEX,
)
ADD_SERVER_DEATHS: Final = "ALTER TABLE jobs ADD COLUMN server_deaths INTEGER NOT NULL DEFAULT 0"
ADD_PARENT: Final = ("ALTER TABLE jobs ADD COLUMN parent_id INTEGER", PARENT_INDEX)
ADD_KEY: Final = "ALTER TABLE jobs ADD COLUMN key_id TEXT"
ADD_SPENDING: Final = "ALTER TABLE jobs ADD COLUMN may_spend INTEGER NOT NULL DEFAULT 0"
ADD_GROUP: Final = ("ALTER TABLE jobs ADD COLUMN group_id TEXT", GROUP_INDEX)
ADD_TRACES: Final = "ALTER TABLE jobs ADD COLUMN traceparent TEXT"
PACE_JOBS: Final = 20  # recent jobs of a preset that its speed is measured by


NEW_COLUMNS: Final = (
    "id",
    "user_id",
    "preset",
    "vals",
    "prompt",
    "seed",
    "graph",
    "status",
    "rank",
    "work",
    "cost_s",
    "created_at",
    "parent_id",
    "webhook",
    "group_id",
    "key_id",
    "may_spend",
    "traceparent",
)
CHANGING_COLUMNS: Final = (
    "status",
    "rank",
    "server",
    "prompt_id",
    "cancel_requested",
    "server_deaths",
    "started_at",
    "finished_at",
    "outputs",
    "error",
)
_INSERT: Final = (
    f"INSERT INTO jobs ({', '.join(NEW_COLUMNS)}) VALUES ({', '.join('?' * len(NEW_COLUMNS))})"  # noqa: S608 -- constant
)
_UPDATE: Final = f"UPDATE jobs SET {' = ?, '.join(CHANGING_COLUMNS)} = ? WHERE id = ?"  # noqa: S608 -- constant
_CLAIM: Final = _UPDATE.replace(" WHERE", ", start_tag = ?, finish_tag = ? WHERE")


def new_values(job: Job) -> tuple[object, ...]:
    """Return the values of :data:`NEW_COLUMNS`."""
    return (
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
        job.parent_id,
        json.dumps(asdict(job.webhook)) if job.webhook else None,
        job.group_id,
        job.key_id,
        job.may_spend,
        job.traceparent,
    )


def changing_values(job: Job) -> tuple[object, ...]:
    """Return the values of :data:`CHANGING_COLUMNS`, which change after a job was inserted."""
    return (
        job.status,
        job.rank,
        job.server,
        job.prompt_id,
        job.cancel_requested,
        job.server_deaths,
        job.started_at,
        job.finished_at,
        _outputs_json(job.outputs) if job.outputs else None,
        json.dumps(asdict(job.error)) if job.error else None,
    )


def insert(connection: sqlite3.Connection, job: Job) -> None:
    connection.execute(_INSERT, new_values(job))


def delete(connection: sqlite3.Connection, job_id: str) -> None:
    """Delete a job that never ran."""
    connection.execute("DELETE FROM jobs WHERE id = ?", (job_id,))


def update(connection: sqlite3.Connection, job: Job) -> None:
    """Write every column that changes after a job was inserted."""
    connection.execute(_UPDATE, (*changing_values(job), job.id))


def claim(connection: sqlite3.Connection, job: Job, tags: tuple[float, float]) -> None:
    """Write a claimed job with its start and finish tags."""
    connection.execute(_CLAIM, (*changing_values(job), *tags, job.id))


def set_ranks(connection: sqlite3.Connection, ranks: Mapping[str, float]) -> None:
    connection.executemany(
        "UPDATE jobs SET rank = ? WHERE id = ?", [(rank, job_id) for job_id, rank in ranks.items()]
    )


def unfinished(connection: sqlite3.Connection) -> list[Job]:
    """Return unfinished and unfetched jobs, oldest first."""
    statuses = sorted({*ACTIVE, JobStatus.UNFETCHED})
    marks = ", ".join("?" * len(statuses))
    rows = connection.execute(
        f"SELECT * FROM jobs WHERE status IN ({marks}) ORDER BY created_at",  # noqa: S608 -- marks only
        statuses,
    )
    return [job_of(row) for row in rows]


def get(connection: sqlite3.Connection, job_id: str, user_id: str) -> Job | None:
    row = connection.execute(
        "SELECT * FROM jobs WHERE id = ? AND user_id = ?", (job_id, user_id)
    ).fetchone()
    return job_of(row) if row else None


NEWEST_OF_GROUP: Final = (
    "(group_id IS NULL OR NOT EXISTS (SELECT 1 FROM jobs AS later"
    " WHERE later.group_id = jobs.group_id AND later.finished_at IS NOT NULL"
    " AND (later.finished_at, later.id) > (jobs.finished_at, jobs.id)))"
)
"""Whether a finished job is the last one of its group so far, or belongs to none."""


def recent(
    connection: sqlite3.Connection, user_id: str, limit: int, *, folded: bool = False
) -> list[Job]:
    condition = f" AND {NEWEST_OF_GROUP}" if folded else ""
    rows = connection.execute(
        f"SELECT * FROM jobs WHERE user_id = ? AND finished_at IS NOT NULL{condition}"  # noqa: S608 -- constant
        " ORDER BY finished_at DESC LIMIT ?",
        (user_id, limit),
    )
    return [job_of(row) for row in rows]


def recent_presets(connection: sqlite3.Connection, user_id: str, limit: int) -> list[str]:
    """Return the presets of the user's last ``limit`` finished jobs, the newest first."""
    rows = connection.execute(
        "SELECT preset FROM jobs WHERE user_id = ? AND finished_at IS NOT NULL"
        " ORDER BY finished_at DESC LIMIT ?",
        (user_id, limit),
    )
    return [*dict.fromkeys(row["preset"] for row in rows)]


def user_ids(connection: sqlite3.Connection) -> list[str]:
    """Return the ids of all users with stored jobs."""
    return [row["user_id"] for row in connection.execute("SELECT DISTINCT user_id FROM jobs")]


def delete_empty(connection: sqlite3.Connection, user_id: str, *, keep: int) -> int:
    """Delete a user's finished jobs without files, texts or copies, except the ``keep`` newest.

    Deleted results that can still be restored count as files. Returns the number of deleted jobs.
    """
    return connection.execute(
        "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE user_id = ?"
        "  AND NOT EXISTS (SELECT 1 FROM items WHERE job_id = jobs.id)"  # most have some
        "  AND status IN ('succeeded', 'failed', 'cancelled', 'lost')"
        "  AND finished_at IS NOT NULL AND json_extract(outputs, '$.texts[0]') IS NULL"
        "  AND NOT EXISTS (SELECT 1 FROM copies WHERE job_id = jobs.id)"
        # the fair queue's clock continues from these
        "  AND coalesce(start_tag < (SELECT max(start_tag) FROM jobs), 1)"
        "  AND coalesce(finish_tag <= (SELECT max(start_tag) FROM jobs), 1)"
        " ORDER BY finished_at DESC LIMIT -1 OFFSET ?)",
        (user_id, keep),
    ).rowcount


def seconds_per_work(connection: sqlite3.Connection, preset: str) -> float:
    """Return the recent seconds per unit of work of ``preset``, or 1 if it never ran."""
    row = connection.execute(
        "SELECT sum(finished_at - started_at), sum(work) FROM (SELECT started_at, finished_at, work"
        " FROM jobs WHERE preset = ? AND status = 'succeeded' AND started_at IS NOT NULL"
        " ORDER BY finished_at DESC LIMIT ?)",
        (preset, PACE_JOBS),
    ).fetchone()
    seconds, work = row
    return max(seconds / work, 1e-3) if work else 1.0


def fair_queue_tags(connection: sqlite3.Connection) -> tuple[float, dict[str, float]]:
    """Return the stored virtual time of the fair queue and the last finish tag of each user."""
    virtual = connection.execute("SELECT coalesce(max(start_tag), 0) FROM jobs").fetchone()[0]
    rows = connection.execute(
        "SELECT user_id, max(finish_tag) FROM jobs WHERE finish_tag > ? GROUP BY user_id",
        (virtual,),
    )
    return virtual, dict(rows.fetchall())


def job_of(row: Row) -> Job:
    """Return the job of a whole row of the table."""
    return Job(
        id=row["id"],
        user_id=row["user_id"],
        preset=row["preset"],
        values=json.loads(row["vals"]),
        prompt=row["prompt"],
        seed=None if row["seed"] is None else int(row["seed"]),
        graph=json.loads(row["graph"]),
        work=row["work"],
        cost_s=row["cost_s"],
        created_at=row["created_at"],
        parent_id=row["parent_id"],
        webhook=WebhookTarget(**json.loads(row["webhook"])) if row["webhook"] else None,
        group_id=row["group_id"],
        key_id=row["key_id"],
        may_spend=bool(row["may_spend"]),
        traceparent=row["traceparent"],
        **_changing_fields(row),
    )


def changed_job(job: Job, row: Row) -> Job:
    """Return a job with the values of :data:`CHANGING_COLUMNS` in a row of the table."""
    return fast_replace(job, **_changing_fields(row))


def _changing_fields(row: Row) -> dict[str, Any]:
    return {
        "status": JobStatus(row["status"]),
        "rank": row["rank"],
        "server": row["server"],
        "prompt_id": row["prompt_id"],
        "cancel_requested": bool(row["cancel_requested"]),
        "server_deaths": row["server_deaths"],
        "started_at": row["started_at"],
        "finished_at": row["finished_at"],
        "outputs": _outputs(json.loads(row["outputs"])) if row["outputs"] else None,
        "error": JobError(**json.loads(row["error"])) if row["error"] else None,
    }


def _outputs_json(outputs: Outputs) -> str:
    return json.dumps({"files": [dict(file) for file in outputs.files], "texts": outputs.texts})


def _outputs(stored: Mapping[str, Any]) -> Outputs:
    return Outputs(
        files=tuple(OutputFile(**file) for file in stored["files"]), texts=tuple(stored["texts"])
    )
