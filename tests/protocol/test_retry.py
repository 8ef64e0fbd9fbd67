from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from comfy_ui.protocol.retry import (
    Backoff,
    Failure,
    classify_status,
    classify_transport,
    parse_retry_after,
)


@pytest.mark.parametrize("status", [408, 425, 429, 503])
def test_classify_status_rejection_is_safe_for_any_method(status: int) -> None:
    assert classify_status(status, idempotent=False) is Failure.SAFE
    assert classify_status(status, idempotent=True) is Failure.SAFE


@pytest.mark.parametrize("status", [500, 502, 504, 520, 524])
def test_classify_status_gateway_error_of_post_is_unknown(status: int) -> None:
    assert classify_status(status, idempotent=False) is Failure.UNKNOWN
    assert classify_status(status, idempotent=True) is Failure.SAFE


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 405, 413, 422, 501, 505])
def test_classify_status_other_error_is_final(status: int) -> None:
    assert classify_status(status, idempotent=True) is Failure.FINAL
    assert classify_status(status, idempotent=False) is Failure.FINAL


@pytest.mark.parametrize(
    ("sent", "idempotent", "failure"),
    [
        (False, False, Failure.SAFE),
        (False, True, Failure.SAFE),
        (True, True, Failure.SAFE),
        (True, False, Failure.UNKNOWN),
    ],
)
def test_classify_transport_only_sent_post_is_unknown(
    sent: bool, idempotent: bool, failure: Failure
) -> None:
    assert classify_transport(sent=sent, idempotent=idempotent) is failure


def test_backoff_delay_ceiling_doubles_up_to_cap() -> None:
    backoff = Backoff(base_s=0.5, cap_s=30.0, attempts=None)
    assert [backoff.delay_s(n, jitter=1.0) for n in (1, 2, 3, 6, 7, 8, 10_000)] == [
        0.5,
        1.0,
        2.0,
        16.0,
        30.0,
        30.0,
        30.0,
    ]


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_backoff_delay_lies_between_zero_and_ceiling(attempt: int, jitter: float) -> None:
    delay = Backoff(attempts=None).delay_s(attempt, jitter=jitter)
    assert delay is not None
    assert 0 <= delay <= 30.0


def test_backoff_delay_after_last_attempt_is_none() -> None:
    backoff = Backoff(attempts=3)
    assert backoff.delay_s(2, jitter=0.5) is not None
    assert backoff.delay_s(3, jitter=0.5) is None


def test_backoff_delay_beyond_deadline_is_none() -> None:
    backoff = Backoff(base_s=1.0)
    assert backoff.delay_s(1, jitter=1.0, now=8.0, deadline=9.0) == 1.0
    assert backoff.delay_s(1, jitter=1.0, now=8.1, deadline=9.0) is None


def test_backoff_delay_is_at_least_retry_after() -> None:
    backoff = Backoff()
    assert backoff.delay_s(1, jitter=0.1, retry_after_s=60.0) == 60.0
    assert backoff.delay_s(1, jitter=0.1, retry_after_s=60.0, now=0.0, deadline=59.0) is None
    assert backoff.delay_s(1, jitter=1.0, retry_after_s=0.0) == 0.25


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Sun, 22 Nov 2026 12:00:30 GMT", 30.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("", None),
        (None, None),
    ],
)
def test_parse_retry_after_reads_seconds_and_http_date(
    value: str | None, seconds: float | None
) -> None:
    noon = 1795348800.0  # Sun, 22 Nov 2026 12:00:00 GMT
    assert parse_retry_after(value, unix_now=noon) == seconds


@given(st.text())
def test_parse_retry_after_any_text_returns_delay_or_none(value: str) -> None:
    seconds = parse_retry_after(value, unix_now=0.0)
    assert seconds is None or seconds >= 0
