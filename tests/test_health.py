from __future__ import annotations

import time
from dataclasses import replace

import pytest

from comfy_ui import ComfyClient
from comfy_ui.client.response_models import LogLine
from comfy_ui.client.server_check import says_worker_died
from comfy_ui.demo import Faults
from comfy_ui.errors import AuthenticationError, CircuitOpenError, ComfyUIOfflineError
from comfy_ui.health import (
    IDLE_WORKER_S,
    LONG_JOB_S,
    ComfyHealth,
    HealthTracker,
    HealthVerdict,
    ServerCheck,
    check_health,
)
from comfy_ui.protocol.queue_and_history import QueueAnswer, QueueSnapshot
from tests import graphs
from tests.shells import SHELLS, opened


def _queue(running: str = "", pending: str = "") -> QueueSnapshot:
    return QueueSnapshot(
        {name: QueueAnswer("running") for name in running.split()},
        {name: QueueAnswer("pending") for name in pending.split()},
    )


@pytest.fixture
def tracker() -> HealthTracker:
    return HealthTracker("http://gpu:8188")


def test_health_tracker_idle_server_is_healthy(tracker) -> None:
    report = tracker.observe(ServerCheck(at=0, queue=_queue(), latency_s=0.01))
    assert (report.verdict, report.ok) == (HealthVerdict.HEALTHY, True)


def test_health_tracker_open_circuit_keeps_the_original_error(tracker) -> None:
    away = ComfyUIOfflineError("Nothing answers at http://gpu:8188.")
    tracker.observe(ServerCheck(at=1, error=away))
    report = tracker.observe(ServerCheck(at=2, error=CircuitOpenError("open", retry_after_s=3)))
    assert (report.last_error, report.last_error_at) == (away.message, 1)
    assert (report.verdict, report.advice) == (HealthVerdict.UNREACHABLE, away.hint)
    assert tracker.observe(ServerCheck(at=3, queue=_queue())).ok
    report = tracker.observe(ServerCheck(at=4, error=CircuitOpenError("open", retry_after_s=3)))
    assert report.last_error == "open"


def test_health_tracker_f10_pending_jobs_without_a_running_one_are_stuck(tracker) -> None:
    assert (
        tracker.observe(ServerCheck(at=0, queue=_queue(pending="a"))).verdict is HealthVerdict.BUSY
    )
    report = tracker.observe(ServerCheck(at=IDLE_WORKER_S, queue=_queue(pending="a b")))
    assert report.verdict is HealthVerdict.STUCK
    assert not report.ok
    assert "Restart ComfyUI" in report.advice
    assert report.since == IDLE_WORKER_S


def test_health_tracker_moving_queue_is_busy(tracker) -> None:
    for n in range(50):
        look = ServerCheck(at=n * LONG_JOB_S / 2, queue=_queue(running=f"job{n}", pending="x"))
        assert tracker.observe(look).verdict is HealthVerdict.BUSY


def test_health_tracker_very_long_job_is_stuck(tracker) -> None:
    tracker.observe(ServerCheck(at=0, queue=_queue(running="a")))
    report = tracker.observe(ServerCheck(at=LONG_JOB_S, queue=_queue(running="a")))
    assert report.verdict is HealthVerdict.STUCK


def _running(at: float, job: str = "a", *, died: bool = True) -> ServerCheck:
    return ServerCheck(at=at, queue=_queue(running=job), worker_died=died)


def test_health_tracker_f10_job_without_progress_and_crash_in_log_is_stuck(
    tracker,
) -> None:
    assert tracker.observe(_running(0)).verdict is HealthVerdict.BUSY
    assert tracker.observe(_running(IDLE_WORKER_S - 1)).verdict is HealthVerdict.BUSY
    report = tracker.observe(_running(IDLE_WORKER_S))
    assert report.verdict is HealthVerdict.STUCK
    assert "Restart ComfyUI" in report.advice


def test_health_tracker_next_job_after_crash_in_log_is_busy(tracker) -> None:
    tracker.observe(_running(0, "a"))
    for at in (20.0, 40.0, LONG_JOB_S - 1):  # something took another job: it lives
        assert tracker.observe(_running(at, "b")).verdict is HealthVerdict.BUSY


def test_health_tracker_slow_job_without_crash_in_log_is_busy(tracker) -> None:
    for at in range(0, int(LONG_JOB_S), 10):
        assert tracker.observe(_running(at, died=False)).verdict is HealthVerdict.BUSY


@pytest.mark.parametrize(
    ("log", "died"),
    [
        (["Exception in thread", "Thread-22 (prompt_worker)", ":", "Traceback (most …):"], True),
        (["got prompt", "Exception in thread Thread-4 (prompt_worker):\nTraceback"], True),
        (["Exception in thread Thread-4 (prompt_worker):", "got prompt", "got prompt"], True),
        (["Exception in thread Thread-4 (prompt_worker):", "Prompt executed in 2.0 s"], False),
        (["Exception in thread Thread-4 (prompt_worker):", "  5%|▌  | 1/20 [00:01<"], False),
        (["Exception in thread Thread-4 (download):", "Traceback (most recent call last):"], False),
        (["a quote: Exception in thread Thread-4 (prompt_worker):"], False),
        (["!!! Exception during processing !!!", "Traceback (most recent call last):"], False),
        ([], False),
    ],
)
def test_says_worker_died_recognizes_a_crash_without_later_activity(
    log: list[str], *, died: bool
) -> None:
    assert says_worker_died(LogLine("", text) for text in log) is died


def test_health_tracker_restart_resets_the_job_clock(tracker) -> None:
    tracker.observe(ServerCheck(at=0, queue=_queue(running="a")))
    tracker.observe(ServerCheck(at=10, error=ComfyUIOfflineError("Nothing answers.")))
    report = tracker.observe(ServerCheck(at=LONG_JOB_S, queue=_queue(running="a")))
    assert report.verdict is HealthVerdict.BUSY
    assert report.last_error == "Nothing answers."
    assert report.last_error_at == 10


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (ComfyUIOfflineError("Nothing answers."), HealthVerdict.UNREACHABLE),
        (AuthenticationError("401."), HealthVerdict.REFUSED),
    ],
)
def test_health_tracker_offline_and_unauthorized_servers_differ(tracker, error, verdict) -> None:
    report = tracker.observe(ServerCheck(at=5, error=error))
    assert report.verdict is verdict
    assert report.advice == error.hint


def test_check_health_report_converts_to_text_and_json(engine) -> None:
    import json

    report = check_health(url=engine.url)
    assert report.ok
    assert report.comfyui_version in str(report)
    assert json.loads(json.dumps(report.to_dict()))["verdict"] == "healthy"
    assert report.app_memory_bytes


@pytest.mark.parametrize(
    ("log_is_available", "after_s", "advice"),
    [(True, IDLE_WORKER_S, "worker has died"), (False, LONG_JOB_S, "restart ComfyUI")],
)
def test_comfy_health_f10_dead_worker_behind_working_http_is_stuck(
    engine, *, log_is_available: bool, after_s: float, advice: str
) -> None:
    engine.faults = Faults(dead_worker=True)
    with ComfyHealth(url=engine.url) as health, ComfyClient(url=engine.url) as client:
        prompt_id = client.queue_prompt(graphs.instant())
        while prompt_id not in client.queue().running:
            time.sleep(0.01)
        look = client.look()
        assert look.worker_died
        look = replace(look, worker_died=log_is_available)
        assert health.report(look).verdict is HealthVerdict.BUSY
        early = health.report(replace(look, at=look.at + after_s - 1))
        assert early.verdict is HealthVerdict.BUSY
        report = health.report(replace(look, at=look.at + after_s))
    assert report.verdict is HealthVerdict.STUCK
    assert advice in report.advice


@pytest.mark.parametrize("shell", SHELLS)
async def test_client_look_returns_stats_or_the_error(engine, shell) -> None:
    async with opened(shell, engine.url) as client:
        look = await client.look()
        assert look.stats.comfyui_version
        assert (look.error, dict(look.queue.running)) == (None, {})
        assert 0 < look.latency_s < 10
    async with opened(shell, "http://127.0.0.1:9") as client:
        look = await client.look()
        assert isinstance(look.error, ComfyUIOfflineError)
        assert (look.stats, look.queue, look.latency_s) == (None, None, None)


def test_check_health_offline_server_returns_a_report() -> None:
    report = check_health(url="http://127.0.0.1:9")
    assert report.verdict is HealthVerdict.UNREACHABLE
    assert "COMFYUI_URL" in report.advice
