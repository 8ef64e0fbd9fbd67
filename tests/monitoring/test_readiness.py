from __future__ import annotations

import asyncio

from comfy_ui.errors import StorageError
from comfy_ui.monitoring.event_loop_lag import measure_lag
from comfy_ui.monitoring.metrics_token import may_read
from comfy_ui.monitoring.readiness import Readiness


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def _fine() -> str | None:
    return None


async def test_readiness_is_the_first_problem_in_the_order_of_the_checks() -> None:
    async def schema() -> str | None:
        return "schema"

    async def refused() -> str | None:
        raise StorageError("no postgresql://me:secret@host")

    assert await Readiness({"database": _fine, "files": _fine}).problem() is None
    assert await Readiness({"database": schema, "files": refused}).problem() == "schema"
    assert await Readiness({"database": _fine, "files": refused}).problem() == "files"


async def test_readiness_asks_once_for_requests_within_a_second() -> None:
    clock, calls = Clock(), 0

    async def count() -> str | None:
        nonlocal calls
        calls += 1
        return None if calls == 1 else "queue"

    readiness = Readiness({"queue": count}, age_s=1.0, now=clock)
    assert await asyncio.gather(*(readiness.problem() for _ in range(20))) == [None] * 20
    assert calls == 1
    clock.now = 1.5
    assert await readiness.problem() == "queue"


async def test_readiness_check_that_hangs_fails_and_is_not_started_twice() -> None:
    started, release = 0, asyncio.Event()

    async def hang() -> str | None:
        nonlocal started
        started += 1
        await release.wait()
        return None

    readiness = Readiness({"files": hang, "queue": _fine}, limit_s=0.01, age_s=0.0)
    assert [await readiness.problem() for _ in range(3)] == ["files"] * 3
    assert started == 1
    release.set()
    assert await readiness.problem() is None
    await readiness.aclose()


async def test_measure_lag_reports_how_late_the_loop_was() -> None:
    lags: asyncio.Queue[float] = asyncio.Queue()
    task = asyncio.create_task(measure_lag(lags.put_nowait, interval_s=0.001))
    assert await lags.get() >= 0.0
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_may_read_needs_a_token_that_is_set() -> None:
    assert may_read("Bearer a-token-of-the-operator", "a-token-of-the-operator")
    assert not may_read("Basic a-token-of-the-operator", "a-token-of-the-operator")
    assert not may_read("Bearer ä", "a-token-of-the-operator")
    assert not may_read("Bearer ", "")
