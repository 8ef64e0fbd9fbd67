"""The job index keeps the queue sorted, whatever happens to the jobs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from comfy_ui.jobs import unfinished_jobs
from comfy_ui.jobs.fair_queue import FairQueueClock, fair_order
from comfy_ui.jobs.local_queue import LocalQueue
from comfy_ui.jobs.placement import ServerOffer
from comfy_ui.jobs.queue import JobReport
from comfy_ui.jobs.queue_position import jobs_ahead, queue_positions
from comfy_ui.jobs.unfinished_jobs import JobIndex
from comfy_ui.protocol.progress import Phase, Progress
from comfy_ui.storage.records import Job, JobStatus
from tests.jobs.support import a_job, last, open_queue

OWNERS = ("ann", "bob", "cleo")


def sorted_plainly(jobs: JobIndex) -> Sequence[Job]:
    waiting = [job for job in jobs.values() if job.status is JobStatus.WAITING]
    return fair_order(waiting, jobs.clock)


def assert_sorted(jobs: JobIndex) -> None:
    plain = sorted_plainly(jobs)
    assert list(jobs.queue) == plain
    for user_id in OWNERS:
        assert jobs.count(user_id) == sum(job.user_id == user_id for job in jobs.values())
        own = [job.id for job in plain if job.user_id == user_id]
        assert [job.id for job in jobs.waiting(user_id)] == own
        assert [job.rank for job in jobs.waiting(user_id)] == sorted(jobs[id_].rank for id_ in own)
    assert jobs.claimed == [job for job in jobs.values() if job.status is not JobStatus.WAITING]


changes = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "join",
                "leave",
                "rank",
                "cost",
                "take",
                "put back",
                "cancel",
                "clock",
                "claim",
                "clear",
            ]
        ),
        st.integers(0, 7),
        st.floats(0.1, 50.0),
    ),
    max_size=40,
)


@given(changes)
def test_job_index_queue_is_sorted_after_every_change(
    steps: list[tuple[str, int, float]],
) -> None:
    jobs = JobIndex()
    for number, (what, which, size) in enumerate(steps):
        assert_sorted(jobs)
        id_ = str(which)
        if what == "join":
            jobs[id_] = a_job(
                OWNERS[which % 3], id=id_, rank=float(number), cost_s=size, created_at=float(number)
            )
        elif what == "clock":
            jobs.clock = FairQueueClock(size, {OWNERS[which % 3]: size + which})
        elif what == "claim":
            clock, claims = jobs.clock, jobs.queue[: which % 3]
            for job in claims:
                clock = clock.after(job)
            jobs.claim([replace(job, status=JobStatus.CLAIMED) for job in claims], clock)
        elif what == "clear":
            jobs.clear()
        elif id_ in jobs:
            _change(jobs, id_, what, size, number)
    assert_sorted(jobs)


def test_job_index_claim_of_the_first_jobs_sorts_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = JobIndex()
    for number in range(9):
        jobs[str(number)] = a_job(OWNERS[number % 3], id=str(number), rank=float(number))
    first, *rest = jobs.queue
    monkeypatch.setattr(unfinished_jobs, "fair_order", None)
    jobs.claim([replace(first, status=JobStatus.CLAIMED)], jobs.clock.after(first))
    assert [*jobs.queue] == rest


def _change(jobs: JobIndex, id_: str, what: str, size: float, number: int) -> None:
    fields: dict[str, dict[str, Any]] = {
        "rank": {"rank": -float(number)},
        "cost": {"cost_s": size},
        "take": {"status": JobStatus.CLAIMED},
        "put back": {"status": JobStatus.WAITING},
        "cancel": {"cancel_requested": True},
    }
    if what == "leave":
        del jobs[id_]
    else:
        jobs[id_] = replace(jobs[id_], **fields[what])


@pytest.mark.parametrize("seed", range(4))
async def test_queue_positions_and_order_are_sorted_after_any_operation(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfy_ui.jobs.withdrawals._PATIENCE_S", 0.0)  # no worker answers
    rng = random.Random(seed)
    async with open_queue(tmp_path) as queue:
        for worker in ("w", "v"):
            await queue.announce(worker, ServerOffer())
        for number in range(120):
            await _do_at_random(queue, rng, number)
            assert_sorted(queue._unfinished.index)
            jobs, line = queue._unfinished.index, sorted_plainly(queue._unfinished.index)
            before = jobs_ahead(
                (j for j in jobs.values() if j.status is not JobStatus.WAITING), _shown(queue)
            )
            positions = {
                id_: replace(position, starts_in_s=None, run_s=None)
                for id_, position in queue._unfinished.positions().items()
            }
            assert positions == queue_positions(before, line, {})
            for user_id in OWNERS:
                active = [job.id for job in await queue.active(user_id)]
                ready_ids = [job.id for job in queue._unfinished.ready()]
                started_ids = [
                    j.id
                    for j in jobs.values()
                    if j.status is not JobStatus.WAITING and j.id not in ready_ids
                ]
                order = [*started_ids, *ready_ids, *(job.id for job in line)]
                assert active == [id_ for id_ in order if jobs[id_].user_id == user_id]


def _shown(queue: LocalQueue) -> Any:
    return queue._unfinished.updates.get


async def _do_at_random(queue: LocalQueue, rng: random.Random, number: int) -> None:
    jobs = list(queue._unfinished.index.values())
    job = rng.choice(jobs) if jobs else None
    what = rng.choice(["submit"] * 4 + ["cancel", "reorder", "claim", "report", "back", "replace"])
    if what == "submit" or job is None:
        new = a_job(rng.choice(OWNERS), cost_s=rng.uniform(1, 9), created_at=float(number))
        await queue.submit(new, front=rng.random() < 0.3)
    elif what == "replace" and job.status is JobStatus.WAITING:
        await queue.submit(a_job(job.user_id), front=rng.random() < 0.5, replaces=job.id)
    elif what == "cancel":
        await queue.cancel(job.id, job.user_id)
    elif what == "reorder":
        others = [j.id for j in jobs if j.user_id == job.user_id and j is not job]
        await queue.reorder([job.id], job.user_id, before=rng.choice([None, *others]))
    elif what == "claim":
        await queue.claim(rng.choice("wv"), limit=rng.randint(1, 2))
    elif job.server is not None and what == "back":
        await queue.return_job(job.server, job.id, rng.choice(["unheard", "lost", "refused"]))
    elif job.server is not None:
        await queue.publish(job.server, _random_report(job, rng))


def _random_report(job: Job, rng: random.Random) -> JobReport:
    status = rng.choice(
        [None, None, JobStatus.SENT, JobStatus.FETCHING, JobStatus.SUCCEEDED, JobStatus.FAILED]
    )
    phase = rng.choice([Phase.QUEUED, Phase.RUNNING, Phase.RECONNECTING])
    progress = Progress(
        prompt_id=str(job.prompt_id),
        phase=phase,
        progress=1.0,
        queue_position=rng.choice([None, 3]),
    )
    return JobReport(job_id=job.id, status=status, progress=None if status else progress)


async def test_queue_is_sorted_once_per_change_for_any_number_of_followers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sorts = 0

    def counted(*args: Any) -> list[Job]:
        nonlocal sorts
        sorts += 1
        return fair_order(*args)

    monkeypatch.setattr(unfinished_jobs, "fair_order", counted)
    async with open_queue(tmp_path) as queue:
        jobs = [await queue.submit(a_job(OWNERS[n % 3]), front=False) for n in range(30)]
        ((claimed, _),) = await queue.claim("w", limit=1)
        followers = [asyncio.create_task(last(queue.follow(job.id, job.user_id))) for job in jobs]
        while len(queue._unfinished.updates.followed()) < len(jobs):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        sorts = 0
        for n in range(20):
            phase = (Phase.QUEUED, Phase.RUNNING)[n % 2]
            progress = Progress(prompt_id=str(claimed.prompt_id), phase=phase, progress=0.0)
            await queue.publish("w", JobReport(job_id=claimed.id, progress=progress))
            for job in jobs:
                await queue.snapshot(job.id, job.user_id)
            for user_id in OWNERS:
                await queue.active(user_id)
        assert sorts == 0
        await queue.cancel(jobs[-1].id, jobs[-1].user_id)
        for user_id in OWNERS:
            await queue.active(user_id)
            assert queue._unfinished.index.queue
        assert sorts == 1
        await queue.close()
        await asyncio.gather(*followers)
