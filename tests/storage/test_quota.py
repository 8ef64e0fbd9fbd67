"""Storage quotas: a full quota rejects new jobs, and only deleted results make room."""

# ruff: noqa: ASYNC110 -- tests may poll

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from comfy_ui.admin_settings.storage_limits import StorageLimits
from comfy_ui.client import ComfyWSClient
from comfy_ui.errors import StorageError, ValidationError
from comfy_ui.jobs.job_service import JobService, open_jobs
from comfy_ui.private_files import FileDocuments
from comfy_ui.settings import Settings
from comfy_ui.storage import quota
from comfy_ui.storage.database_schema import create_or_check
from comfy_ui.storage.quota import StorageUsage
from comfy_ui.storage.records import LOCAL_USER_ID, LibraryItem, StoredFile
from comfy_ui.storage.tables import items_table, jobs_table, uploads_table
from tests.jobs.support import a_job, end_of, submit_sleepy


async def test_quota_exceeded_rejects_job_and_deleting_makes_room(
    client: ComfyWSClient, tmp_path: Path
) -> None:
    limits = {"ann": 10**6, "bob": 10**9}
    async with open_jobs(client=client, data_dir=tmp_path, limit_bytes=limits.get) as service:
        job = await submit_sleepy(service, "ann")
        (item,) = (await end_of(service, job)).items
        limits["ann"] = item.size_bytes
        await service.library.star(item.id, "ann")
        assert (await service.library.usage("ann")).used_bytes == item.size_bytes
        for ask in (submit_sleepy(service, "ann", nonce=1), service.repeat(job.id, "ann")):
            with pytest.raises(ValidationError, match="GB of your storage") as caught:
                await ask
            assert "Nothing is deleted" in caught.value.hint
        assert await service.library.results("ann") == [await service.library.item(item.id, "ann")]
        await end_of(service, await submit_sleepy(service, "bob", nonce=2))
        await end_of(service, await submit_sleepy(service, "zoe", nonce=3))  # without a limit
        await service.library.delete([item.id], "ann")
        space = await service.library.usage("ann")
        assert (space.used_bytes, space.deleted_bytes) == (0, item.size_bytes)
        await end_of(service, await submit_sleepy(service, "ann", nonce=4))


async def _run_job(service: JobService, nonce: int) -> LibraryItem:
    (item,) = (await end_of(service, await submit_sleepy(service, "ann", nonce=nonce))).items
    return item


async def _delete(service: JobService, item: LibraryItem, *, hours_ago: float) -> None:
    """Delete a result, as if it had been created and deleted that long ago."""
    at = time.time() - hours_ago * 3600
    os.utime(item.path, (at, at))
    assert await service.library.delete([item.id], item.user_id)
    await service._store._database.run(
        lambda c: c.execute("UPDATE items SET deleted_at = ? WHERE id = ?", (at, item.id))
    )


async def test_quota_purges_oldest_deleted_results_first(
    client: ComfyWSClient, tmp_path: Path
) -> None:
    limits = {"ann": 10**9}
    async with open_jobs(client=client, data_dir=tmp_path, limit_bytes=limits.get) as service:
        kept, first, second, third = [await _run_job(service, nonce) for nonce in range(4)]
        await _delete(service, first, hours_ago=30)
        await _delete(service, third, hours_ago=0.5)
        await _delete(service, second, hours_ago=2)
        sizes = [item.size_bytes for item in (kept, first, second, third)]
        limits["ann"] = sum(sizes) // 2  # less than the existing files
        await _run_job(service, 5)
        assert not first.path.exists()
        assert await service.library.restore([first.id], "ann") == []
        assert await service.library.restore([second.id, third.id], "ann") == [second.id, third.id]
        await service.library.delete([second.id, third.id], "ann")
        assert kept in await service.library.results("ann")


async def test_quota_keeps_recently_deleted_results(client: ComfyWSClient, tmp_path: Path) -> None:
    limits = {"ann": 10**9}
    async with open_jobs(client=client, data_dir=tmp_path, limit_bytes=limits.get) as service:
        items = [await _run_job(service, nonce) for nonce in range(3)]
        await service.library.delete([item.id for item in items], "ann")
        limits["ann"] = items[0].size_bytes
        with pytest.raises(ValidationError, match="including deleted ones"):
            await submit_sleepy(service, "ann", nonce=9)
        assert len(await service.library.restore([item.id for item in items], "ann")) == 3
        assert all(item.path.exists() for item in items)


async def test_quota_limits_uploads_of_a_user(client: ComfyWSClient, tmp_path: Path) -> None:
    limits = {"ann": 1000}
    async with open_jobs(client=client, data_dir=tmp_path, limit_bytes=limits.get) as service:
        await service.library.keep_upload("ui-1.png", bytes(1200), "ann")
        assert (await service.library.usage("ann")).upload_bytes == 1200
        with pytest.raises(ValidationError, match="and uploads use all"):
            await service.library.keep_upload("ui-2.png", bytes(900), "ann")
        assert service.library.uploads.names() == {"ui-1.png"}
        await service.library.keep_upload("ui-3.png", bytes(700), "ann")
        await service.library.keep_upload("ui-4.png", bytes(5000), "bob")  # without a limit
        with pytest.raises(ValidationError, match="and uploads use all"):
            await service.library.keep_upload("ui-5.png", bytes(200), "ann")
        await submit_sleepy(service, "ann")  # uploads do not block jobs


async def test_quota_ignores_purged_uploads(client: ComfyWSClient, tmp_path: Path) -> None:
    async with open_jobs(client=client, data_dir=tmp_path) as service:
        for name in ("ui-1.png", "ui-2.png"):
            await service.library.keep_upload(name, bytes(50), "ann")
        await service._store._database.run(lambda c: c.execute("UPDATE uploads SET created_at = 1"))
        os.utime(tmp_path / "inputs" / "ui-1.png", (1, 1))
    async with open_jobs(client=client, data_dir=tmp_path) as service:  # purges at the start
        while (await service.library.usage("ann")).upload_bytes != 50:
            await asyncio.sleep(0.01)
        assert service.library.uploads.names() == {"ui-2.png"}


async def test_quota_ignores_upload_that_could_not_be_stored(
    service: JobService, tmp_path: Path
) -> None:
    (tmp_path / "data" / "inputs").write_bytes(b"in the way")
    with pytest.raises(StorageError):
        await service.library.keep_upload("ui-1.png", b"x", "ann")
    assert (await service.library.usage("ann")).upload_bytes == 0


steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "delete", "restore", "purge", "oldest", "star", "send", "drop"]),
        st.sampled_from(["ann", "bob"]),
        st.integers(1, 6),
    ),
    max_size=40,
)


@given(steps)
def test_usage_of_equals_sums_of_rows_after_any_change(
    done: list[tuple[str, str, int]],
) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        create_or_check(connection)
        for user_id in ("ann", "bob"):
            jobs_table.insert(connection, a_job(user_id, id=user_id))
        for now, (what, user_id, number) in enumerate(done, start=1):
            _do(connection, what, user_id, number, float(now))
            for one in ("ann", "bob"):
                assert quota.usage_of(connection, one, None) == _summed(connection, one)


def _do(connection: sqlite3.Connection, what: str, user_id: str, number: int, now: float) -> None:
    ids = [row["id"] for row in connection.execute("SELECT id FROM items")][:number]
    if what == "add":  # the same source twice is ignored
        file = _file(number)
        items_table.insert(connection, a_job(user_id, id=user_id), [file, file], now=now)
    elif what in ("delete", "restore"):
        items_table.set_deleted(connection, ids, user_id, now if what == "delete" else None)
    elif what == "purge":
        items_table.purge(connection, now - number, 0.0)
    elif what == "oldest":
        items_table.purge_oldest(connection, user_id, now, 10**number)
    elif what == "star" and ids:
        items_table.star(connection, ids[0], user_id, starred=True)
    elif what == "send":
        uploads_table.insert(connection, f"{user_id}-{now}", user_id, number, now=now)
    elif what == "drop":
        uploads_table.delete_missing(connection, set(), created_before=now - number)


def _file(number: int) -> StoredFile:
    return StoredFile(
        source=f"1/output//{number}.png",
        kind="image",
        filename=f"{number}.png",
        media_type="image/png",
        path=f"files/aa/{number}.png",
        thumbnail=None,
        width=1,
        height=1,
        size_bytes=7**number,
    )


def _summed(connection: sqlite3.Connection, user_id: str) -> StorageUsage:
    sums = [
        connection.execute(
            f"SELECT coalesce(sum(size_bytes), 0) FROM {rows} AND user_id = ?", (user_id,)
        ).fetchone()[0]
        for rows in (
            "items WHERE deleted_at IS NULL",
            "items WHERE deleted_at IS NOT NULL",
            "uploads WHERE 1",
        )
    ]
    return StorageUsage(*sums)


def test_storage_limits_apply_to_users_of_shared_page_but_not_to_admin(tmp_path: Path) -> None:
    def limits(*, shared: bool = False, **settings: Any) -> StorageLimits:
        return StorageLimits(Settings(**settings), FileDocuments(tmp_path), shared=shared)

    alone, shared = limits(), limits(shared=True)
    assert alone(LOCAL_USER_ID) is None
    assert alone("user:eve") is None
    assert shared(LOCAL_USER_ID) is None
    assert shared("browser:x") == 10 * 10**9
    limited = limits(storage_gb=2.5)
    assert limited(LOCAL_USER_ID) == limited("browser:x") == 2_500_000_000
    shared.set("user:eve", 7)
    shared.set("user:adam", None)
    assert (limited("user:eve"), limited("user:adam"), shared("user:bob")) == (7, None, 10 * 10**9)
    shared.reset("user:eve")
    assert limited("user:eve") == 2_500_000_000
    assert shared.own() == {"user:adam": None}
