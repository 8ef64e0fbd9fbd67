from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from comfy_ui.web.http.body_limit import BodyLimit

GONE = {"type": "http.disconnect"}


def sender(*sizes: int) -> Callable[[], Any]:
    """A ``receive`` that brings pieces of these sizes, and then the end of the connection."""
    pieces = [
        {"type": "http.request", "body": b"x" * size, "more_body": at < len(sizes)}
        for at, size in enumerate(sizes, start=1)
    ]

    async def receive() -> Any:
        return pieces.pop(0) if pieces else GONE

    return receive


async def test_a_body_within_its_limit_passes_and_is_held_until_the_answer() -> None:
    intake = BodyLimit(most_bytes=100)
    reading = intake.reading(sender(30, 20), 50)
    assert [len((await reading())["body"]) for _ in range(2)] == [30, 20]
    assert intake.held_bytes == 50
    assert await reading() == GONE
    reading.close()
    reading.close()
    assert intake.held_bytes == 0


async def test_a_body_above_its_limit_is_hung_up_on() -> None:
    intake = BodyLimit()
    reading = intake.reading(sender(30, 30), 50)
    assert (await reading())["body"]
    assert await reading() == GONE
    reading.close()
    assert intake.held_bytes == 0


async def test_all_together_may_hold_only_so_much() -> None:
    intake = BodyLimit(most_bytes=100)
    readings = [intake.reading(sender(40, 40), 1000) for _ in range(50)]
    first = [await reading() for reading in readings]
    assert [told.get("body") is not None for told in first[:3]] == [True, True, False]
    assert all(told == GONE for told in first[2:])
    for reading in readings:
        reading.close()
    assert intake.held_bytes == 0
    assert not intake.full


async def test_a_body_that_comes_too_slowly_is_hung_up_on_and_a_quiet_answer_is_not() -> None:
    async def silent() -> Any:
        await asyncio.Event().wait()

    intake = BodyLimit(longest_s=0.02)
    async with asyncio.timeout(5):
        assert await intake.reading(silent, 10)() == GONE
    answered = intake.reading(sender(0), 10)
    await answered()
    answered._receive = silent
    waiting = asyncio.create_task(answered())
    await asyncio.sleep(0.1)
    assert not waiting.done(), "a long answer to a short question"
    waiting.cancel()
