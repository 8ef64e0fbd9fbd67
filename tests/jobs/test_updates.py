"""Followers get the newest snapshot at a limited rate, and always the end."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

from comfy_ui.jobs.updates import MIN_INTERVAL_S, JobUpdates
from comfy_ui.storage.records import Phase, Snapshot


def _at(progress: float, phase: Phase = Phase.RUNNING) -> Snapshot:
    return Snapshot(job_id="j", phase=phase, progress=progress)


async def _collect(updates: JobUpdates) -> list[Snapshot]:
    async with aclosing(updates.follow("j")) as news:
        return [snapshot async for snapshot in news]


async def test_follow_yields_newest_at_limited_rate_and_end() -> None:
    updates = JobUpdates()
    updates.put(_at(0))
    follower = asyncio.create_task(_collect(updates))
    began = time.monotonic()
    for n in range(50):
        updates.put(_at(n))
        await asyncio.sleep(0.01)
    updates.put(_at(100, Phase.SUCCEEDED))
    seen = await follower
    assert 3 <= len(seen) <= (time.monotonic() - began) / MIN_INTERVAL_S + 2
    assert [s.version for s in seen] == sorted({s.version for s in seen})
    assert seen[-1].phase is Phase.SUCCEEDED


async def test_follow_end_is_sent_without_waiting_for_interval() -> None:
    updates = JobUpdates()
    updates.put(_at(0))
    follower = asyncio.create_task(_collect(updates))
    await asyncio.sleep(0.01)
    began = time.monotonic()
    updates.put(_at(100, Phase.SUCCEEDED))
    await follower
    assert time.monotonic() - began < MIN_INTERVAL_S / 2


async def test_follow_late_follower_starts_with_current_snapshot() -> None:
    updates = JobUpdates()
    for n in range(10):
        updates.put(_at(n))
    async with aclosing(updates.follow("j")) as news:
        assert (await anext(news)).progress == 9


async def test_follow_slow_follower_gets_end_and_blocks_nothing() -> None:
    updates = JobUpdates()
    updates.put(_at(0))
    async with aclosing(updates.follow("j")) as slow:
        await anext(slow)
        for n in range(1000):
            updates.put(_at(n / 10))
        updates.put(_at(100, Phase.SUCCEEDED))
        assert updates.get("j") is None
        assert [s.progress async for s in slow] == [100]


async def test_follow_cancelled_follower_is_removed() -> None:
    updates = JobUpdates()
    updates.put(_at(0))
    follower = asyncio.create_task(_collect(updates))
    await asyncio.sleep(0)
    assert updates.followed() == ["j"]
    follower.cancel()
    await asyncio.gather(follower, return_exceptions=True)
    assert updates.followed() == []


async def test_close_ends_followers_with_last_snapshot() -> None:
    updates = JobUpdates()
    updates.put(_at(5))
    follower = asyncio.create_task(_collect(updates))
    await asyncio.sleep(0.01)
    updates.close()
    assert [s.progress for s in await follower] == [5]


async def test_follow_unknown_job_ends_at_once() -> None:
    assert await _collect(JobUpdates()) == []
