"""The choice of the queue by the settings: of this process, or shared with external workers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

from ..errors import ValidationError
from ..features import require_feature
from ..jobs.local_queue import open_local_queue
from ..jobs.queue import JobQueue, OpenQueue
from ..protocol.durations import NodeDurations
from ..settings import Settings
from ..storage.job_store import JobStore
from ..storage.records import ServerStatus

_CONNECTIONS: Final = 4


class QueueChoice(NamedTuple):
    """How to open the queue; ``external_workers`` returns the servers of external workers."""

    open_queue: OpenQueue
    external_workers: Callable[[], Awaitable[list[ServerStatus]]] | None


def choose_queue(settings: Settings) -> QueueChoice:
    """Return the queue of this process, or the shared one if ``workers`` are external.

    Raises:
        MissingFeatureError: the extra [scale] is not installed.
        ValidationError: external workers need a database.
    """
    if settings.workers == "app":
        return QueueChoice(open_local_queue, None)
    require_feature("scale")
    if settings.database is None:
        raise ValidationError(
            "External workers need a PostgreSQL database.",
            hint="Set COMFY_UI_DATABASE, or COMFY_UI_WORKERS=app.",
        )
    from .postgres_database import PostgresDatabase
    from .shared_queue.postgres_job_queue import PostgresJobQueue
    from .worker_status import worker_statuses

    # The stores have a connection of their own, with the lock of the only app.
    database = PostgresDatabase(
        settings.database.get_secret_value(),
        exclusive=False,
        connections=_CONNECTIONS,
        name="queue",
    )

    @asynccontextmanager
    async def open_shared_queue(
        _: JobStore, folder: Path, waiting_limit: int, durations: Mapping[str, NodeDurations]
    ) -> AsyncIterator[JobQueue]:
        await database.open()
        queue = PostgresJobQueue(database, folder, waiting_limit=waiting_limit, durations=durations)
        try:
            await queue.open()
            yield queue
        finally:
            await queue.aclose()
            await database.close()

    return QueueChoice(open_shared_queue, lambda: worker_statuses(database))
