"""A process that dies at a given step of a job: ``die_at(url, folder, step)``.

Run by a fork server, so that twenty of them cost no more than a few starts of Python.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from functools import wraps
from pathlib import Path
from typing import Any

from comfy_ui.client import ComfyWSClient
from comfy_ui.jobs.job_service import open_jobs
from comfy_ui.jobs.local_queue import LocalQueue
from comfy_ui.library.result_files import ResultFiles
from comfy_ui.storage.records import JobRequest, JobStatus
from tests.jobs.support import sleepy_graph

STEPS = (
    "submit before",
    "submit after",
    "claim before",
    "claim after",
    "queue_prompt before",
    "queue_prompt after",
    "publish sent before",
    "publish sent after",
    "publish progress after",
    "publish fetching before",
    "publish fetching after",
    "receive before",
    "receive after",
    "place before",
    "place after",
    "publish succeeded before",
    "publish succeeded after",
    "cancel before",
    "cancel after",
    "write of the end, in the middle",
)


def die_at(url: str, folder: str, step: str) -> None:
    asyncio.run(_run(url, Path(folder), step))


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _around(call: Callable[..., Awaitable[Any]], step: str, name: str) -> Callable[..., Any]:
    @wraps(call)
    async def wrapped(*args: Any, **options: Any) -> Any:
        if step == f"{name} before" and (name != "claim" or args[0]._unfinished.index):
            _die()
        result = await call(*args, **options)
        if step == f"{name} after" and result != []:  # a claim that returned a job
            _die()
        return result

    return wrapped


async def _run(url: str, folder: Path, step: str) -> None:
    publish, place = LocalQueue.publish, ResultFiles.place

    async def publish_or_die(self: LocalQueue, worker: str, report: Any) -> None:
        name = f"publish {report.status or 'progress'}"
        if step == f"{name} before":
            _die()
        await publish(self, worker, report)
        if step == f"{name} after" and (report.status or report.progress):
            _die()

    def place_or_die(self: ResultFiles, arrived: Path, file: Any) -> Any:
        if step == "place before":
            _die()
        path = place(self, arrived, file)
        if step == "place after":
            _die()
        return path

    patched: Any = LocalQueue
    patched.publish = publish_or_die
    for name in ("submit", "claim", "cancel"):
        setattr(patched, name, _around(getattr(patched, name), step, name))
    ResultFiles.place = place_or_die  # type: ignore[method-assign]
    if step == "write of the end, in the middle":
        from comfy_ui.storage.tables import items_table

        items_table.insert = lambda *_, **__: _die()
    async with ComfyWSClient(url=url) as client:
        theirs: Any = client
        for name in ("queue_prompt", "receive"):
            setattr(theirs, name, _around(getattr(theirs, name), step, name))
        async with open_jobs(client=client, data_dir=folder) as service:
            graph = sleepy_graph(nonce=hash(step) % 2**24, seconds=0.3)
            request = JobRequest(user_id="ann", preset="sleepy", graph=graph)
            job = await service.submit(request)
            if step.startswith("cancel"):
                while (await service.job(job.id, "ann")).status is not JobStatus.SENT:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                await service.cancel(job.id, "ann")
            await asyncio.sleep(30)
