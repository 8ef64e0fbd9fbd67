from __future__ import annotations

import pytest

from comfy_ui.client.breakers import SharedBreaker, breaker_for
from comfy_ui.errors import CircuitOpenError
from comfy_ui.protocol.breaker import Breaker


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_opens_after_repeated_failures_and_closes_by_itself_after_one_good_probe() -> None:
    clock = Clock()
    breaker = SharedBreaker("http://gpu", rules=Breaker(failures=2, reset_s=5), clock=clock)
    for _ in range(2):
        breaker.check()
        breaker.record(reached=False)
    with pytest.raises(CircuitOpenError) as caught:
        breaker.check()
    assert caught.value.retry_after_s == 5.0
    assert breaker.state == "open"

    clock.now += 5
    breaker.check()  # the probe
    with pytest.raises(CircuitOpenError):
        breaker.check()  # only one
    breaker.record(reached=True)
    assert breaker.state == "closed"
    breaker.check()


def test_clients_of_one_server_share_it_and_those_of_another_do_not() -> None:
    assert breaker_for("http://a:1") is breaker_for("http://a:1")
    assert breaker_for("http://a:1") is not breaker_for("http://b:1")
