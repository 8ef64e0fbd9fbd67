"""The jobs of an async client: what is kept of them, and that nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from comfy_ui.client import ComfyWSClient, hub
from comfy_ui.demo import DemoServer
from tests.client.support import image_graph


@pytest.fixture
async def client(engine: DemoServer) -> AsyncIterator[ComfyWSClient]:
    async with ComfyWSClient(url=engine.url) as client:
        yield client


async def test_jobs_that_nobody_waits_for_are_not_kept_for_ever(
    client: ComfyWSClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "_KEPT_JOBS", 3)
    ids = [await client.queue_prompt(image_graph(n)) for n in range(6)]
    assert list(client._hub._jobs) == ids[-3:]
    assert (await client.wait_for_completion(ids[0])).images  # by asking the server


async def test_a_fault_of_our_own_reaches_all_who_wait(
    client: ComfyWSClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(jobs: Any) -> Any:
        raise RuntimeError("a fault of our own")
        yield

    monkeypatch.setattr(client._following, "tend", broken)
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    waits = [client.wait_for_completion(str(uuid4()), timeout=10) for _ in range(2)]
    came = await asyncio.gather(*waits, return_exceptions=True)
    assert [str(error) for error in came] == ["a fault of our own"] * 2


async def test_a_job_that_was_given_up_can_be_waited_for_again(client: ComfyWSClient) -> None:
    prompt_id = await client.queue_prompt(image_graph())
    await client.wait_for_completion(prompt_id)
    job = client._hub.job(prompt_id)
    job.give_up(RuntimeError("away"))
    assert client._hub.job(prompt_id) is not job
    assert (await client.wait_for_completion(prompt_id)).images
