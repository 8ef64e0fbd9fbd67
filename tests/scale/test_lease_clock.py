"""The lease clock stands still while the database is away."""

from __future__ import annotations

from comfy_ui.scale.shared_queue.lease_clock import LEASE_S, LeaseClock


def _clock(*reads: float, started_at: float = 0.0, heard_at: float = 0.0) -> LeaseClock:
    clock = LeaseClock()
    for now in reads:
        clock.read(now, started_at=started_at, heard_at=heard_at)
    return clock


def test_silence_s_without_outage_is_the_time_since_the_heartbeat() -> None:
    assert _clock(1000.0, 1005.0, 1010.0).silence_s(1004.0) == 6.0


def test_silence_s_leaves_out_the_time_between_reads_that_are_far_apart() -> None:
    clock = _clock(1000.0, 1300.0)
    assert clock.silence_s(995.0) == 5.0
    assert clock.silence_s(940.0) > LEASE_S, "it was silent before the outage already"
    clock.read(1305.0, started_at=0.0, heard_at=0.0)
    assert clock.silence_s(995.0) == 10.0


def test_silence_s_leaves_out_a_short_outage_that_restarted_the_server() -> None:
    clock = _clock(1000.0)
    clock.read(1008.0, started_at=1007.0, heard_at=0.0)
    assert clock.silence_s(998.0) == 2.0


def test_silence_s_adds_up_several_outages() -> None:
    clock = _clock(1000.0, 1100.0, 1105.0, 1200.0)
    assert clock.silence_s(999.0) == 1.0 + 5.0
    assert clock.silence_s(1102.0) == 3.0


def test_silence_s_in_a_new_process_leaves_out_the_time_before_the_server_was_started() -> None:
    clock = _clock(1310.0, started_at=1300.0, heard_at=1000.0)
    assert clock.silence_s(998.0) == 2.0 + 10.0
    assert clock.silence_s(900.0) > LEASE_S
    assert _clock(1310.0, started_at=900.0, heard_at=1000.0).silence_s(998.0) == 312.0
