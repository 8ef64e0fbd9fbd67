from __future__ import annotations

from comfy_ui.web.auth.rate_limit import LoginAttempts, RateLimit, RateLimiter


def test_rate_limiter_after_a_burst_waits() -> None:
    limiter = RateLimiter({"run": RateLimit(burst=3, per_minute=60)})
    assert [limiter.wait_s("run", "anna", 0.0) for _ in range(3)] == [0.0] * 3
    assert limiter.wait_s("run", "anna", 0.0) == 1.0
    assert limiter.wait_s("run", "anna", 0.5) == 0.5
    assert limiter.wait_s("run", "anna", 1.0) == 0.0
    assert limiter.wait_s("run", "anna", 1.0) > 0


def test_rate_limiter_counts_users_and_actions_separately() -> None:
    limiter = RateLimiter({"run": RateLimit(burst=1, per_minute=1)})
    assert limiter.wait_s("run", "anna", 0.0) == 0.0
    assert limiter.wait_s("run", "anna", 0.0) > 0
    assert limiter.wait_s("run", "bob", 0.0) == 0.0
    assert limiter.wait_s("cancel", "anna", 0.0) == 0.0


def test_rate_limiter_idle_time_refills_at_most_one_burst() -> None:
    limiter = RateLimiter({"run": RateLimit(burst=2, per_minute=60)})
    assert limiter.wait_s("run", "anna", 0.0) == 0.0
    waits = [limiter.wait_s("run", "anna", 1e6) for _ in range(3)]
    assert [wait > 0 for wait in waits] == [False, False, True]


def test_rate_limiter_many_users_keep_memory_bounded() -> None:
    limiter = RateLimiter({"run": RateLimit(burst=1, per_minute=1)})
    tries = LoginAttempts()
    for number in range(20_000):
        limiter.wait_s("run", str(number), 0.0)
        tries.failed(str(number), 0.0)
    assert len(limiter._buckets) == len(tries._failures) == 10_000


def test_login_attempts_wait_doubles_with_each_failure() -> None:
    tries = LoginAttempts(free=3, longest_s=10.0)
    waits = []
    for _ in range(8):
        tries.failed("anna", 0.0)
        waits.append(tries.wait_s("anna", 0.0))
    assert waits == [0.0, 0.0, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert tries.wait_s("anna", 9.0) == 1.0
    assert tries.wait_s("bob", 0.0) == 0.0
    tries.succeeded("anna")
    assert tries.wait_s("anna", 0.0) == 0.0
