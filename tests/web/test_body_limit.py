from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from comfy_ui.web.http.body_limit import BodyLimit
from comfy_ui.web.http.request_budgets import RequestBudget

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


def stalling(size: int) -> Callable[[], Any]:
    """Return a ``receive`` that yields one chunk of a larger body, then nothing."""
    first = [{"type": "http.request", "body": b"x" * size, "more_body": True}]

    async def receive() -> Any:
        if not first:
            await asyncio.Event().wait()
        return first.pop()

    return receive


def budget(body_bytes: int, body_s: float = 30) -> RequestBudget:
    return RequestBudget("POST", "/x", body_bytes=body_bytes, body_s=body_s)


async def test_body_limit_body_within_limit_passes_and_is_counted_until_close() -> None:
    limit = BodyLimit(most_bytes=100)
    reading = limit.reading(sender(30, 20), budget(50))
    assert [len((await reading())["body"]) for _ in range(2)] == [30, 20]
    assert limit.held_bytes == 50
    assert reading.whole
    assert await reading() == GONE
    reading.close()
    reading.close()
    assert limit.held_bytes == 0


async def test_body_limit_reads_a_whole_body() -> None:
    limit = BodyLimit()
    assert await limit.reading(sender(3, 4), budget(7)).all() == b"x" * 7
    assert await limit.reading(sender(3, 5), budget(7)).all() is None


async def test_body_limit_body_above_limit_disconnects() -> None:
    limit = BodyLimit()
    reading = limit.reading(sender(30, 30), budget(50))
    assert (await reading())["body"]
    assert await reading() == GONE
    assert reading.refusal is not None
    assert reading.refusal.status == 413
    assert limit.held_bytes == 0


async def test_body_limit_total_above_limit_disconnects_later_bodies_of_the_same_caller() -> None:
    limit = BodyLimit(most_bytes=100)
    readings = [limit.reading(sender(40, 40), budget(1000)) for _ in range(50)]
    first = [await reading() for reading in readings]
    assert [message.get("body") is not None for message in first[:3]] == [True, True, False]
    assert all(message == GONE for message in first[2:])
    for reading in readings:
        reading.close()
    assert limit.held_bytes == 0


async def test_body_limit_stalled_body_gives_way_to_another_caller() -> None:
    limit = BodyLimit(most_bytes=100)
    stalled = [limit.reading(stalling(30), budget(1000), "attacker") for _ in range(3)]
    waiting = [asyncio.create_task(reading.all()) for reading in stalled]
    await asyncio.sleep(0.01)
    assert limit.held_bytes == 90
    assert await limit.reading(sender(25, 25), budget(1000), "other").all() == b"x" * 50
    await asyncio.sleep(0.01)
    assert [task.done() for task in waiting] == [True, True, False]
    assert stalled[0].refusal is not None
    assert stalled[0].refusal.status == 503
    waiting[2].cancel()


async def test_body_limit_stalled_and_slow_bodies_disconnect() -> None:
    async with asyncio.timeout(5):
        for limit, body_s in (
            (BodyLimit(pause_s=0.02), 30.0),
            (BodyLimit(grace_s=0.02), 30.0),
            (BodyLimit(), 0.02),
        ):
            reading = limit.reading(stalling(1), budget(1000, body_s))
            assert await reading.all() is None
            assert reading.refusal is not None
            assert reading.refusal.status == 408
            assert limit.held_bytes == 0


async def test_body_limit_slow_response_does_not_disconnect() -> None:
    async def silent() -> Any:
        await asyncio.Event().wait()

    answered = BodyLimit(pause_s=0.02).reading(sender(0), budget(10, 0.02))
    await answered()
    answered._receive = silent
    waiting = asyncio.create_task(answered())
    await asyncio.sleep(0.1)
    assert not waiting.done(), "a long response to a short request"
    waiting.cancel()
