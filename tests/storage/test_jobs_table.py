"""The table of jobs: bounded in size, without deleting jobs that are needed."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.library.library_service import KEPT_EMPTY_JOBS, LibraryService
from comfy_ui.library.sqlite_library_store import SqliteLibraryStore
from comfy_ui.protocol.outputs import Outputs
from comfy_ui.storage.database import Database
from comfy_ui.storage.database_schema import create_or_check
from comfy_ui.storage.file_stores.file_store import FolderFileStore
from comfy_ui.storage.records import Job, JobStatus, StoredFile
from comfy_ui.storage.sqlite_job_store import SqliteJobStore
from comfy_ui.storage.tables import copies_table, items_table, jobs_table
from tests.jobs.support import a_job

FILE = StoredFile(
    source="1/output//a.png",
    kind="image",
    filename="a.png",
    media_type="image/png",
    path="files/aa/a.png",
    thumbnail=None,
    width=1,
    height=1,
    size_bytes=5,
)


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA foreign_keys = ON")
        create_or_check(connection)
        yield connection


def over(connection: sqlite3.Connection, id_: str, at: float, **fields: Any) -> Job:
    job = a_job(**{"id": id_, "status": JobStatus.CANCELLED, "finished_at": at, **fields})
    jobs_table.insert(connection, job)
    jobs_table.update(connection, job)
    return job


def job_ids(connection: sqlite3.Connection) -> set[str]:
    return {row["id"] for row in connection.execute("SELECT id FROM jobs")}


def test_delete_empty_keeps_newest_jobs_of_user(
    connection: sqlite3.Connection,
) -> None:
    statuses = [JobStatus.CANCELLED, JobStatus.FAILED, JobStatus.LOST, JobStatus.SUCCEEDED]
    for n in range(8):
        over(connection, f"a{n}", float(n), status=statuses[n % 4])
    over(connection, "b", 0.0, user_id="bob")
    assert jobs_table.user_ids(connection) == ["ann", "bob"]
    assert jobs_table.delete_empty(connection, "ann", keep=3) == 5
    assert job_ids(connection) == {"a5", "a6", "a7", "b"}
    assert jobs_table.delete_empty(connection, "ann", keep=3) == 0


def test_delete_empty_keeps_jobs_with_results_or_still_active(
    connection: sqlite3.Connection,
) -> None:
    kept = over(connection, "kept", 1.0, status=JobStatus.SUCCEEDED)
    hidden = over(connection, "hidden", 2.0, status=JobStatus.FAILED)
    for job in (kept, hidden):
        items_table.insert(connection, job, [FILE], now=1.0)
    (row,) = connection.execute("SELECT id FROM items WHERE job_id = 'hidden'").fetchall()
    items_table.set_deleted(connection, [row["id"]], "ann", 3.0)
    over(connection, "words", 3.0, status=JobStatus.SUCCEEDED, outputs=Outputs((), ("a caption",)))
    over(connection, "unfetched", 4.0, status=JobStatus.UNFETCHED)
    moved = over(connection, "moved", 5.0)
    copies_table.insert(connection, moved.id, "gpu", "p", there=True)
    waiting = a_job(id="waiting")
    jobs_table.insert(connection, waiting)
    running = a_job(id="running", status=JobStatus.SENT)
    jobs_table.insert(connection, running)
    before = job_ids(connection)
    assert jobs_table.delete_empty(connection, "ann", keep=0) == 0
    assert job_ids(connection) == before
    items_table.purge(connection, 10.0, 0.0)
    assert jobs_table.delete_empty(connection, "ann", keep=0) == 1
    assert job_ids(connection) == before - {"hidden"}


def test_delete_empty_keeps_fair_queue_tags(
    connection: sqlite3.Connection,
) -> None:
    tags = {"a": (0.0, 5.0), "b": (5.0, 9.0), "c": (6.0, 30.0), "d": (7.0, 8.0), "e": (7.5, 7.6)}
    for id_, both in tags.items():
        job = over(connection, id_, 1.0, user_id=id_)
        jobs_table.claim(connection, job, both)
    before = jobs_table.fair_queue_tags(connection)
    assert sum(jobs_table.delete_empty(connection, id_, keep=0) for id_ in tags) == 1
    assert jobs_table.fair_queue_tags(connection) == before


async def test_run_purge_deletes_empty_jobs_of_limited_users_only(tmp_path: Path) -> None:
    def limit(user_id: str) -> int | None:
        return None if user_id == "ann" else 10**9

    database = Database(tmp_path)
    await database.open()
    try:
        library = LibraryService(
            SqliteLibraryStore(database, tmp_path),
            SqliteJobStore(database, tmp_path),
            FolderFileStore(tmp_path),
            limit_bytes=limit,
        )
        for user_id in ("ann", "bob"):
            for n in range(KEPT_EMPTY_JOBS + 3):
                await database.run(over, f"{user_id}{n}", float(n), user_id=user_id)
        purging = asyncio.create_task(library.run_purge())
        async with asyncio.timeout(10):
            while len(await database.run(job_ids)) > 2 * KEPT_EMPTY_JOBS + 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        purging.cancel()
        await asyncio.gather(purging, return_exceptions=True)
        remaining = await database.run(job_ids)
        await library.aclose()
    finally:
        await database.close()
    assert {f"ann{n}" for n in range(KEPT_EMPTY_JOBS + 3)} < remaining
    assert "bob2" not in remaining
