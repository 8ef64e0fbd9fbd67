"""Blocking work in one thread, in order, and no thread afterwards."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from comfy_ui.storage.single_thread import SingleThread


async def test_calls_run_one_after_the_other_in_the_order_asked_for() -> None:
    thread, done = SingleThread("t"), []

    def work(number: int) -> int:
        time.sleep(0.001 * (5 - number))
        done.append(number)
        return number

    assert await asyncio.gather(*(thread.run(work, n) for n in range(5))) == [0, 1, 2, 3, 4]
    assert done == [0, 1, 2, 3, 4]
    await thread.close()


async def test_closing_finishes_what_was_asked_for_then_calls_the_last_and_ends_the_thread() -> (
    None
):
    thread, done = SingleThread("short-lived"), []
    asked = asyncio.ensure_future(thread.run(lambda: done.append("asked")))
    await asyncio.sleep(0)
    await thread.close(lambda: done.append("last"))
    await thread.close(lambda: done.append("never"))
    await asked
    assert done == ["asked", "last"]
    assert not [t for t in threading.enumerate() if t.name.startswith("short-lived")]
    with pytest.raises(RuntimeError):
        await thread.run(print)
