"""What the studio's tests share."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from comfy_ui.studio.job import Job, Snapshot, Status
from comfy_ui.studio.local import LocalQueue
from comfy_ui.studio.store import Database


def a_job(owner: str = "ann", *, preset: str = "p", prompt: str = "", **fields: Any) -> Job:
    defaults: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "owner": owner,
        "preset": preset,
        "values": {"prompt": prompt},
        "prompt": prompt,
        "seed": 1,
        "graph": {"1": {"class_type": "EmptyImage", "inputs": {}}},
        "status": Status.WAITING,
        "created_at": time.time(),
    }
    return Job(**defaults | fields)


@asynccontextmanager
async def open_queue(folder: Path, *, waiting_limit: int = 100) -> AsyncIterator[LocalQueue]:
    database = Database(folder)
    await database.open()
    queue = LocalQueue(database, folder=folder, waiting_limit=waiting_limit)
    try:
        await queue.open()
        yield queue
    finally:
        queue.close()
        await database.close()


async def last(snapshots: AsyncIterator[Snapshot]) -> Snapshot:
    """The last snapshot of a follower."""
    seen = None
    async for seen in snapshots:
        pass
    assert seen is not None, "there was no snapshot at all"
    return seen
