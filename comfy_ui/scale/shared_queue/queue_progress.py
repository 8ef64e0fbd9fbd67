"""Progress and previews between the processes of a shared queue: newest wins.

They are in an unlogged table, not in notifications, which hold 8 kB and are kept until the slowest
listener has read them. A worker writes a job's row a few times a second at most. An app reads the
changed rows in one statement, a few times a second while pages look on, however many these are.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping
from typing import Any, Final

from psycopg.rows import DictRow

from ...jobs.queue import JobReport
from ...protocol.progress import Phase, Progress
from ...storage.records import JobError, Snapshot
from ..postgres_database import Cursor, PostgresDatabase

PROGRESS_S: Final = 0.25
"""Between two writes of a worker, and between two reads of an app whose pages look on."""
PREVIEW_S: Final = 0.5
"""Between two previews of a job."""
MAX_PREVIEW_BYTES: Final = 256_000

_FIELDS: Final = (
    "progress", "step", "steps", "node_title", "queue_position", "elapsed_s", "iteration",
    "iterations", "text",
)  # fmt: skip
_SAVE: Final = """INSERT INTO job_progress AS old (job_id, report, preview, preview_type,
    preview_number) VALUES (%(job_id)s, %(report)s, %(preview)s, %(preview_type)s, 1)
    ON CONFLICT (job_id) DO UPDATE SET report = excluded.report,
    preview = coalesce(excluded.preview, old.preview),
    preview_type = coalesce(excluded.preview_type, old.preview_type),
    preview_number = old.preview_number + (excluded.preview IS NOT NULL)::integer"""
_READ: Final = """SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS since, job_id, report,
    preview_number, changed_in::text AS changed_in,
    CASE WHEN preview_number > coalesce((%(known)s::jsonb ->> job_id)::bigint, 0)
        AND job_id = ANY(%(shown)s) THEN preview END AS preview, preview_type
    FROM job_progress WHERE changed_in >= %(since)s::xid8"""


class ProgressWriter:
    """What a worker process writes."""

    def __init__(self) -> None:
        self._unsaved: dict[str, tuple[str, Snapshot]] = {}  # with the prompt_id
        self._previews: dict[str, tuple[bytes, float]] = {}  # the last one that was written

    def put(self, prompt_id: str, snapshot: Snapshot) -> None:
        """Write a snapshot soon, unless a newer one comes before."""
        self._unsaved[snapshot.job_id] = prompt_id, snapshot

    def forget(self, job_id: str) -> None:
        """Write no more of a job that ends or leaves."""
        self._unsaved.pop(job_id, None)
        self._previews.pop(job_id, None)

    async def save(self, database: PostgresDatabase) -> None:
        """Write what is new.

        Raises:
            StorageError: the database does not answer; that is dropped, as newer values will come.
        """
        unsaved, self._unsaved = self._unsaved, {}
        if unsaved:
            rows = [self._row(prompt_id, snapshot) for prompt_id, snapshot in unsaved.values()]

            async def write(cursor: Cursor) -> None:
                await cursor.executemany(_SAVE, rows)

            await database.run(write)

    def _row(self, prompt_id: str, snapshot: Snapshot) -> dict[str, Any]:
        report = {name: getattr(snapshot, name) for name in _FIELDS}
        error = snapshot.error
        report |= {"prompt_id": prompt_id, "phase": snapshot.phase, "eta": snapshot.eta_s}
        report["error"] = [error.message, error.hint, error.details, error.kind] if error else None
        preview, now = snapshot.preview, time.monotonic()
        last, last_at = self._previews.get(snapshot.job_id, (None, -PREVIEW_S))
        if preview is not None and len(preview) <= MAX_PREVIEW_BYTES and preview is not last:
            if now - last_at >= PREVIEW_S:
                self._previews[snapshot.job_id] = preview, now
            else:
                self._unsaved.setdefault(snapshot.job_id, (prompt_id, snapshot))  # write it later
                preview = None
        else:
            preview = None
        return {
            "job_id": snapshot.job_id,
            "report": json.dumps(report),
            "preview": preview,
            "preview_type": snapshot.preview_type if preview else None,
        }


class ProgressReader:
    """What an app reads while pages look on."""

    def __init__(self) -> None:
        self._since = "0"
        self._seen: dict[str, str] = {}  # the last change, by job
        self._known: dict[str, int] = {}  # the number of the last preview, by job

    async def read(
        self, database: PostgresDatabase, shown: Collection[str], prompt_ids: Mapping[str, str]
    ) -> list[JobReport]:
        """Return what has changed. ``shown``: the jobs whose previews are wanted.

        ``prompt_ids`` are those of the jobs that servers have; others are ignored.

        Raises:
            StorageError: the database does not answer.
        """
        self._known = {job_id: n for job_id, n in self._known.items() if job_id in shown}
        values = {"since": self._since, "known": json.dumps(self._known), "shown": [*shown]}
        rows = await database.fetch(_READ, values)
        changed = [row for row in rows if self._seen.get(row["job_id"]) != row["changed_in"]]
        if rows:
            self._since = rows[0]["since"]
        self._seen = {row["job_id"]: row["changed_in"] for row in rows}
        return [report for row in changed if (report := self._report(row, prompt_ids))]

    def _report(self, row: DictRow, prompt_ids: Mapping[str, str]) -> JobReport | None:
        fields = json.loads(row["report"])
        job_id = row["job_id"]
        if prompt_ids.get(job_id) != fields["prompt_id"]:  # of a run before this one
            return None
        error = fields.pop("error")
        if row["preview"] is not None:
            self._known[job_id] = row["preview_number"]
            fields |= {"preview": bytes(row["preview"]), "preview_type": row["preview_type"]}
        progress = Progress(**fields | {"phase": Phase(fields["phase"])})
        return JobReport(
            job_id=job_id, progress=progress, error=JobError(*error) if error else None
        )
