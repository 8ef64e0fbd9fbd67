"""The event queue that wakes instead of polling."""

from __future__ import annotations

import asyncio
import itertools
import logging
import queue as queue_module
import selectors
import statistics
import sys
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import gradio.utils
import httpx
import pytest
from gradio import processing_utils
from gradio.queueing import Queue

from comfy_ui.web import event_queue
from comfy_ui.web.event_queue import (
    WakingQueue,
    is_known_queue,
    skip_needless_work,
    use_waking_queue,
)
from tests.security.support import GRADIO, served

pytestmark = GRADIO

IDLE_S = 1.0


class CountingSelector(selectors.DefaultSelector):
    """Counts how often an event loop asks the system for events."""

    count = 0

    def select(self, timeout: float | None = None) -> Any:
        self.count += 1
        return super().select(timeout)


def queue_of(kind: type[Queue]) -> Queue:
    return kind(
        live_updates=True,
        concurrency_count=4,
        update_intervals=1,
        max_size=None,
        blocks=gr.Blocks(),
        default_concurrency_limit=None,
    )


def idle_cost(kind: type[Queue]) -> tuple[int, float]:
    """Return the polls of the event loop and the CPU seconds while no event arrives."""
    selector = CountingSelector()

    async def idle() -> tuple[int, float]:
        queue = queue_of(kind)
        queue.start()
        polls, seconds = selector.count, time.thread_time()
        await asyncio.sleep(IDLE_S)
        polls, seconds = selector.count - polls, time.thread_time() - seconds
        queue.close()
        return polls, seconds

    loop = asyncio.SelectorEventLoop(selector)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(idle())


def test_waking_queue_idle_costs_a_tenth_of_polling() -> None:
    polling, waking = idle_cost(Queue), idle_cost(WakingQueue)
    assert waking[0] < polling[0] / 10
    assert waking[1] < polling[1] / 2


def test_is_known_queue_installed_gradio_has_the_replaced_loop() -> None:
    """If this fails, compare the adapter with the new loop of Gradio, then change its hash."""
    assert is_known_queue()


def test_use_waking_queue_unknown_gradio_keeps_its_queue_and_warns(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(event_queue, "_REPLACED_LOOP_SHA256", "another")
    blocks = gr.Blocks()
    queue = blocks._queue
    with caplog.at_level(logging.WARNING):
        use_waking_queue(blocks)
    assert blocks._queue is queue
    assert "it polls" in caplog.text


async def test_waking_queue_close_in_another_thread_ends_its_loop() -> None:
    queue = queue_of(WakingQueue)
    loop = asyncio.create_task(queue.start_processing())
    await asyncio.sleep(0.01)
    threading.Thread(target=queue.close).start()
    async with asyncio.timeout(2):
        await loop


def test_page_serves_events_with_the_waking_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(tmp_path, monkeypatch, users=False) as page:
        assert isinstance(page._queue, WakingQueue)


@contextmanager
def waking_app(
    handler: Any, *, limit: int | None, ended_with_caller: Collection[str] = ()
) -> Iterator[tuple[gr.Blocks, str]]:
    with gr.Blocks() as blocks:
        blocks.load(handler, concurrency_limit=limit)
    blocks.queue(default_concurrency_limit=None)
    use_waking_queue(blocks, ended_with_caller=ended_with_caller)

    async def launched() -> None:
        blocks.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False)

    asyncio.run(launched())
    try:
        yield blocks, f"http://127.0.0.1:{blocks.server_port}/gradio_api/queue/join"
    finally:
        blocks.close(verbose=False)


def test_waking_queue_event_starts_within_20_ms() -> None:
    delays_s: list[float] = []

    async def handler() -> None:
        (events,) = [events for events in blocks._queue.active_jobs if events]
        delays_s.append(time.monotonic() - events[0].enqueue_time)

    with waking_app(handler, limit=None) as (blocks, url):
        for number in range(20):
            httpx.post(url, json={"fn_index": 0, "data": [], "session_hash": f"s{number}"})
            deadline = time.monotonic() + 5
            while len(delays_s) <= number and time.monotonic() < deadline:
                time.sleep(0.01)
    assert len(delays_s) == 20
    assert statistics.median(delays_s) < 0.02


def test_waking_queue_event_waits_for_its_concurrency_limit_then_starts() -> None:
    spans: list[tuple[float, float]] = []

    async def handler() -> None:
        started_at = time.monotonic()
        await asyncio.sleep(0.1)
        spans.append((started_at, time.monotonic()))

    with waking_app(handler, limit=1) as (_, url):
        for number in range(3):
            httpx.post(url, json={"fn_index": 0, "data": [], "session_hash": f"s{number}"})
        deadline = time.monotonic() + 30
        while len(spans) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert len(spans) == 3
    for (_, ended_at), (started_at, _) in itertools.pairwise(spans):
        assert ended_at <= started_at < ended_at + 5


@pytest.mark.parametrize("ends", [True, False])
def test_waking_queue_caller_hangs_up_ends_only_named_events(ends: bool) -> None:
    started, go_on = threading.Event(), threading.Event()
    outcomes: queue_module.Queue[str] = queue_module.Queue()

    async def handler() -> None:
        started.set()
        try:
            while not go_on.is_set():  # noqa: ASYNC110 -- another thread sets it
                await asyncio.sleep(0.01)
            outcomes.put("completed")
        except asyncio.CancelledError:
            outcomes.put("cancelled")
            raise

    names = {"handler"} if ends else set()
    with waking_app(handler, limit=None, ended_with_caller=names) as (blocks, url):
        httpx.post(url, json={"fn_index": 0, "data": [], "session_hash": "s"})
        assert started.wait(5)
        (event,) = next(events for events in blocks._queue.active_jobs if events)
        with httpx.stream("GET", url.replace("join", "data?session_hash=s")) as stream:
            next(stream.iter_lines())
        deadline = time.monotonic() + 5
        while event.alive and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        go_on.set()
        assert outcomes.get(timeout=5) == ("cancelled" if ends else "completed")


def test_waking_queue_positions_are_sent_twice_a_second_at_most() -> None:
    queue = queue_of(WakingQueue)
    event = SimpleNamespace(fn=None, streaming=False, alive=True, session_hash="s", _id="e")
    queue.event_queue_per_concurrency_id["x"] = SimpleNamespace(  # type: ignore[assignment]
        queue=[event], current_concurrency=0, concurrency_limit=None
    )
    sent: list[Any] = []
    queue.send_message = lambda event, message: sent.append(message)  # type: ignore[method-assign]
    for _ in range(100):
        queue.broadcast_estimations("x")
    assert len(sent) == 1
    queue.broadcast_estimations("x", 0)
    assert len(sent) == 2, "an event that arrives learns its position at once"


def test_waking_queue_event_ends_without_statistics_of_the_events_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frames: list[Any] = []
    monkeypatch.setattr(Queue, "_get_df", lambda _, records: frames.append(records))
    ended: list[None] = []
    with waking_app(lambda: ended.append(None), limit=None) as (blocks, url):
        for number in range(3):
            httpx.post(url, json={"fn_index": 0, "data": [], "session_hash": f"s{number}"})
        deadline = time.monotonic() + 5
        while (len(ended) < 3 or any(blocks._queue.active_jobs)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(ended) == 3
        assert len(blocks._queue.event_analytics) <= 1
    assert frames == []


async def test_waking_queue_has_counts_only_unfinished_events_of_the_caller() -> None:
    queue: Any = queue_of(WakingQueue)
    queue.active_jobs = [[SimpleNamespace(_id="1")], None]
    queue._events = {"ann": {"1", "2"}, "bob": {"3"}}
    assert not queue._has("ann", 3)
    assert not queue._has("ann", 2), "one of them has ended"
    assert queue._has("ann", 1)
    assert queue._events == {"ann": {"1"}}


class RecordingFinder:
    """Records the modules that are searched for."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def find_spec(self, name: str, *_: Any) -> None:
        self.names.append(name)


@pytest.fixture
def needless_work_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (gradio.utils, "MatplotlibBackendMananger"),
        (processing_utils, "async_move_files_to_cache"),
        (processing_utils, "add_root_url"),
        (gradio.routes, "Depends"),
        (gradio.routes.App, "create_app"),
        (gradio.blocks, "anyio"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))
    skip_needless_work()


@pytest.mark.usefixtures("needless_work_skipped")
def test_skip_needless_work_event_does_not_search_for_matplotlib(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    finder, ended = RecordingFinder(), threading.Event()

    async def handler() -> None:
        ended.set()

    with waking_app(handler, limit=None) as (_, url):
        monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
        httpx.post(url, json={"fn_index": 0, "data": [], "session_hash": "s"})
        assert ended.wait(5)
    assert "matplotlib" not in finder.names


@pytest.mark.usefixtures("needless_work_skipped")
def test_skip_needless_work_page_has_an_app_only_when_it_is_built() -> None:
    with gr.Blocks(analytics_enabled=False) as page:
        page.queue()
    assert page.app is None
    assert gradio.routes.App.create_app(page).routes


@pytest.mark.usefixtures("needless_work_skipped")
async def test_skip_needless_work_json_without_paths_is_not_copied() -> None:
    block = gr.JSON(render=False)
    data = {"files": [{"url": "/x"}], "more": ({"a": 1},)}
    move, add = processing_utils.async_move_files_to_cache, processing_utils.add_root_url
    assert await move(data, block, postprocess=True) is data
    assert add(data, "https://x", None) is data


@pytest.mark.usefixtures("needless_work_skipped")
async def test_skip_needless_work_files_are_still_moved_and_addressed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a")
    file = {"path": str(path), "url": "/f", "meta": {"_type": "gradio.FileData"}}
    move, add = processing_utils.async_move_files_to_cache, processing_utils.add_root_url
    moved: Any = await move({"x": [[file]]}, gr.JSON(render=False), postprocess=True)
    assert moved["x"][0][0]["url"].startswith("/gradio_api/file=")
    assert add([{"x": file}], "https://x", None)[0]["x"]["url"] == "https://x/f"


@pytest.mark.usefixtures("needless_work_skipped")
async def test_skip_needless_work_text_and_html_are_converted_without_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def postprocess(_self: Any, _value: Any) -> int:
        return threading.get_ident()

    monkeypatch.setattr(gr.HTML, "postprocess", postprocess)
    blocks: Any = gradio.blocks
    run_sync, here = blocks.anyio.to_thread.run_sync, threading.get_ident()
    assert await run_sync(gr.HTML(render=False).postprocess, "x", limiter=None) == here
    assert await run_sync(threading.get_ident, limiter=None) != here


@pytest.mark.usefixtures("needless_work_skipped")
async def test_skip_needless_work_login_is_checked_in_the_event_loop() -> None:
    def login_check(user: str) -> None:
        raise PermissionError(user)

    routes: Any = gradio.routes
    with pytest.raises(PermissionError, match="ann"):
        await routes.Depends(login_check).dependency("ann")
    assert routes.Depends(threading.get_ident).dependency is threading.get_ident
