from __future__ import annotations

import pytest

from comfy_ui.errors import ValidationError
from comfy_ui.web.auth.key_limits import KeyLimits, KeyRequests, key_limits


def test_key_requests_at_a_time_are_limited_for_each_key() -> None:
    requests, limits = KeyRequests(), KeyLimits(requests=2)
    assert [requests.begin("a", limits, 0.0) for _ in range(2)] == [0, 0]
    assert requests.begin("a", limits, 0.0) > 0
    assert requests.begin("b", limits, 0.0) == 0
    requests.end("a")
    assert requests.begin("a", limits, 0.0) == 0


def test_key_requests_per_minute_are_limited_and_refill() -> None:
    requests, limits = KeyRequests(), KeyLimits(per_minute=2)
    for _ in range(2):
        assert requests.begin("a", limits, 0.0) == 0
        requests.end("a")
    assert requests.begin("a", limits, 0.0) == pytest.approx(30)
    assert requests.begin("a", limits, 29.0) == pytest.approx(1)
    assert requests.begin("a", limits, 31.0) == 0


def test_key_requests_changed_limit_counts_at_once() -> None:
    requests = KeyRequests()
    for _ in range(10):
        assert requests.begin("a", KeyLimits(per_minute=1000), 0.0) == 0
        requests.end("a")
    assert requests.begin("a", KeyLimits(per_minute=1), 0.0) == 0
    assert requests.begin("a", KeyLimits(per_minute=1), 0.0) > 0


def test_key_limits_of_a_form_refuse_what_is_no_limit() -> None:
    assert key_limits(None, " ", "3") == key_limits(0, "0", 3) == KeyLimits(per_minute=3)
    for wrong in (-1, "1.5", "many", 10**9):
        with pytest.raises(ValidationError, match="no limit"):
            key_limits(None, wrong, None)
