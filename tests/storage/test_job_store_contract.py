"""The contract of :class:`.JobStore`, for every implementation.

A new implementation adds an entry to ``OPENERS``. Its behavior under a queue, restarts included,
is tested by ``tests/jobs/test_queue_contract.py``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_ui.protocol.durations import Measurement, ShapeKey
from comfy_ui.protocol.graph_cost import NodeShape
from comfy_ui.protocol.outputs import OutputFile, Outputs
from comfy_ui.scale.postgres_job_store import PostgresJobStore
from comfy_ui.storage.database import Database
from comfy_ui.storage.job_store import JobStore
from comfy_ui.storage.records import EVERYONE, Grid, GridAxis, Job, JobError, JobStatus, StoredFile
from comfy_ui.storage.sqlite_job_store import SqliteJobStore
from tests.jobs.support import a_job
from tests.scale.postgres_server import new_app_database
from tests.storage.memory_job_store import MemoryJobStore


@asynccontextmanager
async def open_sqlite_store(folder: Path) -> AsyncIterator[JobStore]:
    database = Database(folder)
    await database.open()
    try:
        yield SqliteJobStore(database, folder)
    finally:
        await database.close()


@asynccontextmanager
async def open_memory_store(folder: Path) -> AsyncIterator[JobStore]:
    yield MemoryJobStore(folder)


@asynccontextmanager
async def open_postgres_store(folder: Path) -> AsyncIterator[JobStore]:
    async with new_app_database() as database:
        yield PostgresJobStore(database, folder)


OPENERS: dict[str, Callable[[Path], AbstractAsyncContextManager[JobStore]]] = {
    "sqlite": open_sqlite_store,
    "memory": open_memory_store,
    "postgres": open_postgres_store,
}


@pytest.fixture(params=OPENERS.values(), ids=[*OPENERS])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[JobStore]:
    if request.param is open_postgres_store:
        request.getfixturevalue("postgres")
    async with request.param(tmp_path) as store:
        yield store


def file(name: str = "a") -> StoredFile:
    return StoredFile(
        source=f"9/output//{name}.png",
        kind="image",
        filename=f"{name}.png",
        media_type="image/png",
        path=f"files/aa/{name}.png",
        thumbnail=f"thumbs/aa/{name}.webp",
        width=8,
        height=8,
        size_bytes=9,
    )


def ended(job: Job, at: float = 100.0, status: JobStatus = JobStatus.SUCCEEDED) -> Job:
    return replace(job, status=status, finished_at=at)


def a_grid(*jobs: str) -> Grid:
    return Grid(
        id="grid",
        user_id="ann",
        across=GridAxis("Steps", ("10", "20")),
        down=None,
        jobs=jobs,
        created_at=1.0,
    )


async def test_get_added_job_is_returned_to_its_user_only(store: JobStore) -> None:
    job = await store.add(a_job(seed=2**64 - 1, rank=3.0))
    assert await store.get(job.id, "ann") == job
    assert await store.get(job.id, "bob") is None
    assert await store.get_with_items(job.id, "ann") == (job, ())
    assert await store.get_with_items(job.id, "bob") is None
    assert await store.get("unknown", "ann") is None


async def test_add_estimates_cost_from_finished_jobs_of_preset(store: JobStore) -> None:
    first = await store.add(a_job(work=4.0))
    assert first.cost_s == 4.0
    await store.finish(replace(ended(first), started_at=60.0), [])
    assert (await store.add(a_job(work=2.0))).cost_s == pytest.approx(20.0)
    assert (await store.add(a_job(preset="other", work=2.0))).cost_s == 2.0
    learned = await store.add(a_job(work=2.0), cost_s=7.0)
    assert learned.cost_s == 7.0
    assert await store.add(replace(learned, work=9.0)) == learned  # stored already


async def test_add_with_replaces_deletes_old_job(store: JobStore) -> None:
    old = await store.add(a_job())
    new = await store.add(a_job(), replaces=old.id)
    assert await store.get(old.id, "ann") is None
    assert await store.unfinished() == [new]


async def test_save_running_job_keeps_every_field(store: JobStore) -> None:
    job = replace(
        await store.add(a_job()),
        status=JobStatus.FETCHING,
        server="gpu",
        prompt_id="p",
        cancel_requested=True,
        server_deaths=1,
        started_at=5.0,
        outputs=Outputs((OutputFile("a.png", node="9", kind="image"),), ("a caption",)),
        error=JobError("It broke.", "Try again.", "…", "X"),
    )
    await store.save(job)
    assert await store.get(job.id, "ann") == job


async def test_unfinished_returns_active_and_unfetched_jobs_oldest_first(store: JobStore) -> None:
    jobs = [await store.add(a_job(created_at=float(n))) for n in (3, 1, 2)]
    unfetched = ended(jobs[2], status=JobStatus.UNFETCHED)
    await store.save(unfetched)
    done = await store.add(a_job())
    await store.finish(ended(done), [])
    assert await store.unfinished() == [jobs[1], unfetched, jobs[0]]


async def test_recent_returns_finished_jobs_newest_first(store: JobStore) -> None:
    for n in (2, 3, 1):
        await store.finish(ended(await store.add(a_job(id=f"job{n}")), at=float(n)), [])
    await store.add(a_job())
    await store.finish(ended(await store.add(a_job("bob"))), [])
    assert [job.id for job in await store.recent("ann", 2)] == ["job3", "job2"]


async def test_save_claims_keeps_fair_queue_tags(store: JobStore) -> None:
    assert await store.fair_queue_tags() == (0.0, {})
    ann, bob = await store.add(a_job("ann")), await store.add(a_job("bob"))
    claims = [(replace(ann, status=JobStatus.CLAIMED, prompt_id="p"), (4.0, 9.0))]
    await store.save_claims([*claims, (replace(bob, status=JobStatus.CLAIMED), (0.0, 4.0))])
    assert await store.fair_queue_tags() == (4.0, {"ann": 9.0})
    assert await store.get(ann.id, "ann") == claims[0][0]


async def test_save_ranks_changes_order_only(store: JobStore) -> None:
    first, second = await store.add(a_job()), await store.add(a_job())
    await store.save_ranks({first.id: 2.0, second.id: 1.0})
    assert await store.get(first.id, "ann") == replace(first, rank=2.0)
    assert await store.get(second.id, "ann") == replace(second, rank=1.0)


async def test_save_paused_adds_and_removes_users(store: JobStore) -> None:
    for user_id in ("ann", EVERYONE, "ann"):
        await store.save_paused(user_id, paused=True)
    assert await store.paused() == {"ann", EVERYONE}
    await store.save_paused("ann", paused=False)
    await store.save_paused("bob", paused=False)
    assert await store.paused() == {EVERYONE}


async def test_finish_stores_each_file_once_with_job(store: JobStore, tmp_path: Path) -> None:
    job = ended(await store.add(a_job(prompt="a fox")))
    items = await store.finish(job, [file("a"), file("b")])
    assert [(i.filename, i.path) for i in items] == [
        ("a.png", tmp_path / "files/aa/a.png"),
        ("b.png", tmp_path / "files/aa/b.png"),
    ]
    assert {(i.job_id, i.user_id, i.prompt, i.preset) for i in items} == {
        (job.id, "ann", "a fox", "p")
    }
    assert await store.finish(job, [file("b")]) == items
    assert await store.get_with_items(job.id, "ann") == (job, items)


async def test_save_moved_lists_copy_until_delete_copy(store: JobStore) -> None:
    job = replace(await store.add(a_job()), rank=-1.0)
    lost = replace(await store.add(a_job()), rank=-2.0)
    await store.save_moved(job, server="gpu", prompt_id="p", there=True)
    await store.save_moved(lost, server="gpu", prompt_id="q", there=False)
    assert await store.copies("gpu") == {"p": job.id}
    assert await store.copies("other") == {}
    assert sorted(await store.left_servers()) == sorted([(job.id, "gpu"), (lost.id, "gpu")])
    assert await store.get(job.id, "ann") == job
    await store.finish(ended(lost, status=JobStatus.LOST), [])
    await store.delete_copy("p")
    assert await store.copies("gpu") == {}
    assert await store.left_servers() == []


async def test_add_imported_same_file_is_stored_once_per_user(store: JobStore) -> None:
    imported = replace(a_job(id="imported", created_at=7.0), status=JobStatus.SUCCEEDED)
    assert not await store.has_file(file().path, "ann")
    assert await store.add_imported(imported, file())
    assert await store.has_file(file().path, "ann")
    assert not await store.has_file(file().path, "bob")
    assert not await store.add_imported(imported, file())
    stored = await store.get_with_items("imported", "ann")
    assert stored is not None
    assert [(item.filename, item.created_at) for item in stored[1]] == [("a.png", 7.0)]
    theirs = replace(imported, id="theirs", user_id="bob")
    assert await store.add_imported(theirs, file())
    assert await store.recent("ann", 9) == []


async def test_delete_empty_keeps_results_texts_copies_and_newest_jobs(store: JobStore) -> None:
    for n in range(5):
        job = await store.add(a_job(id=f"empty{n}"))
        await store.finish(ended(job, at=float(n + 1), status=JobStatus.CANCELLED), [])
    await store.finish(ended(await store.add(a_job(id="file"))), [file()])
    texts = replace(await store.add(a_job(id="texts")), outputs=Outputs((), ("a caption",)))
    await store.finish(ended(texts), [])
    moved = await store.add(a_job(id="moved"))
    await store.save_moved(moved, server="gpu", prompt_id="p", there=True)
    await store.finish(ended(moved, status=JobStatus.CANCELLED), [])
    await store.add(a_job(id="waiting"))
    await store.finish(ended(await store.add(a_job("bob")), status=JobStatus.FAILED), [])
    assert sorted(await store.user_ids()) == ["ann", "bob"]
    assert await store.delete_empty("ann", keep=2) == 3
    assert await store.delete_empty("ann", keep=2) == 0
    kept = {job.id for job in await store.recent("ann", 99)}
    assert kept == {"empty3", "empty4", "file", "texts", "moved"}
    assert len(await store.recent("bob", 9)) == 1


async def test_grid_is_unfinished_until_its_sheet_is_stored(store: JobStore) -> None:
    first, second = await store.add(a_job()), await store.add(a_job())
    grid = a_grid(first.id, second.id)
    await store.add_grid(grid)
    assert await store.grid("grid", "ann") == grid
    assert await store.grid("grid", "bob") is None
    assert await store.unfinished_grids() == [grid]
    (item,) = await store.finish(ended(first), [file()])
    assert await store.grid_cells(grid) == [(ended(first), item), (second, None)]
    sheet = ended(a_job(id="sheet"))
    await store.finish_grid(grid, (sheet, file("sheet")))
    assert await store.unfinished_grids() == []
    assert await store.grid("grid", "ann") == grid
    stored = await store.get_with_items("sheet", "ann")
    assert stored is not None
    assert [i.filename for i in stored[1]] == ["sheet.png"]
    await store.finish_grid(grid, (ended(a_job(id="another")), file("another")))
    assert await store.get("another", "ann") is None


async def test_delete_grid_removes_grid(store: JobStore) -> None:
    await store.add_grid(a_grid("a", "b"))
    await store.delete_grid("grid")
    assert await store.grid("grid", "ann") is None
    assert await store.unfinished_grids() == []


async def test_groups_count_ended_jobs_and_results_without_the_sheet(store: JobStore) -> None:
    jobs = [
        await store.add(a_job(id=f"j{n}", created_at=float(n), prompt=f"fox {n}", group_id="grid"))
        for n in range(1, 4)
    ]
    other = await store.add(a_job(id="other"))
    assert await store.groups(["grid"], "ann") == []
    grid = a_grid(*(job.id for job in jobs))
    await store.add_grid(grid)
    made = replace(ended(jobs[0]), prompt_id="p")
    await store.finish(made, [file("a"), file("b")])
    await store.finish(ended(jobs[1], at=110.0, status=JobStatus.CANCELLED), [])
    await store.finish(ended(other, at=105.0), [])
    await store.finish_grid(grid, (ended(a_job(id="sheet", group_id="grid"), 120.0), file("s")))
    (group,) = await store.groups(["grid", "unknown"], "ann")
    assert (group.title, group.prompt, group.preset, group.size) == ("Steps", "fox 1", "p", 3)
    assert (group.succeeded, group.failed, group.cancelled, group.results) == (1, 0, 1, 2)
    assert await store.groups(["grid"], "bob") == []
    assert [job.id for job in await store.group_jobs("grid", "ann", limit=9)] == ["j1", "j2", "j3"]
    page = await store.group_jobs("grid", "ann", limit=1, offset=1)
    assert [job.id for job in page] == ["j2"]
    assert await store.group_jobs("grid", "bob", limit=9) == []
    assert [job.id for job in await store.recent("ann", 9, folded=True)] == ["sheet", "other"]
    assert len(await store.recent("ann", 9)) == 4


async def test_save_group_paused_adds_and_removes_a_group(store: JobStore) -> None:
    job = await store.add(a_job(group_id="grid"))
    await store.add_grid(a_grid(job.id))
    assert await store.paused_groups() == frozenset()
    await store.save_group_paused("grid", paused=True)
    assert await store.paused_groups() == {"grid"}
    assert (await store.groups(["grid"], "ann"))[0].paused
    await store.save_group_paused("grid", paused=False)
    assert await store.paused_groups() == frozenset()


async def test_save_durations_replaces_those_of_the_same_shape_and_server(store: JobStore) -> None:
    sampler = ShapeKey(NodeShape("KSampler", "a.safetensors", 1.0, 20.0), cold=False)
    decoder = ShapeKey(NodeShape("VAEDecode", "", 0.25, 1.0), cold=True)
    await store.save_durations("gpu", {sampler: [Measurement(1.0, 0.5)]}, now=1.0)
    await store.save_durations("gpu", {decoder: [Measurement(2.0)]}, now=2.0)
    newer = [Measurement(1.0, 0.5), Measurement(1.5, 0.25)]
    await store.save_durations("gpu", {sampler: newer}, now=3.0)
    known = await store.durations("gpu")
    assert known == {decoder: (Measurement(2.0),), sampler: tuple(newer)}
    assert [*known] == [decoder, sampler], "the least recently learned first"
    assert await store.durations("other") == {}
