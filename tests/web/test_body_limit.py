from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from comfy_ui.web.http.body_limit import BodyLimit

GONE = {"type": "http.disconnect"}


def sender(*sizes: int) -> Callable[[], Any]:
    """Return a ``receive`` that yields chunks of these sizes, then a disconnect."""
    pieces = [
        {"type": "http.request", "body": b"x" * size, "more_body": at < len(sizes)}
        for at, size in enumerate(sizes, start=1)
    ]

    async def receive() -> Any:
        return pieces.pop(0) if pieces else GONE

    return receive


async def test_body_limit_body_within_limit_passes_and_is_counted_until_close() -> None:
    limit = BodyLimit(most_bytes=100)
    reading = limit.reading(sender(30, 20), 50)
    assert [len((await reading())["body"]) for _ in range(2)] == [30, 20]
    assert limit.held_bytes == 50
    assert await reading() == GONE
    reading.close()
    reading.close()
    assert limit.held_bytes == 0


async def test_body_limit_body_above_limit_disconnects() -> None:
    limit = BodyLimit()
    reading = limit.reading(sender(30, 30), 50)
    assert (await reading())["body"]
    assert await reading() == GONE
    reading.close()
    assert limit.held_bytes == 0


async def test_body_limit_total_above_limit_disconnects_later_bodies() -> None:
    limit = BodyLimit(most_bytes=100)
    readings = [limit.reading(sender(40, 40), 1000) for _ in range(50)]
    first = [await reading() for reading in readings]
    assert [message.get("body") is not None for message in first[:3]] == [True, True, False]
    assert all(message == GONE for message in first[2:])
    for reading in readings:
        reading.close()
    assert limit.held_bytes == 0
    assert not limit.full


async def test_body_limit_slow_body_disconnects_but_slow_response_does_not() -> None:
    async def silent() -> Any:
        await asyncio.Event().wait()

    limit = BodyLimit(longest_s=0.02)
    async with asyncio.timeout(5):
        assert await limit.reading(silent, 10)() == GONE
    answered = limit.reading(sender(0), 10)
    await answered()
    answered._receive = silent
    waiting = asyncio.create_task(answered())
    await asyncio.sleep(0.1)
    assert not waiting.done(), "a long response to a short request"
    waiting.cancel()
