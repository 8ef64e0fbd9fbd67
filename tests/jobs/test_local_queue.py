"""The local queue: what its SQLite store holds, and what it does when the store fails.

Its behavior as a queue is tested in ``test_queue_contract.py``.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.errors import StorageError, ValidationError
from comfy_ui.jobs import local_queue
from comfy_ui.jobs.local_queue import LocalQueue
from comfy_ui.jobs.queue import JobQueue, JobReport, KeyJobsError
from comfy_ui.protocol.durations import Measurement, NodeDurations, ShapeKey
from comfy_ui.protocol.graph_cost import GraphCost
from comfy_ui.storage.records import Job, JobStatus, Phase
from tests.jobs import support
from tests.jobs.test_queue_contract import FILE, OUTPUTS, _claim, _report, _submit
from tests.storage.memory_job_store import MemoryJobStore


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[LocalQueue]:
    async with support.open_queue(tmp_path) as queue:
        yield queue


def test_local_queue_has_every_method_of_job_queue(tmp_path: Path) -> None:
    def takes(queue: JobQueue) -> None:
        """A type checker reads this; at run time the names are compared."""

    names = [name for name in vars(JobQueue) if not name.startswith("_")]
    assert all(callable(getattr(LocalQueue, name)) for name in names)


async def test_job_whose_end_is_being_stored_is_active_and_not_failed(
    queue: LocalQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _submit(queue, "ann")
    (job,) = await _claim(queue)
    await _report(queue, job, JobStatus.FETCHING, outputs=OUTPUTS)
    stored, finish = asyncio.Event(), queue._store.finish

    async def slow(*args: Any) -> Any:
        await stored.wait()
        return await finish(*args)

    monkeypatch.setattr(queue._store, "finish", slow)
    report = JobReport(job_id=job.id, status=JobStatus.SUCCEEDED, files=[FILE])
    ending = asyncio.create_task(queue.publish(job.server or "", report))
    await asyncio.sleep(0)
    assert [active.id for active in await queue.active("ann")] == [job.id]
    snapshot = await queue.snapshot(job.id, "ann")
    assert snapshot
    assert snapshot.phase is Phase.SAVING
    assert await queue.snapshot(job.id, "bob") is None
    assert not await queue.retry_fetch(job.id, "ann")
    stored.set()
    await ending
    assert await queue.active("ann") == []
    snapshot = await queue.snapshot(job.id, "ann")
    assert snapshot
    assert snapshot.phase is Phase.SUCCEEDED


async def test_submit_learned_durations_are_the_cost_of_fair_queue(tmp_path: Path) -> None:
    job = support.a_job(work=100.0)
    durations = NodeDurations()
    plan = GraphCost(job.graph)
    keys = (ShapeKey(shape, cold) for shape in plan.shapes.values() for cold in (False, True))
    durations.learn({key: Measurement(3.0, 0.0) for key in keys})
    queue = LocalQueue(MemoryJobStore(tmp_path), waiting_limit=9, durations={"gpu": durations})
    await queue.open()
    stored = await queue.submit(job, front=False)
    assert stored.cost_s == pytest.approx(3.0 * len(plan.shapes))
    await queue.close()


async def test_submit_of_many_at_once_stores_them_together_in_order(
    queue: LocalQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, storing, together = [support.a_job() for _ in range(9)], set[str](), asyncio.Event()
    add = queue._store.add

    async def slow(job: Any, **options: Any) -> Any:
        storing.add(job.id)
        if len(storing) == len(jobs):
            together.set()
        await together.wait()
        return await add(job, **options)

    async with asyncio.timeout(30), queue._order_lock:  # as while a claim is stored
        monkeypatch.setattr(queue._store, "add", slow)
        submits = [asyncio.create_task(queue.submit(job, front=False)) for job in jobs]
        again = asyncio.create_task(queue.submit(jobs[3], front=False))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    async with asyncio.timeout(30):
        stored = await asyncio.gather(*submits)
        assert await again == stored[3]
    assert [job.rank for job in stored] == [*range(1, 10)]
    assert await queue.active("ann") == stored


async def test_submit_of_many_at_once_refuses_those_beyond_the_limit(tmp_path: Path) -> None:
    async with support.open_queue(tmp_path, waiting_limit=2) as queue:
        jobs = [support.a_job(user_id) for user_id in ("ann", "ann", "ann", "bob")]
        submits = (queue.submit(job, front=False) for job in jobs)
        outcomes = await asyncio.gather(*submits, return_exceptions=True)
        assert [isinstance(o, ValidationError) for o in outcomes] == [False, False, True, False]
        assert [job.id for job in await queue.active("ann")] == [job.id for job in jobs[:2]]


async def test_submit_of_many_at_once_refuses_those_beyond_the_limit_of_the_key(
    queue: LocalQueue,
) -> None:
    jobs = [support.a_job(key_id=key_id) for key_id in ("k", "k", "k", "other")]
    submits = (queue.submit(job, front=False, max_of_key=2) for job in jobs)
    outcomes = await asyncio.gather(*submits, return_exceptions=True)
    assert [isinstance(o, KeyJobsError) for o in outcomes] == [False, False, True, False]


async def test_submit_stores_job_before_claim(queue: LocalQueue, tmp_path: Path) -> None:
    (job,) = await _submit(queue, "ann")
    with sqlite3.connect(tmp_path / "comfy_ui.db") as other:
        assert other.execute("SELECT id, status FROM jobs").fetchall() == [(job.id, "waiting")]
        (claimed,) = await _claim(queue)
        row = other.execute("SELECT status, prompt_id FROM jobs").fetchone()
        assert row == ("claimed", claimed.prompt_id)
    other.close()


async def test_publish_of_job_that_ends_soon_stores_only_its_end(
    queue: LocalQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves = _watch_saves(queue, monkeypatch)
    await _submit(queue, "ann")
    (job,) = await _claim(queue)
    await _report(queue, job, JobStatus.SENT)
    await _report(queue, job, JobStatus.FETCHING, outputs=OUTPUTS)
    await _report(queue, job, JobStatus.SUCCEEDED, files=[FILE])
    assert saves == []


async def test_publish_outputs_are_stored_soon_while_they_are_downloaded(
    queue: LocalQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_queue, "_SAVE_SOON_S", 0.0)
    saves = _watch_saves(queue, monkeypatch)
    await _submit(queue, "ann")
    (job,) = await _claim(queue)
    await _report(queue, job, JobStatus.FETCHING, outputs=OUTPUTS)
    while not saves:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert [(saved.status, saved.outputs) for saved in saves] == [(JobStatus.FETCHING, OUTPUTS)]


async def test_publish_end_is_stored_after_an_earlier_state_that_is_being_stored(
    queue: LocalQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_queue, "_SAVE_SOON_S", 0.0)
    saving, released, save = asyncio.Event(), asyncio.Event(), queue._store.save

    async def slow(job: Job) -> None:
        saving.set()
        await released.wait()
        await save(job)

    monkeypatch.setattr(queue._store, "save", slow)
    await _submit(queue, "ann")
    (job,) = await _claim(queue)
    await _report(queue, job, JobStatus.FETCHING, outputs=OUTPUTS)
    await saving.wait()
    end = asyncio.create_task(_report(queue, job, JobStatus.SUCCEEDED, files=[FILE]))
    await asyncio.sleep(0)
    released.set()
    await end
    stored = await queue._store.get(job.id, "ann")
    assert stored
    assert stored.status is JobStatus.SUCCEEDED
    assert (await support.last(queue.follow(job.id, "ann"))).phase is Phase.SUCCEEDED


def _watch_saves(queue: LocalQueue, monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    saves: list[Job] = []
    save = queue._store.save

    async def watched(job: Job) -> None:
        await save(job)
        saves.append(job)

    monkeypatch.setattr(queue._store, "save", watched)
    return saves


async def test_publish_prompt_id_chosen_by_the_server_is_stored_before_it_returns(
    queue: LocalQueue, tmp_path: Path
) -> None:
    await _submit(queue, "ann")
    (job,) = await _claim(queue)
    await queue.publish(
        "w", JobReport(job_id=job.id, status=JobStatus.SENT, prompt_id="chosen by Comfy Cloud")
    )
    with closing(sqlite3.connect(tmp_path / "comfy_ui.db")) as other:
        row = other.execute("SELECT status, prompt_id FROM jobs").fetchone()
    assert row == ("sent", "chosen by Comfy Cloud")


async def test_report_end_with_full_disk_fails_job_and_can_be_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with support.open_queue(tmp_path) as queue:
        await _submit(queue, "ann")
        (job,) = await _claim(queue)
        await _report(queue, job, JobStatus.FETCHING, outputs=OUTPUTS)
        follower = asyncio.create_task(support.last(queue.follow(job.id, "ann")))
        await asyncio.sleep(0.01)
        with monkeypatch.context() as full_disk:

            async def refuse(*_: Any) -> None:
                raise StorageError("database or disk is full")

            full_disk.setattr(queue._store, "finish", refuse)
            await _report(queue, job, JobStatus.SUCCEEDED, files=[FILE])
        end = await follower
        assert end.phase is Phase.FAILED
        assert end.error
        assert end.error.kind == "StorageError"
        assert (await support.last(queue.follow(job.id, "ann"))).phase is Phase.FAILED
        assert await queue.retry_fetch(job.id, "ann")
        assert [job.id for job, _ in await queue.claim("w", limit=0)] == [job.id]
        await _report(queue, job, JobStatus.SUCCEEDED, files=[FILE])
        assert len((await support.last(queue.follow(job.id, "ann"))).items) == 1
