"""The jobs that an async client keeps, and the end of every wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from comfy_ui.client import ComfyWSClient
from comfy_ui.client.tracking import session
from comfy_ui.demo import DemoServer
from comfy_ui.errors import GenerationCancelledError, InvalidWorkflowError
from comfy_ui.protocol.progress import Progress
from tests.client.support import image_graph
from tests.demo.support import text_to_image


@pytest.fixture
async def client(engine: DemoServer) -> AsyncIterator[ComfyWSClient]:
    async with ComfyWSClient(url=engine.url) as client:
        yield client


async def test_session_jobs_without_waiter_are_limited(
    client: ComfyWSClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_KEPT_JOBS", 3)
    ids = [await client.queue_prompt(image_graph(n)) for n in range(6)]
    assert list(client._session._jobs) == ids[-3:]
    assert (await client.wait_for_completion(ids[0])).images  # by asking the server


async def test_queue_prompt_graph_that_json_cannot_hold_leaves_no_job(
    client: ComfyWSClient,
) -> None:
    graph = image_graph(1)
    next(iter(graph.values()))["inputs"]["extra"] = object()
    with pytest.raises(InvalidWorkflowError):
        await client.queue_prompt(graph)
    assert client._session._jobs == {}


@pytest.fixture
async def slow_client() -> AsyncIterator[ComfyWSClient]:
    """A client of a server that takes seconds for an image."""
    with DemoServer(speed=20.0) as engine:
        async with ComfyWSClient(url=engine.url) as client:
            yield client


async def shown(client: ComfyWSClient, prompt_id: str) -> asyncio.Task[Any]:
    """Wait for the job in a task, and return when the first preview has arrived."""
    seen = asyncio.Event()

    def look(progress: Progress) -> None:
        if progress.preview:
            seen.set()

    task = asyncio.create_task(client.wait_for_completion(prompt_id, on_progress=look))
    await asyncio.wait_for(seen.wait(), 10)
    return task


async def test_cancel_while_waiting_forgets_job(
    slow_client: ComfyWSClient,
) -> None:
    prompt_id = await slow_client.queue_prompt(text_to_image(steps=100))
    task = await shown(slow_client, prompt_id)
    assert await slow_client.cancel(prompt_id)
    with pytest.raises(GenerationCancelledError):
        await task
    await slow_client.cancel(prompt_id)  # does not bring it back
    assert slow_client._session._jobs == {}


async def test_session_cancelled_jobs_are_limited(
    slow_client: ComfyWSClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_KEPT_STOPPED", 2)
    ids = [await slow_client.queue_prompt(text_to_image(seed=n, steps=100)) for n in range(5)]
    for prompt_id in ids:
        assert await slow_client.cancel(prompt_id)
    assert list(slow_client._session._jobs) == ids[-2:]
    slow_client._session._connected(None)  # changes nothing for ended jobs
    with pytest.raises(GenerationCancelledError):
        await slow_client.wait_for_completion(ids[-1])
    assert list(slow_client._session._jobs) == ids[-2:-1]


async def test_session_preview_without_follower_is_dropped(slow_client: ComfyWSClient) -> None:
    prompt_id = await slow_client.queue_prompt(text_to_image(steps=40))
    task = await shown(slow_client, prompt_id)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    job = slow_client._session.job(prompt_id)
    assert job.state.tracker.preview is None
    async with asyncio.timeout(20):
        while not job.settled:  # noqa: ASYNC110 -- reported over the WebSocket
            await asyncio.sleep(0.05)
    assert job.state.tracker.preview is None
    assert (await slow_client.wait_for_completion(prompt_id)).images
    assert slow_client._session._jobs == {}


async def test_session_internal_error_reaches_every_waiter(
    client: ComfyWSClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(jobs: Any) -> Any:
        raise RuntimeError("a fault of our own")
        yield

    monkeypatch.setattr(client._tracking, "tend", broken)
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    waits = [client.wait_for_completion(str(uuid4()), timeout=10) for _ in range(2)]
    came = await asyncio.gather(*waits, return_exceptions=True)
    assert [str(error) for error in came] == ["a fault of our own"] * 2


async def test_session_job_given_up_can_be_awaited_again(client: ComfyWSClient) -> None:
    prompt_id = await client.queue_prompt(image_graph())
    await client.wait_for_completion(prompt_id)
    job = client._session.job(prompt_id)
    job.give_up(RuntimeError("away"))
    assert client._session.job(prompt_id) is not job
    assert (await client.wait_for_completion(prompt_id)).images
