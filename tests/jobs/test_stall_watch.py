from __future__ import annotations

import pytest

from comfy_ui.client.server_check import ServerCheck
from comfy_ui.demo import DemoServer, Faults
from comfy_ui.errors import ComfyUIConnectionError
from comfy_ui.jobs.job_service import JobService
from comfy_ui.jobs.workers.stall_watch import StallWatch
from comfy_ui.protocol.queue_and_history import QueueAnswer, QueueSnapshot
from comfy_ui.storage.records import Phase
from comfy_ui.web.components.job_card import job_card
from tests.jobs.support import end_of, submit_sleepy, until

RUNNING = QueueSnapshot(running={"p": QueueAnswer("running")})


def test_stall_watch_calls_a_slow_job_hung_only_after_minutes() -> None:
    watch, check = StallWatch(), ServerCheck(at=0.0, queue=RUNNING)
    assert watch.trouble(check, silent_s=300.0, now=300.0) is None  # it may load a model
    trouble = watch.trouble(check, silent_s=780.0, now=780.0)
    assert trouble
    assert trouble.message == "No progress for 13 minutes."


def test_stall_watch_believes_the_log_about_a_crashed_worker_once_nothing_moves() -> None:
    watch, check = StallWatch(), ServerCheck(at=0.0, queue=RUNNING, worker_died=True)
    assert watch.trouble(check, silent_s=20.0, now=20.0) is None
    trouble = watch.trouble(check, silent_s=40.0, now=40.0)
    assert trouble
    assert "worker has crashed" in trouble.message
    assert watch.trouble(ServerCheck(at=0.0), silent_s=900.0, now=900.0) is None


def test_stall_watch_calls_a_silent_server_hung_only_after_minutes() -> None:
    silence = ComfyUIConnectionError("It was silent for 30 s.")
    silence.silent = True
    watch, check = StallWatch(), ServerCheck(at=0.0, error=silence)
    assert watch.trouble(check, silent_s=300.0, now=300.0) is None  # it may load a model
    trouble = watch.trouble(check, silent_s=780.0, now=780.0)
    assert trouble
    assert trouble.message == "No progress for 13 minutes."


@pytest.fixture
def quick_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comfy_ui.jobs.workers.stall_watch.CHECK_S", 0.3)
    monkeypatch.setattr("comfy_ui.health.IDLE_WORKER_S", 0.3)
    monkeypatch.setattr("comfy_ui.protocol.job.GRACE_S", 0.2)
    monkeypatch.setattr("comfy_ui.protocol.polling.WATCHDOG_S", 0.5)


@pytest.mark.slow
async def test_job_at_a_crashed_worker_says_so_and_runs_after_a_restart(
    quick_checks: None, service: JobService, server: DemoServer
) -> None:
    server.faults = Faults(test_nodes=True, dead_worker=True)
    job = await submit_sleepy(service)
    stuck = await until(service, job, lambda s: s.error is not None)
    assert stuck.error
    assert "worker has crashed" in stuck.error.message
    assert "Restart ComfyUI" in job_card(stuck)
    server.faults = Faults(test_nodes=True)
    await server.restart()
    assert (await end_of(service, job)).phase is Phase.SUCCEEDED
