"""Changes that complete although their caller was cancelled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.client import ComfyWSClient
from comfy_ui.demo import DemoServer
from comfy_ui.jobs.job_service import JobService, open_jobs
from comfy_ui.jobs.local_queue import LocalQueue
from comfy_ui.storage.records import GridAxis, JobRequest, Phase
from comfy_ui.storage.uncancellable import _DETACHED, uncancellable
from tests.jobs import support
from tests.jobs.support import end_of

STEPS = range(9)  # of the event loop, before the caller is cancelled


async def cancel_after(
    work: Coroutine[Any, Any, Any], steps: int, then: Callable[[], None] = lambda: None
) -> None:
    """Start ``work``, cancel it ``steps`` later, and wait for the detached rest of it."""
    task = asyncio.create_task(work)
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    then()
    while _DETACHED:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def on_disk(queue: LocalQueue) -> dict[str, float]:
    rows = await queue._store._database.run(
        lambda c: c.execute("SELECT id, rank FROM jobs WHERE status = 'waiting'").fetchall()
    )
    return {row["id"]: row["rank"] for row in rows}


@pytest.mark.parametrize("steps", STEPS)
async def test_submit_cancelled_at_any_step_keeps_memory_and_disk_equal(
    tmp_path: Path, steps: int
) -> None:
    async with support.open_queue(tmp_path) as queue:
        old = await queue.submit(support.a_job(), front=False)
        await queue.submit(support.a_job(), front=False)
        await cancel_after(queue.submit(support.a_job(), front=False), steps)
        await cancel_after(queue.submit(support.a_job(), front=True, replaces=old.id), steps)
        await cancel_after(queue.reorder([old.id], "ann", before=None), steps)
        assert await on_disk(queue) == {
            job.id: job.rank for job in queue._unfinished.index.values()
        }


@pytest.mark.parametrize("steps", STEPS)
async def test_submit_replacement_cancelled_at_any_step_keeps_one_job_running(
    client: ComfyWSClient, tmp_path: Path, steps: int
) -> None:
    async with open_jobs(client=client, data_dir=tmp_path, concurrency=1) as service:
        first = await support.submit_sleepy(service, seconds=0.3)
        old = await support.submit_sleepy(service, nonce=1)
        new = support.a_job(graph=support.sleepy_graph(nonce=2))
        await cancel_after(service._queue.submit(new, front=False, replaces=old.id), steps)
        (last,) = [job for job in await service.active("ann") if job.id != first.id]
        end = await end_of(service, last)
        assert (end.phase, len(end.items)) == (Phase.SUCCEEDED, 1)


@pytest.mark.parametrize("steps", [3, 30, 60])
async def test_grid_submit_cancelled_at_any_step_completes_with_sheet(
    service: JobService, server: DemoServer, steps: int
) -> None:
    requests = [
        JobRequest(user_id="ann", preset="p", graph=support.sleepy_graph(nonce=n)) for n in range(3)
    ]
    cells = [await service._prepare(request) for request in requests]
    sheets, across = service._grids, GridAxis("Steps", ("1", "2", "3"))
    submission = sheets.submit(cells, grid_id="g", across=across, down=None, front=False)
    await cancel_after(submission, steps)
    async with asyncio.timeout(20):
        while len(support.engine_files(server)) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        while len(await service.library.results("ann")) < 4:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_uncancellable_error_after_cancellation_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    released = asyncio.Event()

    @uncancellable
    async def change() -> None:
        await released.wait()
        raise ValueError("no room")

    caplog.set_level(logging.INFO)
    await cancel_after(change(), 2, released.set)
    assert "no room" in caplog.text
    with pytest.raises(ValueError, match="no room"):
        await change()
