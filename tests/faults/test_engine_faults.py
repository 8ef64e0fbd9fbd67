"""Faults of the server itself, as observed at real ones; the network is healthy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from comfy_ui import (
    GenerationFailedError,
    GenerationTimeoutError,
    JobLostError,
    OutOfMemoryError,
    OutputMissingError,
)
from comfy_ui.demo import DemoServer, Faults
from tests import graphs
from tests.shells import SHELLS, Shell, opened


@pytest.fixture
def server() -> Iterator[DemoServer]:
    with DemoServer(speed=100.0).in_thread() as server:
        yield server


pytestmark = pytest.mark.parametrize("shell", SHELLS)


async def _picture(client: Any, result: Any) -> bytes:
    return await client.download(result.images[0])


async def test_run_late_history_entry_is_awaited(shell: Shell, server: DemoServer) -> None:
    server.faults = Faults(history_late_s=1.0)
    async with opened(shell, server.url, timeout=20) as client:
        result = await client.run(graphs.sampled())
        assert (await _picture(client, result)).startswith(b"\x89PNG")


@pytest.mark.nightly
async def test_run_very_late_history_entry_is_awaited(shell: Shell, server: DemoServer) -> None:
    server.faults = Faults(history_late_s=5.0)
    async with opened(shell, server.url, timeout=30) as client:
        assert (await client.run(graphs.sampled())).images


@pytest.mark.nightly
async def test_run_history_without_job_raises_job_lost_without_socket(
    shell: Shell, server: DemoServer
) -> None:
    server.faults = Faults(history_evicted=True)
    async with opened(shell, server.url, timeout=30) as client:
        if shell == "async":
            assert (await client.run(graphs.sampled())).images
        else:
            with pytest.raises(JobLostError) as caught:
                await client.run(graphs.sampled())
            assert caught.value.hint


@pytest.mark.nightly
async def test_run_without_finish_message_detects_end_by_polling(
    shell: Shell, server: DemoServer
) -> None:
    server.faults = Faults(no_finish_message=True)
    async with opened(shell, server.url, timeout=40) as client:
        assert (await client.run(graphs.sampled())).images


async def test_f10_run_dead_worker_times_out_with_hint(shell: Shell, server: DemoServer) -> None:
    server.faults = Faults(dead_worker=True)
    async with opened(shell, server.url, timeout=20) as client:
        start = time.monotonic()
        with pytest.raises(GenerationTimeoutError) as caught:
            await client.run(graphs.sampled(), timeout=1.5)
        assert time.monotonic() - start < 4
        assert caught.value.hint


async def test_cancel_uninterruptible_node_returns_whether_job_was_stopped(
    shell: Shell, server: DemoServer
) -> None:
    server.faults = Faults(ignore_interrupts=True)
    async with opened(shell, server.url, timeout=20) as client:
        prompt_id = await client.queue_prompt(graphs.sampled(steps=60))
        waiting = asyncio.create_task(client.wait_for_completion(prompt_id))
        await asyncio.sleep(0.2)
        stopped = await client.cancel(prompt_id)
        (outcome,) = await asyncio.gather(waiting, return_exceptions=True)
        assert stopped == isinstance(outcome, BaseException), outcome


async def test_run_out_of_memory_raises_with_hint(shell: Shell, server: DemoServer) -> None:
    server.faults = Faults(oom_at="KSampler")
    async with opened(shell, server.url, timeout=20) as client:
        with pytest.raises(OutOfMemoryError) as caught:
            await client.run(graphs.sampled())
        assert caught.value.node_type == "KSampler"
        assert "smaller" in caught.value.hint
        server.faults = Faults()
        assert (await client.run(graphs.sampled())).images


async def test_run_failed_node_is_named_in_error(shell: Shell, server: DemoServer) -> None:
    server.faults = Faults(error_at="VAEDecode")
    async with opened(shell, server.url, timeout=20) as client:
        with pytest.raises(GenerationFailedError) as caught:
            await client.run(graphs.sampled())
        assert (caught.value.node_id, caught.value.node_type) == ("5", "VAEDecode")


async def test_download_deleted_file_raises_output_missing(
    shell: Shell, server: DemoServer
) -> None:
    server.faults = Faults(missing_output=True)
    async with opened(shell, server.url, timeout=20) as client:
        result = await client.run(graphs.sampled())
        with pytest.raises(OutputMissingError) as caught:
            await _picture(client, result)
        assert caught.value.hint


async def test_run_post_slower_than_job_returns_result(shell: Shell, server: DemoServer) -> None:
    server.faults = Faults(post_delay_s=1.0)
    async with opened(shell, server.url, timeout=20) as client:
        assert (await client.run(graphs.sampled())).images
        assert len(server.engine.queue.snapshot()[1]) == 0


async def test_object_info_slow_server_is_awaited(shell: Shell, server: DemoServer) -> None:
    server.faults = Faults(object_info_delay_s=1.0)
    async with opened(shell, server.url, timeout=0.5) as client:
        assert "KSampler" in await client.object_info()


async def test_wait_for_completion_restart_keeping_queue_returns_result(
    shell: Shell, server: DemoServer
) -> None:
    async with opened(shell, server.url, timeout=30) as client:
        await client.queue_prompt(graphs.sampled(steps=100))
        prompt_id = await client.queue_prompt(graphs.sampled())
        waiting = asyncio.create_task(client.wait_for_completion(prompt_id))
        await asyncio.sleep(0.2)
        await server.restart(keep_queue=True)
        assert (await waiting).images


async def test_wait_for_completion_restart_keeping_history_returns_result(
    shell: Shell, server: DemoServer
) -> None:
    async with opened(shell, server.url, timeout=30) as client:
        prompt_id = await client.queue_prompt(graphs.sampled())
        await asyncio.sleep(0.4)
        await server.restart(keep_history=True)
        assert (await client.wait_for_completion(prompt_id)).images


async def test_run_restart_without_queue_raises_job_lost(shell: Shell, server: DemoServer) -> None:
    async with opened(shell, server.url, timeout=30) as client:
        waiting = asyncio.create_task(client.run(graphs.sampled(steps=400)))
        await asyncio.sleep(0.3)
        await server.restart()
        with pytest.raises(JobLostError) as caught:
            await asyncio.wait_for(waiting, 20)
        assert caught.value.hint
        assert (await client.run(graphs.sampled())).images
