from __future__ import annotations

from comfy_ui.web.auth.rate_limit import LoginAttempts, RateLimit, RateLimiter


def test_a_burst_is_free_and_then_the_pace_holds() -> None:
    paces = RateLimiter({"run": RateLimit(burst=3, per_minute=60)})
    assert [paces.wait_s("run", "anna", 0.0) for _ in range(3)] == [0.0] * 3
    assert paces.wait_s("run", "anna", 0.0) == 1.0
    assert paces.wait_s("run", "anna", 0.5) == 0.5
    assert paces.wait_s("run", "anna", 1.0) == 0.0
    assert paces.wait_s("run", "anna", 1.0) > 0


def test_who_waits_does_not_make_others_wait_and_other_actions_are_free() -> None:
    paces = RateLimiter({"run": RateLimit(burst=1, per_minute=1)})
    assert paces.wait_s("run", "anna", 0.0) == 0.0
    assert paces.wait_s("run", "anna", 0.0) > 0
    assert paces.wait_s("run", "bob", 0.0) == 0.0
    assert paces.wait_s("cancel", "anna", 0.0) == 0.0


def test_a_bucket_never_holds_more_than_a_burst() -> None:
    paces = RateLimiter({"run": RateLimit(burst=2, per_minute=60)})
    assert paces.wait_s("run", "anna", 0.0) == 0.0
    waits = [paces.wait_s("run", "anna", 1e6) for _ in range(3)]
    assert [wait > 0 for wait in waits] == [False, False, True]


def test_memory_stays_bounded_however_many_people_come() -> None:
    paces = RateLimiter({"run": RateLimit(burst=1, per_minute=1)})
    tries = LoginAttempts()
    for number in range(20_000):
        paces.wait_s("run", str(number), 0.0)
        tries.failed(str(number), 0.0)
    assert len(paces._buckets) == len(tries._failures) == 10_000


def test_wrong_passwords_make_the_next_try_wait_longer_and_longer() -> None:
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
