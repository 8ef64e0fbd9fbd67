from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from comfy_ui.errors import ValidationError
from comfy_ui.web.auth import key_limits as module
from comfy_ui.web.auth.accounts import TooManyTriesError
from comfy_ui.web.auth.key_limits import KeyLimits, KeyRequests, key_limits
from comfy_ui.web.auth.limit_counters import LocalCounters


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def wait_s(requests: KeyRequests, key: str, limits: KeyLimits) -> float:
    """Return how long a request that ends at once has to wait."""
    try:
        async with requests.request(key, limits):
            return 0.0
    except TooManyTriesError as error:
        return error.wait_s


async def test_key_requests_at_a_time_are_limited_for_each_key() -> None:
    requests, limits = KeyRequests(), KeyLimits(requests=2)
    async with requests.request("a", limits):
        async with requests.request("a", limits):
            with pytest.raises(TooManyTriesError, match="may have 2 requests at a time"):
                await requests.request("a", limits).__aenter__()
            assert await wait_s(requests, "b", limits) == 0
        assert await wait_s(requests, "a", limits) == 0


async def test_key_requests_of_a_killed_app_end_with_their_leases_and_others_are_renewed(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.asyncio, "sleep", sleep := Sleep())
    counters, limits = LocalCounters(clock), KeyLimits(requests=2)
    killed, living = KeyRequests(counters), KeyRequests(counters)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(killed.request("a", limits))
        await stack.enter_async_context(living.request("a", limits))
        renewing = asyncio.create_task(living.keep_leases())
        clock.now = 20.0
        assert await wait_s(living, "a", limits) > 0
        await sleep.passed()
        clock.now = 40.0
        async with living.request("a", limits):
            assert await wait_s(living, "a", limits) > 0, "the renewed one and this one"
        renewing.cancel()


class Sleep:
    """Stands for asyncio.sleep; the test decides when it is over."""

    def __init__(self) -> None:
        self._go, self._begun = asyncio.Event(), asyncio.Semaphore(0)

    async def __call__(self, _: float) -> None:
        self._begun.release()
        await self._go.wait()
        self._go.clear()

    async def passed(self) -> None:
        """Let a sleep end, and wait for what comes after it."""
        await self._begun.acquire()
        self._go.set()
        await self._begun.acquire()


async def test_key_requests_per_minute_are_limited_and_refill(clock: Clock) -> None:
    requests, limits = KeyRequests(LocalCounters(clock)), KeyLimits(per_minute=2)
    assert [await wait_s(requests, "a", limits) for _ in range(2)] == [0, 0]
    assert await wait_s(requests, "a", limits) == pytest.approx(30)
    clock.now = 29.0
    assert await wait_s(requests, "a", limits) == pytest.approx(1)
    clock.now = 31.0
    assert await wait_s(requests, "a", limits) == 0


async def test_key_requests_beyond_their_rate_are_not_in_progress() -> None:
    requests, limits = KeyRequests(), KeyLimits(requests=1, per_minute=1)
    assert await wait_s(requests, "a", limits) == 0
    assert await wait_s(requests, "a", limits) > 10
    assert await wait_s(requests, "a", KeyLimits(requests=1)) == 0


async def test_key_requests_changed_limit_counts_at_once(clock: Clock) -> None:
    requests = KeyRequests(LocalCounters(clock))
    for _ in range(10):
        assert await wait_s(requests, "a", KeyLimits(per_minute=1000)) == 0
    assert await wait_s(requests, "a", KeyLimits(per_minute=1)) == 0
    assert await wait_s(requests, "a", KeyLimits(per_minute=1)) > 0


def test_key_limits_of_a_form_refuse_what_is_no_limit() -> None:
    assert key_limits(None, " ", "3") == key_limits(0, "0", 3) == KeyLimits(per_minute=3)
    for wrong in (-1, "1.5", "many", 10**9):
        with pytest.raises(ValidationError, match="no limit"):
            key_limits(None, wrong, None)
