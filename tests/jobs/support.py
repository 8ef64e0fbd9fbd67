"""Helpers of the job tests."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from comfy_ui.demo import DemoServer
from comfy_ui.jobs.job_service import JobService
from comfy_ui.jobs.local_queue import LocalQueue
from comfy_ui.storage.database import Database
from comfy_ui.storage.records import Job, JobRequest, JobStatus, Snapshot
from comfy_ui.storage.sqlite_job_store import SqliteJobStore


def a_job(user_id: str = "ann", *, preset: str = "p", prompt: str = "", **fields: Any) -> Job:
    defaults: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "user_id": user_id,
        "preset": preset,
        "values": {"prompt": prompt},
        "prompt": prompt,
        "seed": 1,
        "graph": {"1": {"class_type": "EmptyImage", "inputs": {}}},
        "status": JobStatus.WAITING,
        "created_at": time.time(),
    }
    return Job(**defaults | fields)


@asynccontextmanager
async def open_queue(folder: Path, *, waiting_limit: int = 100) -> AsyncIterator[LocalQueue]:
    database = Database(folder)
    await database.open()
    queue = LocalQueue(SqliteJobStore(database, folder), waiting_limit=waiting_limit)
    try:
        await queue.open()
        yield queue
    finally:
        await queue.close()
        await database.close()


async def last(snapshots: AsyncIterator[Snapshot]) -> Snapshot:
    """Return the last snapshot of a follower."""
    seen = [snapshot async for snapshot in snapshots]
    assert seen, "there was no snapshot at all"
    return seen[-1]


def sleepy_graph(*, nonce: int = 0, seconds: float = 0.0, blocking: bool = False) -> dict[str, Any]:
    """A graph of one small image that takes ``seconds``; distinct for each ``nonce``.

    Needs an engine with ``Faults(test_nodes=True)``. With ``blocking`` it ignores interrupts.
    """
    return {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": nonce % 0xFFFFFF},
        },
        "2": {
            "class_type": "DemoSleep",
            "inputs": {
                "image": ["1", 0],
                "seconds": seconds,
                "steps": 20,
                "blocking": blocking,
                "nonce": nonce,
            },
            "_meta": {"title": "Sleep"},
        },
        "3": {
            "class_type": "SaveImage",
            "inputs": {"images": ["2", 0], "filename_prefix": f"made_{nonce}"},
        },
    }


def engine_files(server: DemoServer) -> dict[str, bytes]:
    """Return the files of the engine's output folder by name."""
    folder = server.folder / "output"
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def submit_sleepy(
    service: JobService, user_id: str = "ann", *, front: bool = False, **graph: Any
) -> Job:
    request = JobRequest(user_id=user_id, preset="sleepy", graph=sleepy_graph(**graph), front=front)
    return await service.submit(request)


async def until(
    service: JobService, job: Job, condition: Callable[[Snapshot], bool], *, within_s: float = 20.0
) -> Snapshot:
    """Return the first snapshot that meets ``condition``, or the last one."""
    async with asyncio.timeout(within_s), aclosing(service.follow(job.id, job.user_id)) as news:
        async for snapshot in news:
            if condition(snapshot):
                break
    return snapshot


async def end_of(service: JobService, job: Job, *, within_s: float = 30.0) -> Snapshot:
    return await until(service, job, lambda snapshot: snapshot.terminal, within_s=within_s)
