"""Jobs of servers that die: submitted again on their own, but not endlessly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from comfy_ui.client import ComfyWSClient
from comfy_ui.demo import DemoServer
from comfy_ui.jobs.job_service import JobService, open_jobs
from comfy_ui.jobs.queue import Handover
from comfy_ui.jobs.workers.active_job import ActiveJob
from comfy_ui.jobs.workers.server_death import accuse, death_error
from comfy_ui.storage.records import Job, JobStatus, Phase, Snapshot
from tests.jobs import support
from tests.jobs.support import end_of, submit_sleepy, until


@pytest.fixture(autouse=True)
def quick_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded engine's history is never late."""
    monkeypatch.setattr("comfy_ui.protocol.job.GRACE_S", 0.2)


def _running(snapshot: Snapshot) -> bool:
    return snapshot.phase is Phase.RUNNING


async def _sent(service: JobService, job: Job) -> Job:
    async with asyncio.timeout(20):
        while (stored := await service.job(job.id, job.user_id)).status is not JobStatus.SENT:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return stored


def _active(number: int, **fields: object) -> ActiveJob:
    active = ActiveJob(support.a_job(id=str(number)), Handover.NEW)
    for name, value in fields.items():
        setattr(active, name, value)
    return active


def _accused(*jobs: ActiveJob, idle_since: float = 0.0) -> list[bool | None]:
    accuse(jobs, idle_since=idle_since)
    return [active.accused for active in jobs]


def test_accuse_blames_the_started_job_only() -> None:
    assert _accused(_active(1), _active(2, started=True)) == [False, True]


def test_accuse_without_a_started_job_blames_the_first_unless_it_waited_for_another() -> None:
    first, second = _active(1, sent_at=8.0, server_lost_at=10.0), _active(2)
    assert _accused(first, second) == [True, False]
    first.sent_at = 1.0
    assert _accused(first, second) == [False, False]
    assert _accused(first, second, idle_since=9.0) == [True, False]
    assert _accused(_active(1), _active(2)) == [True, False]  # sent by an earlier process


def test_death_error_names_what_needs_memory() -> None:
    error = death_error({"width": 1024, "height": 768, "batch": 4, "frames": 121}, prompt_id="p")
    assert "(now 1024 × 768, batch 4, frames 121)" in error.hint
    assert "batch" not in death_error({"batch": 1}, prompt_id="p").hint


@pytest.mark.slow
async def test_jobs_of_dead_server_run_again_in_order_with_note_on_the_running_one(
    service: JobService, server: DemoServer
) -> None:
    running = await submit_sleepy(service, nonce=1, seconds=1.0)
    ready, waiting = [await submit_sleepy(service, nonce=n) for n in (2, 3)]
    await until(service, running, _running)
    async with asyncio.timeout(20):
        while (await service.active("ann"))[1].status is not JobStatus.SENT:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await server.restart()
    again = await until(service, running, lambda s: s.server_deaths > 0)
    assert not again.terminal
    assert [job.id for job in await service.active("ann")] == [running.id, ready.id, waiting.id]
    ends = [await end_of(service, job) for job in (running, ready, waiting)]
    assert [(end.phase, end.error, end.server_deaths) for end in ends] == [
        (Phase.SUCCEEDED, None, 1),
        (Phase.SUCCEEDED, None, 0),
        (Phase.SUCCEEDED, None, 0),
    ]
    assert len(support.engine_files(server)) == 3


@pytest.mark.slow
async def test_job_stops_after_second_death_with_advice_and_try_again(
    service: JobService, server: DemoServer
) -> None:
    killer = await submit_sleepy(service, nonce=1, seconds=30.0)
    ready = await submit_sleepy(service, nonce=2)
    for deaths in range(2):
        await until(service, killer, lambda s: _running(s) and s.server_deaths == deaths)  # noqa: B023
        if deaths:
            other = await service.job(ready.id, "ann")
            # It may come back first, and run before the other is submitted again.
            assert other.status in (JobStatus.WAITING, JobStatus.SUCCEEDED), "the other runs alone"
        await server.restart()
    end = await end_of(service, killer)
    assert (end.phase, end.server_deaths) == (Phase.LOST, 2)
    assert end.error
    assert "may be what stops it" in end.error.message
    assert "smaller" in end.error.hint
    assert (await end_of(service, ready)).phase is Phase.SUCCEEDED
    again = await service.repeat(killer.id, "ann")
    assert (await service.job(again.id, "ann")).server_deaths == 0
    await service.cancel(again.id, "ann")


@asynccontextmanager
async def _restarted(server: DemoServer, folder: Path) -> AsyncIterator[JobService]:
    async with (
        ComfyWSClient(url=server.url) as client,
        open_jobs(client=client, data_dir=folder) as service,
    ):
        yield service


@pytest.mark.slow
async def test_jobs_of_server_restarted_while_app_was_away_run_again(
    server: DemoServer, tmp_path: Path
) -> None:
    async with _restarted(server, tmp_path) as service:
        running, ready = [await submit_sleepy(service, nonce=n, seconds=0.8) for n in range(2)]
        await until(service, running, lambda s: s.elapsed_s > 0.4)
        await _sent(service, ready)
    await server.restart()
    async with _restarted(server, tmp_path) as service:
        ends = [await end_of(service, job) for job in (running, ready)]
        assert [(end.phase, end.server_deaths) for end in ends] == [
            (Phase.SUCCEEDED, 1),
            (Phase.SUCCEEDED, 0),
        ]
    assert len(support.engine_files(server)) == 2


@pytest.mark.slow
async def test_job_deleted_at_the_server_is_submitted_again(
    service: JobService, client: ComfyWSClient
) -> None:
    running = await submit_sleepy(service, nonce=1, seconds=30.0)
    await until(service, running, _running)
    ready = await submit_sleepy(service, nonce=2)
    assert await client.unqueue((await _sent(service, ready)).prompt_id or "")
    await until(service, ready, lambda s: s.server_deaths > 0)
    await service.cancel(running.id, "ann")
    assert (await end_of(service, ready)).phase is Phase.SUCCEEDED
