"""The shared queue in several processes. What one process does is in tests/jobs/."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from comfy_ui.errors import StorageError
from comfy_ui.jobs.placement import ServerOffer
from comfy_ui.jobs.queue import Handover, JobReport
from comfy_ui.protocol.progress import Phase, Progress
from comfy_ui.scale.postgres_database import PostgresDatabase
from comfy_ui.scale.shared_queue.postgres_job_queue import PostgresJobQueue
from comfy_ui.storage.records import Job, JobStatus
from tests.jobs.support import a_job, last
from tests.jobs.test_queue_contract import FILE
from tests.scale.postgres_server import PostgresServer, new_database

pytestmark = pytest.mark.usefixtures("postgres")


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with new_database() as url:
        yield url


@asynccontextmanager
async def _process(
    url: str, folder: Path, *, follows: bool = True
) -> AsyncIterator[PostgresJobQueue]:
    """Open a queue as another process does, with connections and a copy of its own."""
    database = PostgresDatabase(url, exclusive=False, connections=3)
    await database.open()
    queue = PostgresJobQueue(
        database, folder, waiting_limit=1000, follows=follows, lease_wait_s=0.0
    )
    await queue.open()
    try:
        yield queue
    finally:
        await queue.aclose()
        await database.close()


async def _submit(queue: PostgresJobQueue, *user_ids: str) -> list[Job]:
    return [await queue.submit(a_job(user_id), front=False) for user_id in user_ids]


async def _claim(queue: PostgresJobQueue, worker: str, limit: int = 1) -> list[Job]:
    return [job for job, _ in await queue.claim(worker, limit=limit)]


async def _succeed(queue: PostgresJobQueue, worker: str, job: Job) -> None:
    await queue.publish(worker, JobReport(job_id=job.id, status=JobStatus.SUCCEEDED, files=[FILE]))


async def test_claim_of_two_workers_at_once_hands_out_each_job_once_in_fair_order(
    url: str, tmp_path: Path
) -> None:
    async with (
        _process(url, tmp_path) as page,
        _process(url, tmp_path, follows=False) as first,
        _process(url, tmp_path, follows=False) as second,
    ):
        await _submit(page, *["ann"] * 8, "bob", "bob")
        claimed: list[Job] = []

        async def work(queue: PostgresJobQueue, worker: str) -> None:
            while len(claimed) < 10:
                jobs = await _claim(queue, worker)
                claimed.extend(jobs)
                for job in jobs:
                    await _succeed(queue, worker, job)

        async with asyncio.timeout(60):
            await asyncio.gather(work(first, "v"), work(second, "w"))
        assert len({job.id for job in claimed}) == 10
        assert {job.user_id for job in claimed[:2]} == {"ann", "bob"}


async def test_follow_in_another_process_shows_the_run_and_its_results(
    url: str, tmp_path: Path
) -> None:
    async with _process(url, tmp_path) as page, _process(url, tmp_path, follows=False) as worker:
        (job,) = await _submit(page, "ann")
        (claimed,) = await _claim(worker, "w")
        async with asyncio.timeout(30), aclosing(page.follow(job.id, "ann")) as snapshots:
            progress = Progress(
                prompt_id=str(claimed.prompt_id),
                phase=Phase.RUNNING,
                progress=30,
                step=3,
                steps=8,
                preview=b"jpeg",
                preview_type="image/jpeg",
            )
            await worker.publish("w", JobReport(job_id=job.id, progress=progress))
            async for snapshot in snapshots:
                if snapshot.preview:
                    break
            assert (snapshot.phase, snapshot.progress) == (Phase.RUNNING, 30)
            assert (snapshot.step, snapshot.steps) == (3, 8)
            assert (snapshot.preview, snapshot.preview_type) == (b"jpeg", "image/jpeg")
            await _succeed(worker, "w", claimed)
            end = await last(snapshots)
        assert end.phase is Phase.SUCCEEDED
        assert [item.filename for item in end.items] == ["a.png"]


async def test_cancel_and_reorder_in_another_process_reach_the_worker(
    url: str, tmp_path: Path
) -> None:
    async with _process(url, tmp_path) as page, _process(url, tmp_path, follows=False) as worker:
        running, ready, _ = await _submit(page, "ann", "ann", "ann")
        await _claim(worker, "w", 2)
        progress = Progress(prompt_id="p", phase=Phase.RUNNING, progress=1)
        await worker.publish("w", JobReport(job_id=running.id, progress=progress))
        async with asyncio.timeout(30):
            while not (await page.counts()).running:  # noqa: ASYNC110 -- of another process
                await asyncio.sleep(0.02)
            moving = asyncio.create_task(page.reorder([ready.id], "ann", before=None))
            while not moving.done():
                await worker.wait_for_work("w", timeout_s=0.5)
                assert await _claim(worker, "w", 0) == []
                for job_id in await worker.withdrawals("w"):
                    assert await worker.return_job("w", job_id, "withdrawn")
                await asyncio.sleep(0.02)
            assert await moving
            assert (await page.active("ann"))[-1].id == ready.id
            assert await page.cancel(running.id, "ann")
            await worker.claim("w", limit=0)
            assert await worker.heartbeat("w") == {running.id}


async def test_second_worker_of_a_server_is_refused_and_resumes_after_the_first(
    url: str, tmp_path: Path
) -> None:
    async with _process(url, tmp_path) as page, _process(url, tmp_path) as second:
        async with _process(url, tmp_path) as first:
            (job,) = await _submit(page, "ann")
            (claimed,) = await _claim(first, "w")
            with pytest.raises(StorageError, match="Another worker"):
                await second.claim("w", limit=1)
        ((resumed, handover),) = await second.claim("w", limit=1)
        assert (resumed.id, handover) == (job.id, Handover.RESUMED)
        assert resumed.prompt_id == claimed.prompt_id


async def test_publish_of_a_worker_that_was_cut_off_is_ignored(
    url: str, tmp_path: Path, postgres: PostgresServer
) -> None:
    async with _process(url, tmp_path) as first, _process(url, tmp_path) as second:
        await _submit(first, "ann")
        (claimed,) = await _claim(first, "w")
        await postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
        )
        ((resumed, _),) = await second.claim("w", limit=0)
        await _succeed(first, "w", claimed)
        snapshot = await second.snapshot(resumed.id, "ann")
        assert snapshot
        assert not snapshot.terminal
        await _succeed(second, "w", resumed)
        end = await second.snapshot(resumed.id, "ann")
        assert end
        assert (end.phase, len(end.items)) == (Phase.SUCCEEDED, 1)


async def test_heartbeat_moves_the_jobs_of_a_silent_worker_to_another(
    url: str, tmp_path: Path
) -> None:
    async with _process(url, tmp_path) as silent, _process(url, tmp_path) as other:
        (job,) = await _submit(silent, "ann")
        (claimed,) = await _claim(silent, "v")
        assert await _claim(other, "w") == []
        await _let_pass(url, other, "v")
        (moved,) = await _claim(other, "w")
        assert moved.id == job.id
        assert moved.prompt_id != claimed.prompt_id
        await _succeed(silent, "v", claimed)
        await _succeed(other, "w", moved)
        async with asyncio.timeout(30):
            end = await last(silent.follow(job.id, "ann"))
        assert (end.phase, len(end.items)) == (Phase.SUCCEEDED, 1)
        assert await silent.copies("v") == [claimed.prompt_id]


async def test_heartbeat_after_an_outage_leaves_the_jobs_of_others_where_they_run(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker that reaches the database first must not take the jobs of all others."""
    async with _process(url, tmp_path) as slower, _process(url, tmp_path) as first:
        (job,) = await _submit(slower, "ann")
        (claimed,) = await _claim(slower, "v")
        assert await _claim(first, "w") == []
        # As if all reads and heartbeats before had been a minute ago: the database was away since.
        monkeypatch.setattr(first._mirror._clock, "now", first._mirror._clock.now - 60)
        await _let_pass(url, first, "v")
        assert await _claim(first, "w") == []
        await _succeed(slower, "v", claimed)
        async with asyncio.timeout(30):
            assert (await last(first.follow(job.id, "ann"))).phase is Phase.SUCCEEDED


async def _let_pass(url: str, queue: PostgresJobQueue, worker: str) -> None:
    """Let the lease of a worker end, and another one notice that."""
    database = PostgresDatabase(url, exclusive=False, connections=1)
    await database.open()
    await database.execute("UPDATE workers SET seen_at = seen_at - 60 WHERE name = %s", (worker,))
    await database.close()
    await queue.claim("w", limit=0)
    await queue.take_over()


async def test_follow_goes_on_after_the_notifications_were_cut_off(
    url: str, tmp_path: Path, postgres: PostgresServer
) -> None:
    async with _process(url, tmp_path) as page, _process(url, tmp_path, follows=False) as worker:
        (job,) = await _submit(page, "ann")
        (claimed,) = await _claim(worker, "w")
        following = asyncio.create_task(last(page.follow(job.id, "ann")))
        await postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
        )
        await _succeed(worker, "w", claimed)
        async with asyncio.timeout(30):
            assert (await following).phase is Phase.SUCCEEDED


async def test_restart_after_a_lost_answer_hands_out_the_claimed_job_again(
    url: str, tmp_path: Path
) -> None:
    async with _process(url, tmp_path) as queue:
        await _submit(queue, "ann")
        await _claim(queue, "w", 0)
        database = PostgresDatabase(url, exclusive=False, connections=1)
        await database.open()
        await database.execute(  # as a claim whose commit was not confirmed
            "UPDATE jobs SET status = 'claimed', server = 'w', prompt_id = 'p',"
            " token = (SELECT token FROM workers)"
        )
        await database.close()
        ((job, handover),) = await queue.claim("w", limit=1)
        assert (job.prompt_id, handover) == ("p", Handover.RESUMED)


async def test_claim_takes_a_job_that_each_worker_leaves_to_the_other(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process has learned other durations, so each may take the other server to be faster."""
    monkeypatch.setattr("comfy_ui.scale.shared_queue.postgres_job_queue._LEAVE_S", 0.2)
    async with (
        _process(url, tmp_path) as page,
        _process(url, tmp_path, follows=False) as first,
        _process(url, tmp_path, follows=False) as second,
    ):
        for queue, own, other in ((first, "v", "w"), (second, "w", "v")):
            await queue.announce(own, ServerOffer())
            monkeypatch.setattr(
                queue._unfinished.servers,
                "cost_s",
                lambda worker, *_, other=other, **__: 1.0 if worker == other else 2.0,
            )
        (job,) = await _submit(page, "ann")
        assert await _claim(first, "v") == await _claim(second, "w") == []
        async with asyncio.timeout(30):
            while not (claimed := await _claim(first, "v") or await _claim(second, "w")):
                await first.wait_for_work("v", timeout_s=10)
        assert [job.id for job in claimed] == [job.id]


async def test_claim_takes_a_job_that_would_wait_for_a_worker_that_was_killed(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfy_ui.scale.shared_queue.postgres_job_queue._LEAVE_S", 0.2)
    async with _process(url, tmp_path) as page, _process(url, tmp_path) as worker:
        async with _process(url, tmp_path) as killed:
            await killed.announce("v", ServerOffer())
        await worker.announce("w", ServerOffer(foreign=3))
        await worker.claim("w", limit=0)
        (job,) = await _submit(page, "ann")
        assert await _claim(worker, "w") == [], "the other one would be done sooner"
        await worker.wait_for_work("w", timeout_s=10)
        async with asyncio.timeout(30):
            while not (claimed := await _claim(worker, "w")):
                await worker.wait_for_work("w", timeout_s=10)
        assert [job.id for job in claimed] == [job.id]
