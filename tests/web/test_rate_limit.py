from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comfy_ui.web.auth.limit_counters import CounterState, LocalCounters
from comfy_ui.web.auth.rate_limit import LoginDelay, RateLimit


class Counter:
    """One counter, and how long its changes say to wait."""

    def __init__(self) -> None:
        self.state: CounterState = {}

    def wait_s(self, change: Callable[..., Any], now: float) -> float:
        wait_s, self.state = change(self.state, now)
        return float(wait_s)


def test_rate_limit_after_a_burst_waits() -> None:
    limit, counter = RateLimit(burst=3, per_minute=60), Counter()
    assert [counter.wait_s(limit.take, 0.0) for _ in range(3)] == [0.0] * 3
    assert counter.wait_s(limit.take, 0.0) == 1.0
    assert counter.wait_s(limit.take, 0.5) == 0.5
    assert counter.wait_s(limit.take, 1.0) == 0.0
    assert counter.wait_s(limit.take, 1.0) > 0


def test_rate_limit_idle_time_refills_at_most_one_burst() -> None:
    limit, counter = RateLimit(burst=2, per_minute=60), Counter()
    assert counter.wait_s(limit.take, 0.0) == 0.0
    waits = [counter.wait_s(limit.take, 1e6) for _ in range(3)]
    assert [wait > 0 for wait in waits] == [False, False, True]


def test_rate_limit_token_that_was_given_back_can_be_taken_again() -> None:
    limit, counter = RateLimit(burst=2, per_minute=60), Counter()
    for _ in range(5):
        assert counter.wait_s(limit.take, 0.0) == 0.0
        counter.wait_s(limit.give_back, 0.0)
    assert counter.state == {}


def test_rate_limit_with_a_clock_that_went_back_takes_nothing_away() -> None:
    limit, counter = RateLimit(burst=2, per_minute=60), Counter()
    assert counter.wait_s(limit.take, 1000.0) == 0.0
    assert counter.wait_s(limit.take, 0.0) == 0.0
    assert counter.wait_s(limit.take, 0.0) == 1.0


async def test_local_counters_of_many_users_keep_memory_bounded() -> None:
    counters, limit = LocalCounters(), RateLimit(burst=1, per_minute=1)
    for number in range(20_000):
        await counters.update(str(number), limit.take)
    assert len(counters._states) == 10_000


def test_login_delay_doubles_with_each_attempt_up_to_the_longest() -> None:
    delay, counter, now, waits = LoginDelay(free=3, longest_s=10.0), Counter(), 0.0, []
    for _ in range(8):
        assert counter.wait_s(delay.attempt, now) == 0.0
        waits.append(counter.wait_s(delay.wait, now))
        now += waits[-1]
    assert waits == [0.0, 0.0, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert counter.wait_s(delay.attempt, now - 1.0) == 1.0, "it did not count"
    assert counter.wait_s(delay.wait, now - 1e6) == 10.0, "whatever the clock does"
    counter.wait_s(delay.reset, now)
    assert counter.wait_s(delay.wait, now) == 0.0
