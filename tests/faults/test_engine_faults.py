"""Servers that misbehave as real ones have been seen to do; the network is healthy here."""

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
    with DemoServer(speed=100.0).in_thread() as made:
        yield made


pytestmark = pytest.mark.parametrize("shell", SHELLS)


async def _picture(client: Any, result: Any) -> bytes:
    return await client.download(result.images[0])


async def test_a_history_entry_that_comes_late_is_waited_for(
    shell: Shell, server: DemoServer
) -> None:
    server.faults = Faults(history_late_s=1.0)
    async with opened(shell, server.url, timeout=20) as client:
        result = await client.run(graphs.sampled())
        assert (await _picture(client, result)).startswith(b"\x89PNG")


@pytest.mark.nightly
async def test_a_history_entry_that_comes_very_late_is_waited_for(
    shell: Shell, server: DemoServer
) -> None:
    server.faults = Faults(history_late_s=5.0)
    async with opened(shell, server.url, timeout=30) as client:
        assert (await client.run(graphs.sampled())).images


@pytest.mark.nightly
async def test_a_history_without_the_job_is_told_unless_the_socket_told_all(
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
async def test_a_server_that_never_says_finished_is_found_out_by_asking(
    shell: Shell, server: DemoServer
) -> None:
    server.faults = Faults(no_finish_message=True)
    async with opened(shell, server.url, timeout=40) as client:
        assert (await client.run(graphs.sampled())).images


async def test_f10_a_dead_worker_does_not_hang_its_clients(
    shell: Shell, server: DemoServer
) -> None:
    server.faults = Faults(dead_worker=True)
    async with opened(shell, server.url, timeout=20) as client:
        start = time.monotonic()
        with pytest.raises(GenerationTimeoutError) as caught:
            await client.run(graphs.sampled(), timeout=1.5)
        assert time.monotonic() - start < 4
        assert caught.value.hint


async def test_a_node_that_ignores_interrupts_runs_to_its_end_and_that_is_said(
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


async def test_out_of_memory_has_its_own_error_and_advice(shell: Shell, server: DemoServer) -> None:
    server.faults = Faults(oom_at="KSampler")
    async with opened(shell, server.url, timeout=20) as client:
        with pytest.raises(OutOfMemoryError) as caught:
            await client.run(graphs.sampled())
        assert caught.value.node_type == "KSampler"
        assert "smaller" in caught.value.hint
        server.faults = Faults()
        assert (await client.run(graphs.sampled())).images


async def test_a_node_that_raises_is_named(shell: Shell, server: DemoServer) -> None:
    server.faults = Faults(error_at="VAEDecode")
    async with opened(shell, server.url, timeout=20) as client:
        with pytest.raises(GenerationFailedError) as caught:
            await client.run(graphs.sampled())
        assert (caught.value.node_id, caught.value.node_type) == ("5", "VAEDecode")


async def test_a_file_that_is_gone_is_told_as_such(shell: Shell, server: DemoServer) -> None:
    server.faults = Faults(missing_output=True)
    async with opened(shell, server.url, timeout=20) as client:
        result = await client.run(graphs.sampled())
        with pytest.raises(OutputMissingError) as caught:
            await _picture(client, result)
        assert caught.value.hint


async def test_an_answer_to_the_post_may_take_longer_than_the_job(
    shell: Shell, server: DemoServer
) -> None:
    server.faults = Faults(post_delay_s=1.0)
    async with opened(shell, server.url, timeout=20) as client:
        assert (await client.run(graphs.sampled())).images
        assert len(server.engine.queue.snapshot()[1]) == 0


async def test_a_node_list_that_takes_its_time_is_awaited(shell: Shell, server: DemoServer) -> None:
    server.faults = Faults(object_info_delay_s=1.0)
    async with opened(shell, server.url, timeout=0.5) as client:
        assert "KSampler" in await client.object_info()


async def test_a_job_survives_a_restart_that_keeps_the_queue(
    shell: Shell, server: DemoServer
) -> None:
    async with opened(shell, server.url, timeout=30) as client:
        await client.queue_prompt(graphs.sampled(steps=100))
        prompt_id = await client.queue_prompt(graphs.sampled())
        waiting = asyncio.create_task(client.wait_for_completion(prompt_id))
        await asyncio.sleep(0.2)
        await server.restart(keep_queue=True)
        assert (await waiting).images


async def test_a_job_that_ended_before_a_restart_is_found_in_the_kept_history(
    shell: Shell, server: DemoServer
) -> None:
    async with opened(shell, server.url, timeout=30) as client:
        prompt_id = await client.queue_prompt(graphs.sampled())
        await asyncio.sleep(0.4)
        await server.restart(keep_history=True)
        assert (await client.wait_for_completion(prompt_id)).images


async def test_a_job_forgotten_in_a_restart_is_lost_and_that_is_said(
    shell: Shell, server: DemoServer
) -> None:
    async with opened(shell, server.url, timeout=30) as client:
        waiting = asyncio.create_task(client.run(graphs.sampled(steps=400)))
        await asyncio.sleep(0.3)
        await server.restart()
        with pytest.raises(JobLostError) as caught:
            await asyncio.wait_for(waiting, 20)
        assert caught.value.hint
        assert (await client.run(graphs.sampled())).images
