"""The contract of :class:`.JobQueue`, for every implementation.

A new implementation adds an entry to ``OPENERS``: a function that opens the queue of a folder.
Opening it again after it was closed is a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

from comfy_ui.errors import ValidationError
from comfy_ui.jobs.local_queue import LocalQueue
from comfy_ui.jobs.placement import ServerOffer
from comfy_ui.jobs.queue import Handover, JobQueue, JobReport
from comfy_ui.protocol.outputs import OutputFile, Outputs
from comfy_ui.protocol.progress import Progress
from comfy_ui.scale.postgres_database import PostgresDatabase
from comfy_ui.scale.postgres_job_store import PostgresJobStore
from comfy_ui.scale.shared_queue.postgres_job_queue import PostgresJobQueue
from comfy_ui.storage.records import EVERYONE, Job, JobError, JobStatus, Phase, StoredFile
from tests.jobs import support
from tests.scale.postgres_server import new_app_database
from tests.storage.memory_job_store import MemoryJobStore

FILE = StoredFile(
    source="9//output/a.png",
    kind="image",
    filename="a.png",
    media_type="image/png",
    path="files/aa/a.png",
    thumbnail=None,
    width=8,
    height=8,
    size_bytes=9,
)
OUTPUTS = Outputs(files=(OutputFile("a.png", node="9", kind="image"),), texts=("a caption",))


class Opener(Protocol):
    """Opens the queue that belongs to a folder."""

    def __call__(
        self, folder: Path, *, waiting_limit: int = 100
    ) -> AbstractAsyncContextManager[JobQueue]: ...


_MEMORY_STORES: dict[Path, MemoryJobStore] = {}


@asynccontextmanager
async def _open_with_memory_store(
    folder: Path, *, waiting_limit: int = 100
) -> AsyncIterator[JobQueue]:
    store = _MEMORY_STORES.setdefault(folder, MemoryJobStore(folder))
    queue = LocalQueue(store, waiting_limit=waiting_limit)
    await queue.open()
    yield queue
    await queue.close()


_POSTGRES_DATABASES: dict[Path, PostgresDatabase] = {}


@asynccontextmanager
async def _open_with_postgres_store(
    folder: Path, *, waiting_limit: int = 100
) -> AsyncIterator[JobQueue]:
    queue = LocalQueue(
        PostgresJobStore(_POSTGRES_DATABASES[folder], folder), waiting_limit=waiting_limit
    )
    await queue.open()
    yield queue
    await queue.close()


@asynccontextmanager
async def _open_shared(folder: Path, *, waiting_limit: int = 100) -> AsyncIterator[JobQueue]:
    database = _POSTGRES_DATABASES[folder]
    queue = PostgresJobQueue(database, folder, waiting_limit=waiting_limit)
    await queue.open()
    yield queue
    await queue.aclose()


OPENERS: dict[str, Opener] = {
    "local queue, SQLite store": support.open_queue,
    "local queue, memory store": _open_with_memory_store,
    "local queue, PostgreSQL store": _open_with_postgres_store,
    "shared queue": _open_shared,
}


@pytest.fixture(params=OPENERS.values(), ids=[*OPENERS])
async def open_queue(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opener]:
    opener: Opener = request.param
    if opener not in (_open_with_postgres_store, _open_shared):
        yield opener
        return
    request.getfixturevalue("postgres")
    async with new_app_database(exclusive=opener is _open_with_postgres_store) as database:
        _POSTGRES_DATABASES[tmp_path] = database
        yield opener
        del _POSTGRES_DATABASES[tmp_path]


@pytest.fixture
async def queue(open_queue: Opener, tmp_path: Path) -> AsyncIterator[JobQueue]:
    async with open_queue(tmp_path) as queue:
        yield queue


async def _submit(queue: JobQueue, *user_ids: str, **fields: Any) -> list[Job]:
    return [
        await queue.submit(support.a_job(user_id, created_at=float(n)), **{"front": False} | fields)
        for n, user_id in enumerate(user_ids)
    ]


async def _claim(queue: JobQueue, limit: int = 1) -> list[Job]:
    return [job for job, _ in await queue.claim("w", limit=limit)]


async def _report(
    queue: JobQueue, job: Job, status: JobStatus | None = None, **updates: Any
) -> None:
    await queue.publish("w", JobReport(job_id=job.id, status=status, **updates))


def _progress(job: Job, percent: float, **fields: Any) -> Progress:
    return Progress(
        prompt_id=str(job.prompt_id), progress=percent, **{"phase": Phase.RUNNING} | fields
    )


async def test_claim_is_fair_between_users_and_assigns_prompt_ids(
    queue: JobQueue,
) -> None:
    await _submit(queue, "ann", "ann", "ann", "bob")
    claimed = await _claim(queue, 4)
    assert [job.user_id for job in claimed] == ["ann", "bob", "ann", "ann"]
    assert len({job.prompt_id for job in claimed}) == 4
    assert await _claim(queue, 4) == []


async def test_claim_is_fair_across_restart(open_queue: Opener, tmp_path: Path) -> None:
    async with open_queue(tmp_path) as queue:
        await _submit(queue, "ann", "ann")
        await _claim(queue)
    async with open_queue(tmp_path) as queue:
        await _claim(queue, 0)  # resumes the claimed job
        await _submit(queue, "bob")
        assert [job.user_id for job in await _claim(queue)] == ["bob"]


async def test_claim_leaves_a_job_to_the_server_that_has_its_model_loaded(
    queue: JobQueue,
) -> None:
    for worker in ("v", "w"):
        await queue.announce(worker, ServerOffer())
    loader = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}}
    first, second = [
        await queue.submit(support.a_job(graph={"1": loader}), front=False) for _ in range(2)
    ]
    claimed = await queue.claim("v", limit=1)
    assert [job.id for job, _ in claimed] == [first.id]
    assert await queue.claim("w", limit=1) == []
    assert [job.id for job, _ in await queue.claim("v", limit=1)] == [second.id]


async def test_claim_of_a_server_that_runs_several_jobs_gets_as_many(queue: JobQueue) -> None:
    await queue.announce("v", ServerOffer(parallel_jobs=3))
    await queue.announce("w", ServerOffer())
    jobs = await _submit(queue, *["ann"] * 4)
    claimed = [await queue.claim(worker, limit=4) for worker in ("v", "w")]
    assert sorted(len(claims) for claims in claimed) == [1, 3]
    assert len(claimed[0]) == 3
    assert {job.id for claims in claimed for job, _ in claims} == {job.id for job in jobs}


async def test_counts_jobs_of_all_users_as_running_once_comfyui_begins(queue: JobQueue) -> None:
    await _submit(queue, "ann", "ann", "bob")
    first, _ = await _claim(queue, 2)
    assert await queue.counts() == (0, 3)
    await queue.publish("w", JobReport(job_id=first.id, progress=_progress(first, 10.0)))
    assert await queue.counts() == (1, 2)
    await queue.publish("w", JobReport(job_id=first.id, phase=Phase.RECONNECTING))
    assert await queue.counts() == (0, 3)


async def test_submit_front_goes_before_own_jobs_only(queue: JobQueue) -> None:
    bob, ann = await _submit(queue, "bob", "ann")
    (first,) = await _submit(queue, "ann", front=True)
    assert [job.id for job in await queue.active("ann")] == [first.id, ann.id]
    assert [job.id for job in await _claim(queue, 3)] == [first.id, bob.id, ann.id]


async def test_reorder_changes_order_of_own_waiting_jobs_only(
    queue: JobQueue, tmp_path: Path
) -> None:
    a, b, c = await _submit(queue, "ann", "ann", "ann")
    assert await queue.reorder([c.id], "ann", before=a.id)
    assert [job.id for job in await queue.active("ann")] == [c.id, a.id, b.id]
    assert await queue.reorder([c.id], "ann", before=None)
    assert [job.id for job in await queue.active("ann")] == [a.id, b.id, c.id]
    assert not await queue.reorder([c.id], "bob", before=a.id)
    (claimed,) = await _claim(queue)
    await _report(queue, claimed, progress=_progress(claimed, 1.0))
    assert not await queue.reorder([claimed.id], "ann", before=b.id)
    assert not await queue.reorder([b.id], "ann", before=claimed.id)


async def _give_back(queue: JobQueue) -> list[str]:
    """Take back the jobs that the queue asks for, as a worker does; return their ids."""
    withdrawn = sorted(await queue.withdrawals("w"))
    for job_id in withdrawn:
        assert await queue.return_job("w", job_id, "withdrawn")
    return withdrawn


async def test_reorder_takes_back_a_ready_job(queue: JobQueue) -> None:
    await _submit(queue, "ann", "ann", "ann")
    a, b = await _claim(queue, 2)
    (c,) = [job for job in await queue.active("ann") if job.id not in (a.id, b.id)]
    await _report(queue, a, progress=_progress(a, 1.0))
    moving = asyncio.create_task(queue.reorder([b.id], "ann", before=None))
    await asyncio.sleep(0)
    async with asyncio.timeout(2):
        while not (withdrawn := await _give_back(queue)):  # noqa: ASYNC110 -- the worker polls
            await asyncio.sleep(0)
    assert withdrawn == [b.id]
    assert await moving
    assert [job.id for job in await queue.active("ann")] == [a.id, c.id, b.id]
    assert [job.id for job in await _claim(queue, 2)] == [c.id, b.id]


async def test_submit_front_takes_back_the_ready_job_behind_it(queue: JobQueue) -> None:
    await _submit(queue, "ann", "ann")
    a, b = await _claim(queue, 2)
    await _report(queue, a, progress=_progress(a, 1.0))
    (first,) = await _submit(queue, "ann", front=True)
    assert await _give_back(queue) == [b.id]
    assert [job.id for job in await _claim(queue, 2)] == [first.id, b.id]


async def test_submit_replaces_a_ready_job_after_taking_it_back(queue: JobQueue) -> None:
    await _submit(queue, "ann", "ann")
    a, b = await _claim(queue, 2)
    await _report(queue, a, progress=_progress(a, 1.0))
    replacing = asyncio.create_task(queue.submit(support.a_job(), front=False, replaces=b.id))
    async with asyncio.timeout(2):
        while not await _give_back(queue):
            assert not await _claim(queue)
            await asyncio.sleep(0)
        assert not await _claim(queue), "the replaced job is claimed again"
        new = await replacing
    assert [job.id for job in await _claim(queue, 2)] == [new.id]


async def test_set_paused_takes_back_ready_jobs_and_lets_none_start(
    open_queue: Opener, tmp_path: Path
) -> None:
    async with open_queue(tmp_path) as queue:
        await _submit(queue, "ann", "ann", "ann", "bob")
        a, bob, ready = await _claim(queue, 3)
        await _report(queue, a, progress=_progress(a, 1.0))
        await queue.set_paused("ann", paused=True)
        assert await _give_back(queue) == [ready.id]
        assert await _claim(queue, 3) == []
        await queue.set_paused(EVERYONE, paused=True)
        assert await _give_back(queue) == [bob.id]
        await queue.set_paused("ann", paused=False)
    async with open_queue(tmp_path) as queue:  # a restart does not resume it
        await _claim(queue, 0)
        assert await _claim(queue, 3) == []
        async with aclosing(queue.follow_queue("ann")) as views:
            view = await anext(views)
        assert (view.paused, view.all_paused) == (False, True)
        await queue.set_paused(EVERYONE, paused=False)
        assert len(await _claim(queue, 4)) == 3


async def test_set_paused_puts_jobs_of_others_first(queue: JobQueue) -> None:
    ann, bob = await _submit(queue, "ann", "bob")
    await queue.set_paused("ann", paused=True)
    snapshot = await queue.snapshot(bob.id, "bob")
    assert snapshot
    assert snapshot.queue_position == 1
    assert [job.id for job in await _claim(queue, 2)] == [bob.id]
    await queue.set_paused("ann", paused=False)
    assert [job.id for job in await _claim(queue, 2)] == [ann.id]


async def _submit_group(queue: JobQueue, user_id: str, size: int) -> list[Job]:
    return [
        await queue.submit(support.a_job(user_id, created_at=float(n), group_id="g"), front=False)
        for n in range(size)
    ]


async def test_set_group_paused_takes_back_its_ready_job_and_lets_others_start(
    queue: JobQueue,
) -> None:
    group = await _submit_group(queue, "ann", 3)
    (other,) = await _submit(queue, "ann")
    running, ready = await _claim(queue, 2)
    await _report(queue, running, progress=_progress(running, 1.0))
    await queue.set_group_paused("g", paused=True)
    assert await _give_back(queue) == [ready.id]
    assert [job.id for job in await _claim(queue, 3)] == [other.id]
    async with aclosing(queue.follow_queue("ann")) as views:
        view = await anext(views)
    assert view.paused_groups == {"g"}
    assert [s.job_id for _, s in view.jobs if s.paused] == [job.id for job in group[1:]]
    await queue.set_group_paused("g", paused=False)
    assert [job.id for job in await _claim(queue, 3)] == [job.id for job in group[1:]]


async def test_claim_beside_a_paused_group_keeps_the_share_of_its_user(queue: JobQueue) -> None:
    await _submit_group(queue, "ann", 20)
    (own,) = await _submit(queue, "ann")
    others = await _submit(queue, "bob", "bob", "bob")
    await queue.set_group_paused("g", paused=True)
    assert [job.id for job in await _claim(queue, 2)] == [own.id, others[0].id]


async def test_claim_of_a_large_group_alternates_with_other_users(queue: JobQueue) -> None:
    await _submit_group(queue, "ann", 100)
    await _submit(queue, "bob", "bob", "carol")
    users = [job.user_id for job in await _claim(queue, 8)]
    assert sorted(users[:3]) == ["ann", "bob", "carol"]
    assert users[3:] == ["ann", "bob", "ann", "ann", "ann"]


async def test_reorder_of_a_group_keeps_the_order_within_it(queue: JobQueue) -> None:
    (first,) = await _submit(queue, "ann")
    group = [job.id for job in await _submit_group(queue, "ann", 3)]
    assert await queue.reorder(group, "ann", before=first.id)
    assert [job.id for job in await queue.active("ann")] == [*group, first.id]
    assert not await queue.reorder(group, "ann", before=group[0])
    assert not await queue.reorder(group, "bob", before=None)


async def test_submit_in_place_of_a_job_belongs_to_its_group(queue: JobQueue) -> None:
    old, _ = await _submit_group(queue, "ann", 2)
    new = await queue.submit(support.a_job("ann"), front=False, replaces=old.id)
    assert new.group_id == "g"


async def test_return_job_withdrawn_costs_its_user_no_share(queue: JobQueue) -> None:
    await _submit(queue, "ann", "bob")
    for _ in range(5):
        (ann,) = await _claim(queue)
        assert ann.user_id == "ann"
        assert await queue.return_job("w", ann.id, "withdrawn")


async def test_return_job_lost_keeps_order_and_never_ends(queue: JobQueue) -> None:
    await _submit(queue, "ann", "ann", "ann")
    order = [job.id for job in await queue.active("ann")]
    for number in range(6):
        claimed = await _claim(queue, 2)
        for job in claimed if number % 2 else reversed(claimed):
            assert await queue.return_job("w", job.id, "lost")
        assert [job.id for job in await queue.active("ann")] == order


async def test_return_job_died_counts_to_two_across_restart(
    open_queue: Opener, tmp_path: Path
) -> None:
    async with open_queue(tmp_path) as queue:
        await _submit(queue, "ann", "ann")
        killer, _ = await _claim(queue, 2)
        assert await queue.return_job("w", killer.id, "died")
        assert await queue.return_job("w", _.id, "lost")
    async with open_queue(tmp_path) as queue:
        assert [job.id for job in await _claim(queue, 2)] == [killer.id], "it runs alone"
        assert await _claim(queue) == []
        assert not await queue.return_job("w", killer.id, "died")
        await _report(queue, killer, JobStatus.LOST, error=JobError("It died."))
        end = await queue.snapshot(killer.id, "ann")
        assert end
        assert (end.phase, end.server_deaths) == (Phase.LOST, 2)
        assert len(await _claim(queue, 2)) == 1


async def test_submit_beyond_waiting_limit_raises_with_hint(
    open_queue: Opener, tmp_path: Path
) -> None:
    async with open_queue(tmp_path, waiting_limit=2) as queue:
        await _submit(queue, "ann", "ann", "bob")
        with pytest.raises(ValidationError, match="waiting already") as caught:
            await _submit(queue, "ann")
        assert caught.value.hint
        await _claim(queue, 1)
        await _submit(queue, "ann")


async def test_cancel_waiting_job_ends_it_at_once(queue: JobQueue) -> None:
    (job,) = await _submit(queue, "ann")
    follower = asyncio.create_task(support.last(queue.follow(job.id, "ann")))
    await asyncio.sleep(0.01)
    assert await queue.cancel(job.id, "ann")
    assert (await follower).phase is Phase.CANCELLED
    assert await _claim(queue) == []
    assert not await queue.cancel(job.id, "ann")


async def test_cancel_claimed_job_is_reported_by_heartbeat(queue: JobQueue) -> None:
    await _submit(queue, "ann")
    (job,) = await _claim(queue)
    assert await queue.heartbeat("w") == frozenset()
    assert await queue.cancel(job.id, "ann")
    assert await queue.heartbeat("w") == {job.id}
    await _report(queue, job, progress=_progress(job, 50))
    snapshot = await queue.snapshot(job.id, "ann")
    assert snapshot
    assert (snapshot.phase, snapshot.progress) == (Phase.CANCELLING, 50)
    await _report(queue, job, JobStatus.CANCELLED)
    assert await queue.heartbeat("w") == frozenset()


async def test_publish_progress_never_falls_and_preview_stays(queue: JobQueue) -> None:
    await _submit(queue, "ann")
    (job,) = await _claim(queue)
    await _report(
        queue, job, progress=_progress(job, 60, preview=b"jpeg", preview_type="image/jpeg")
    )
    await _report(queue, job, progress=_progress(job, 40, step=3, steps=8))
    snapshot = await queue.snapshot(job.id, "ann")
    assert snapshot
    assert (snapshot.progress, snapshot.step, snapshot.preview) == (60, 3, b"jpeg")
    await _report(queue, job, phase=Phase.RECONNECTING)
    snapshot = await queue.snapshot(job.id, "ann")
    assert snapshot
    assert (snapshot.phase, snapshot.progress) == (Phase.RECONNECTING, 60)


async def test_snapshot_positions_count_jobs_at_server_and_own_jobs(queue: JobQueue) -> None:
    _, _, third, fourth = await _submit(queue, "ann", "bob", "ann", "bob")
    running, queued = await _claim(queue, 2)
    await _report(queue, running, JobStatus.SENT)
    await _report(queue, running, progress=_progress(running, 5))
    await _report(queue, queued, JobStatus.SENT)
    reported = {"phase": Phase.QUEUED, "queue_position": 3}  # behind two jobs of other programs
    await _report(queue, queued, progress=_progress(queued, 0, **reported))
    places = {}
    for user_id in ("ann", "bob"):
        for job in await queue.active(user_id):
            shown = await queue.snapshot(job.id, user_id)
            assert shown
            places[job.id] = (shown.queue_position, shown.queue_size, shown.queue_own)
    assert places == {
        running.id: (None, 0, 0),
        queued.id: (3, 5, 2),
        third.id: (4, 5, 1),
        fourth.id: (5, 5, 2),
    }


async def test_follow_reports_new_position_when_another_job_leaves(
    queue: JobQueue,
) -> None:
    first, second = await _submit(queue, "ann", "ann")
    async with aclosing(queue.follow(second.id, "ann")) as updates:
        assert (await anext(updates)).queue_position == 2
        await queue.cancel(first.id, "ann")
        assert (await anext(updates)).queue_position == 1


async def test_follow_reports_number_of_other_own_jobs(
    queue: JobQueue,
) -> None:
    await _submit(queue, "ann", "bob")
    loading, _ = await _claim(queue, 2)
    await _report(queue, loading, JobStatus.SENT)
    await _report(queue, loading, phase=Phase.LOADING)
    async with asyncio.timeout(5), aclosing(queue.follow(loading.id, "ann")) as updates:
        assert (await anext(updates)).others_own == 0
        _, second = await _submit(queue, "bob", "ann")
        assert (await anext(updates)).others_own == 1
        await queue.cancel(second.id, "ann")
        snapshot = await anext(updates)
        assert (snapshot.others_own, snapshot.phase) == (0, Phase.LOADING)


async def test_publish_success_ends_with_items_and_texts(queue: JobQueue, tmp_path: Path) -> None:
    await _submit(queue, "ann")
    (job,) = await _claim(queue)
    follower = asyncio.create_task(support.last(queue.follow(job.id, "ann")))
    await asyncio.sleep(0.01)
    await _report(queue, job, JobStatus.SENT)
    await _report(queue, job, JobStatus.FETCHING, outputs=OUTPUTS)
    await _report(queue, job, JobStatus.SUCCEEDED, files=[FILE])
    end = await follower
    assert (end.phase, end.progress, end.texts) == (Phase.SUCCEEDED, 100.0, ("a caption",))
    (item,) = end.items
    assert (item.path, item.user_id, item.seed) == (tmp_path / FILE.path, "ann", 1)
    again = await support.last(queue.follow(job.id, "ann"))  # from the database
    assert again.items == end.items
    assert await queue.active("ann") == []


async def test_publish_report_after_end_is_ignored(queue: JobQueue) -> None:
    await _submit(queue, "ann")
    (job,) = await _claim(queue)
    await _report(queue, job, JobStatus.FAILED, error=JobError("It broke.", "Mend it.", "…", "X"))
    await _report(queue, job, JobStatus.SUCCEEDED, files=[FILE])
    await _report(queue, job, progress=_progress(job, 99))
    end = await queue.snapshot(job.id, "ann")
    assert end
    assert (end.phase, end.items) == (Phase.FAILED, ())
    assert end.error == JobError("It broke.", "Mend it.", "…", "X")


async def test_queue_hides_job_from_other_users(queue: JobQueue) -> None:
    (job,) = await _submit(queue, "ann")
    assert await queue.snapshot(job.id, "bob") is None
    assert [s async for s in queue.follow(job.id, "bob")] == []
    assert await queue.active("bob") == []
    assert not await queue.cancel(job.id, "bob")
    assert [j.id for j in await _claim(queue)] == [job.id]


async def test_restart_resumes_every_unfinished_job_in_its_state(
    open_queue: Opener, tmp_path: Path
) -> None:
    async with open_queue(tmp_path) as queue:
        await _submit(queue, "ann", "ann", "ann", "ann", "ann")
        claimed, sent, fetching, done = await _claim(queue, 4)
        for job in (sent, fetching, done):
            await _report(queue, job, JobStatus.SENT)
        await _report(queue, fetching, JobStatus.FETCHING, outputs=OUTPUTS)
        await _report(queue, done, JobStatus.SUCCEEDED)
        await queue.cancel(sent.id, "ann")
        waiting = (await queue.active("ann"))[-1]
    async with open_queue(tmp_path) as queue:
        claims = await queue.claim("w", limit=0)
        assert {job.id: job.status for job, _ in claims} == {
            claimed.id: JobStatus.CLAIMED,
            sent.id: JobStatus.SENT,
            fetching.id: JobStatus.FETCHING,
        }
        assert all(handover is Handover.RESUMED for _, handover in claims)
        assert {job.prompt_id for job, _ in claims} == {
            job.prompt_id for job in (claimed, sent, fetching)
        }
        by_id = {job.id: job for job, _ in claims}
        assert by_id[fetching.id].outputs == OUTPUTS
        assert await queue.heartbeat("w") == {sent.id}
        ((fresh, handover),) = await queue.claim("w", limit=9)
        assert (fresh.id, handover) == (waiting.id, Handover.NEW)


async def test_retry_fetch_resumes_unfetched_job_now_or_after_restart(
    open_queue: Opener,
    tmp_path: Path,
) -> None:
    full = JobError("The disk is full.", "Free some.", "", "StorageError")
    async with open_queue(tmp_path) as queue:
        await _submit(queue, "ann")
        (job,) = await _claim(queue)
        await _report(queue, job, JobStatus.FETCHING, outputs=OUTPUTS)
        await _report(queue, job, JobStatus.UNFETCHED, error=full)
        end = await support.last(queue.follow(job.id, "ann"))
        assert (end.phase, end.error) == (Phase.FAILED, full)
        assert not await queue.retry_fetch(job.id, "bob")
        assert await queue.retry_fetch(job.id, "ann")
        assert not await queue.retry_fetch(job.id, "ann")
        ((again, handover),) = await queue.claim("w", limit=0)
        assert (handover, again.outputs, again.error) == (Handover.RESUMED, OUTPUTS, None)
        await _report(queue, job, JobStatus.UNFETCHED, error=full)
    async with open_queue(tmp_path) as queue:
        ((restarted, _),) = await queue.claim("w", limit=0)
        assert restarted.outputs == OUTPUTS
        await _report(queue, job, JobStatus.SUCCEEDED, files=[FILE])
        assert (await support.last(queue.follow(job.id, "ann"))).phase is Phase.SUCCEEDED
        assert not await queue.retry_fetch(job.id, "ann")


async def test_wait_for_work_returns_on_new_job_or_timeout(
    queue: JobQueue,
) -> None:
    await asyncio.wait_for(queue.wait_for_work("w", timeout_s=0.01), 5)
    waiting = asyncio.create_task(queue.wait_for_work("w", timeout_s=60))
    await asyncio.sleep(0.01)
    await _submit(queue, "ann")
    await asyncio.wait_for(waiting, 5)


@pytest.mark.parametrize("turns", range(5))
async def test_wait_for_work_cancelled_as_work_arrives_is_cancelled(
    queue: JobQueue, turns: int
) -> None:
    waiting = asyncio.create_task(queue.wait_for_work("w", timeout_s=60))
    await asyncio.sleep(0.01)
    await _submit(queue, "ann")
    for _ in range(turns):
        await asyncio.sleep(0)
    in_time = waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled() == in_time


async def test_submit_estimates_cost_from_recent_durations(queue: JobQueue) -> None:
    job = await queue.submit(support.a_job(work=10.0), front=False)
    assert job.cost_s == 10.0
    (claimed,) = await _claim(queue)
    began = _progress(claimed, 1, elapsed_s=40.0)
    await _report(queue, claimed, progress=began)
    await _report(queue, claimed, JobStatus.SUCCEEDED)
    longer = await queue.submit(support.a_job(work=20.0), front=False)
    assert longer.cost_s == pytest.approx(80.0, rel=0.05)
