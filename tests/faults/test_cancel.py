"""Cancelled jobs and cancelled callers, at any moment of a job."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest

from comfy_ui import ComfyWSClient, GenerationCancelledError
from comfy_ui.demo import DemoServer
from tests import graphs
from tests.faults.proxy import FaultProxy
from tests.shells import SHELLS, Shell, opened


@pytest.fixture(scope="module")
def server() -> Iterator[DemoServer]:
    with DemoServer(speed=100.0).in_thread() as server:
        yield server


@pytest.mark.parametrize("delay_s", [0.0, 0.005, 0.02, 0.06, 0.1, 0.14, 0.2])
@pytest.mark.parametrize("shell", SHELLS)
async def test_cancel_returns_whether_job_was_stopped(
    shell: Shell, delay_s: float, server: DemoServer
) -> None:
    async with opened(shell, server.url, timeout=20) as client:
        prompt_id = await client.queue_prompt(graphs.sampled(steps=10))
        waiting = asyncio.create_task(client.wait_for_completion(prompt_id))
        await asyncio.sleep(delay_s)
        stopped = await client.cancel(prompt_id)
        (outcome,) = await asyncio.gather(waiting, return_exceptions=True)
        assert isinstance(outcome, GenerationCancelledError) == stopped, outcome
        entry = await client.history(prompt_id)
        assert stopped == (entry is None or not entry.outputs)


@pytest.mark.parametrize("shell", SHELLS)
async def test_cancel_leaves_other_jobs_running(shell: Shell, server: DemoServer) -> None:
    async with opened(shell, server.url, timeout=20) as client:
        ids = [await client.queue_prompt(graphs.sampled(steps=10)) for _ in range(4)]
        waiting = [asyncio.create_task(client.wait_for_completion(i)) for i in ids]
        stopped = [await client.cancel(ids[2]), await client.cancel(ids[0])]
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert stopped[0]
        assert [isinstance(o, GenerationCancelledError) for o in outcomes] == [
            stopped[1], False, True, False,
        ]  # fmt: skip


async def test_run_cancelled_leaves_no_task_or_connection(server: DemoServer) -> None:
    rng = random.Random(0)
    with FaultProxy(server.url).in_thread() as proxy:
        before = asyncio.all_tasks()
        async with ComfyWSClient(url=proxy.url, timeout=20) as client:
            for _ in range(25):
                task = asyncio.create_task(client.run(graphs.sampled(steps=2)))
                await asyncio.sleep(rng.uniform(0, 0.06))
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            assert (await client.run(graphs.sampled(steps=2))).images
        assert asyncio.all_tasks() == before
        async with asyncio.timeout(10):
            while proxy.open_connections:  # noqa: ASYNC110 -- a thread of its own counts them
                await asyncio.sleep(0.01)


async def test_wait_for_completion_one_waiter_cancelled_other_gets_result(
    server: DemoServer,
) -> None:
    async with ComfyWSClient(url=server.url, timeout=20) as client:
        prompt_id = await client.queue_prompt(graphs.sampled(steps=20))
        leaves = asyncio.create_task(client.wait_for_completion(prompt_id))
        stays = asyncio.create_task(client.wait_for_completion(prompt_id))
        await asyncio.sleep(0.05)
        leaves.cancel()
        assert (await stays).images
