from __future__ import annotations

from hypothesis import given, strategies as st

from comfy_ui.protocol.circuit_breaker import CircuitState


def open_breaker(now: float = 0.0) -> CircuitState:
    breaker = CircuitState(failures=3, reset_s=10.0)
    for _ in range(3):
        breaker = breaker.failed_at(now)
    return breaker


def test_circuit_state_consecutive_failures_open_it_with_retry_after() -> None:
    breaker = CircuitState(failures=3, reset_s=10.0).failed_at(1.0).failed_at(2.0)
    assert breaker.name == "closed"
    assert breaker.retry_after_s(2.0) == 0
    breaker = breaker.failed_at(3.0)
    assert breaker.name == "open"
    assert breaker.admit(4.0) is None
    assert breaker.retry_after_s(4.0) == 9.0


def test_circuit_state_success_resets_failure_count() -> None:
    breaker = CircuitState(failures=2).failed_at(1.0).succeeded().failed_at(2.0)
    assert breaker.name == "closed"


def test_circuit_state_half_open_admits_single_probe() -> None:
    probing = open_breaker().admit(10.0)
    assert probing is not None
    assert probing.name == "half_open"
    assert probing.admit(10.1) is None
    assert probing.retry_after_s(12.0) == 8.0


def test_circuit_state_successful_probe_closes_it() -> None:
    probing = open_breaker().admit(10.0)
    assert probing is not None
    closed = probing.succeeded()
    assert closed == CircuitState(failures=3, reset_s=10.0)


def test_circuit_state_failed_probe_reopens_for_full_reset_time() -> None:
    probing = open_breaker().admit(10.0)
    assert probing is not None
    again = probing.failed_at(11.0)
    assert again.name == "open"
    assert again.admit(20.9) is None
    assert again.admit(21.0) is not None


def test_circuit_state_lost_probe_allows_next_after_reset_time() -> None:
    probing = open_breaker().admit(10.0)
    assert probing is not None
    assert probing.admit(20.0) is not None


def test_circuit_state_late_failure_does_not_delay_probe() -> None:
    breaker = open_breaker().failed_at(9.0)
    assert breaker.admit(10.0) is not None


def test_circuit_state_without_change_returns_same_instance() -> None:
    breaker = CircuitState()
    assert breaker.admit(1.0) is breaker
    assert breaker.succeeded() is breaker


calls = st.lists(st.tuples(st.floats(0, 20), st.sampled_from(["ask", "good", "bad"])), max_size=60)


EIGHTHS = st.integers(0, 40).map(lambda n: n / 8)  # sums of eighths are exact


@given(st.integers(1, 4), st.floats(0.1, 10), calls)
def test_circuit_state_any_history_admits_call_after_reset_time(
    failures: int, reset_s: float, sequence: list[tuple[float, str]]
) -> None:
    breaker, now, bad = CircuitState(failures=failures, reset_s=reset_s), 0.0, 0
    for pause, what in sequence:
        now += pause
        if what == "ask":
            admitted = breaker.admit(now)
            assert (admitted is None) == (breaker.retry_after_s(now) > 0)
            breaker = admitted or breaker
        elif what == "good":
            breaker, bad = breaker.succeeded(), 0
        else:
            breaker, bad = breaker.failed_at(now), bad + 1
        assert (breaker.name == "closed") == (bad < failures)
        assert breaker.retry_after_s(now) <= reset_s + 1e-6
        assert breaker.admit(now + reset_s + 1e-6) is not None


@given(st.integers(1, 4), st.lists(EIGHTHS, max_size=40))
def test_circuit_state_persistent_failure_admits_one_call_per_reset_time(
    failures: int, pauses: list[float]
) -> None:
    breaker, now = CircuitState(failures=failures, reset_s=3.0), 0.0
    admitted_at: list[float] = []
    for pause in pauses:
        now += pause
        admitted = breaker.admit(now)
        if admitted is not None:
            admitted_at.append(now)
            breaker = admitted.failed_at(now)
    late = admitted_at[failures:]
    assert all(b - a >= 3.0 for a, b in zip(admitted_at[failures - 1 :], late, strict=False))
