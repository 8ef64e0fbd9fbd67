"""One async client in several event loops, one after the other and at the same time."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from comfy_ui.client import ComfyWSClient
from comfy_ui.demo import DemoServer
from comfy_ui.errors import ComfyUIConnectionError
from tests.client.support import image_graph

pytestmark = pytest.mark.timeout(60)


def test_client_in_a_second_event_loop_works_as_in_the_first(engine: DemoServer) -> None:
    client = ComfyWSClient(url=engine.url, timeout=20)
    progress: list[float] = []

    async def run(color: int) -> str:
        result = await client.run(
            image_graph(color), on_progress=lambda p: progress.append(p.progress), timeout=20
        )
        assert client._session._feed.client_id, "progress is pushed in each loop"
        return result.prompt_id

    first = asyncio.run(run(1))
    assert len({first, asyncio.run(run(2))}) == 2
    assert progress.count(100.0) == 2

    async def look_back() -> bool:
        async with client:
            return (await client.wait_for_completion(first, timeout=20)).prompt_id == first

    assert asyncio.run(look_back())


def test_client_queued_in_one_loop_is_awaited_in_another(engine: DemoServer) -> None:
    client = ComfyWSClient(url=engine.url, timeout=20)
    prompt_id = asyncio.run(client.queue_prompt(image_graph()))
    result = asyncio.run(client.wait_for_completion(prompt_id, timeout=20))
    assert len(result.images) == 1
    assert asyncio.run(client.download(result.images[0]))


def test_client_unclosed_leaves_no_connection_at_the_end_of_its_loop(engine: DemoServer) -> None:
    client = ComfyWSClient(url=engine.url, timeout=20)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        asyncio.run(client.run(image_graph(), timeout=20))
        assert client._connections._connections == {}
        gc.collect()


def test_client_in_loops_of_several_threads_works_in_each(engine: DemoServer) -> None:
    client = ComfyWSClient(url=engine.url, timeout=20)
    barrier = threading.Barrier(3)

    def work(color: int) -> int:
        async def run() -> int:
            await client.ping()
            await asyncio.to_thread(barrier.wait)
            return len((await client.run(image_graph(color), timeout=20)).images)

        return asyncio.run(run())

    with ThreadPoolExecutor(3) as pool:
        assert [*pool.map(work, range(3))] == [1, 1, 1]


def _in_a_new_loop(work: Coroutine[Any, Any, Any]) -> Any:
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()  # without shutdown_asyncgens, as some programs do


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of the loop that was only closed
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_client_after_a_loop_that_was_only_closed_works(engine: DemoServer) -> None:
    client = ComfyWSClient(url=engine.url, timeout=20)
    assert _in_a_new_loop(client.ping()) == 0

    async def again() -> int:
        async with client:
            return await client.ping()

    assert asyncio.run(again()) == 0
    gc.collect()


def test_client_closed_in_one_loop_is_closed_in_all(engine: DemoServer) -> None:
    client = ComfyWSClient(url=engine.url, timeout=20)
    started, closed = threading.Event(), threading.Event()

    async def other() -> None:
        await client.ping()
        started.set()
        await asyncio.to_thread(closed.wait)
        with pytest.raises(ComfyUIConnectionError, match="closed"):
            await client.ping()

    async def close() -> None:
        await asyncio.to_thread(started.wait)
        await client.close()
        closed.set()
        await client.close()

    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(lambda: asyncio.run(other()))
        asyncio.run(close())
        ending.result(20)
    with pytest.raises(ComfyUIConnectionError, match="closed"):
        asyncio.run(client.ping())
