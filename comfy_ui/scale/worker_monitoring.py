"""What a worker answers about itself, if the setting ``worker_status`` names an address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from ..jobs.workers.server import Server
from ..monitoring.app_metrics import AppMetrics
from ..monitoring.event_loop_lag import lag_measured
from ..monitoring.readiness import Readiness
from ..monitoring.status_server import serve_status
from ..settings import Settings
from ..workflow.presets.preset_store import list_presets
from .open_pools import pool_stats
from .postgres_database import PostgresDatabase
from .shared_queue.postgres_job_queue import PostgresJobQueue
from .shared_queue.worker_lease import WorkerLease


@asynccontextmanager
async def worker_status(
    settings: Settings,
    *,
    database: PostgresDatabase,
    queue: PostgresJobQueue,
    lease: WorkerLease,
    server: Server,
    tasks: Sequence[asyncio.Task[None]],
) -> AsyncIterator[None]:
    """Answer while the ``with`` block runs; do nothing if no address is set.

    Raises:
        ValidationError: the address cannot be used.
        MissingFeatureError: there is a token, and the extra [observability] is not installed.
    """
    address = settings.worker_status_address
    if address is None:
        yield
        return
    metrics = None
    if settings.metrics_token:
        # The depth of the queue is among the figures of the app.
        metrics = AppMetrics(presets={preset.id for preset in list_presets()}, pools=pool_stats)
        queue.on_end(metrics.job_ended)
    token = settings.metrics_token.get_secret_value() if settings.metrics_token else ""
    readiness = _readiness(database, queue, lease, server, tasks)
    try:
        async with lag_measured(metrics), serve_status(address, readiness, metrics, token):
            yield
    finally:
        await readiness.aclose()


def _readiness(
    database: PostgresDatabase,
    queue: PostgresJobQueue,
    lease: WorkerLease,
    server: Server,
    tasks: Sequence[asyncio.Task[None]],
) -> Readiness:
    async def check_queue() -> str | None:
        running = queue.is_running() and not any(task.done() for task in tasks)
        return None if running else "queue"

    async def check_lease() -> str | None:
        return "lease" if lease.lost.is_set() else None

    async def check_server() -> str | None:
        return None if server.online else "comfyui"

    return Readiness(
        {
            "database": database.problem,
            "queue": check_queue,
            "lease": check_lease,
            "comfyui": check_server,
        }
    )
