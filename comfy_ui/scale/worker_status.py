"""What workers tell pages about their servers: one JSON value for each worker."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from ..errors import StorageError
from ..storage.records import JobError, ServerStatus
from .postgres_database import PostgresDatabase
from .shared_queue.lease_clock import LEASE_S

_SAVE = "UPDATE workers SET status = %s WHERE name = %s"
_ALL = """SELECT status, extract(epoch FROM clock_timestamp()) - seen_at > %s AS silent FROM workers
    WHERE status IS NOT NULL ORDER BY name"""


async def save_status(database: PostgresDatabase, worker: str, status: ServerStatus) -> None:
    """Store the status of a worker's server."""
    # The health is a verdict about this process's connection.
    values = asdict(replace(status, health=None))
    await database.execute(_SAVE, (json.dumps(values), worker))


async def worker_statuses(database: PostgresDatabase) -> list[ServerStatus]:
    """Return the status of the server of each worker; that of a silent one is offline.

    Without workers, or if the database does not answer, one status says so.
    """
    try:
        rows = await database.fetch(_ALL, (LEASE_S,))
    except StorageError as error:
        return [_nothing(JobError.of(error))]
    if not rows:
        hint = "Start one beside each ComfyUI: comfy-ui worker"
        return [_nothing(JobError("No worker has connected yet.", hint=hint))]
    return [_status(json.loads(row["status"]), silent=row["silent"]) for row in rows]


def _nothing(error: JobError) -> ServerStatus:
    return ServerStatus(online=False, url="", checked_at=time.time(), error=error)


def _status(values: dict[str, Any], *, silent: bool) -> ServerStatus:
    devices: Sequence[dict[str, Any]] = values.pop("devices")
    error = values.pop("error")
    status = ServerStatus(
        **values, devices=tuple(devices), error=JobError(**error) if error else None
    )
    if not silent:
        return status
    gone = JobError("The worker does not answer.", hint="Start it again: comfy-ui worker")
    return replace(status, online=False, error=gone)
