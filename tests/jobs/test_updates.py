"""Followers see the newest, not too often, and always the end."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

from comfy_ui.jobs.updates import MIN_INTERVAL_S, JobUpdates
from comfy_ui.storage.records import Phase, Snapshot


def _at(progress: float, phase: Phase = Phase.RUNNING) -> Snapshot:
    return Snapshot(job_id="j", phase=phase, progress=progress)


async def _collect(board: JobUpdates) -> list[Snapshot]:
    async with aclosing(board.follow("j")) as news:
        return [snapshot async for snapshot in news]


async def test_a_follower_gets_the_newest_at_most_twelve_times_a_second_and_the_end() -> None:
    board = JobUpdates()
    board.put(_at(0))
    follower = asyncio.create_task(_collect(board))
    began = time.monotonic()
    for n in range(50):
        board.put(_at(n))
        await asyncio.sleep(0.01)
    board.put(_at(100, Phase.SUCCEEDED))
    seen = await follower
    assert 3 <= len(seen) <= (time.monotonic() - began) / MIN_INTERVAL_S + 2
    assert [s.version for s in seen] == sorted({s.version for s in seen})
    assert seen[-1].phase is Phase.SUCCEEDED


async def test_the_end_does_not_wait_for_the_interval() -> None:
    board = JobUpdates()
    board.put(_at(0))
    follower = asyncio.create_task(_collect(board))
    await asyncio.sleep(0.01)
    began = time.monotonic()
    board.put(_at(100, Phase.SUCCEEDED))
    await follower
    assert time.monotonic() - began < MIN_INTERVAL_S / 2


async def test_one_who_comes_late_starts_with_the_present() -> None:
    board = JobUpdates()
    for n in range(10):
        board.put(_at(n))
    async with aclosing(board.follow("j")) as news:
        assert (await anext(news)).progress == 9


async def test_a_follower_that_sleeps_still_gets_the_end_and_holds_nothing_up() -> None:
    board = JobUpdates()
    board.put(_at(0))
    async with aclosing(board.follow("j")) as slow:
        await anext(slow)
        for n in range(1000):
            board.put(_at(n / 10))
        board.put(_at(100, Phase.SUCCEEDED))
        assert board.get("j") is None
        assert [s.progress async for s in slow] == [100]


async def test_a_follower_that_dies_is_forgotten() -> None:
    board = JobUpdates()
    board.put(_at(0))
    follower = asyncio.create_task(_collect(board))
    await asyncio.sleep(0)
    assert board.followed() == ["j"]
    follower.cancel()
    await asyncio.gather(follower, return_exceptions=True)
    assert board.followed() == []


async def test_closing_ends_followers_without_inventing_an_end() -> None:
    board = JobUpdates()
    board.put(_at(5))
    follower = asyncio.create_task(_collect(board))
    await asyncio.sleep(0.01)
    board.close()
    assert [s.progress for s in await follower] == [5]


async def test_following_what_is_not_on_the_board_ends_at_once() -> None:
    assert await _collect(JobUpdates()) == []
