"""Blocking calls in one thread, in order, and no thread after closing."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from comfy_ui.storage.single_thread import SingleThread


async def test_single_thread_runs_calls_one_at_a_time_in_order() -> None:
    thread, done = SingleThread("t"), []

    def work(number: int) -> int:
        time.sleep(0.001 * (5 - number))
        done.append(number)
        return number

    assert await asyncio.gather(*(thread.run(work, n) for n in range(5))) == [0, 1, 2, 3, 4]
    assert done == [0, 1, 2, 3, 4]
    await thread.close()


async def test_single_thread_close_runs_queued_calls_then_last_and_ends_thread() -> None:
    thread, done = SingleThread("short-lived"), []
    queued = asyncio.ensure_future(thread.run(lambda: done.append("queued")))
    await asyncio.sleep(0)
    await thread.close(lambda: done.append("last"))
    await thread.close(lambda: done.append("never"))
    await queued
    assert done == ["queued", "last"]
    assert not [t for t in threading.enumerate() if t.name.startswith("short-lived")]
    with pytest.raises(RuntimeError):
        await thread.run(print)
