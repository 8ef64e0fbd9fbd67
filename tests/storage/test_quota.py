"""Who keeps as much as they may gets a sentence before queueing, and nothing is deleted."""

# ruff: noqa: ASYNC110 -- tests may poll

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from comfy_ui.client import ComfyWSClient
from comfy_ui.errors import StorageError, ValidationError
from comfy_ui.jobs.studio import Studio
from comfy_ui.settings import Settings
from comfy_ui.storage import items_table, jobs_table, quota
from comfy_ui.storage.database import migrate
from comfy_ui.storage.quota import StorageUsage
from comfy_ui.storage.records import LOCAL_USER_ID, LibraryItem, StoredFile
from comfy_ui.web.server_connection import storage_limit
from tests.jobs.support import a_job, end_of, submit_sleepy


async def test_the_limit_is_told_before_queueing_and_deleting_makes_room(
    client: ComfyWSClient, tmp_path: Path
) -> None:
    limits = {"ann": 10**6, "bob": 10**9}
    async with Studio(client=client, data_dir=tmp_path, limit_bytes=limits.get) as studio:
        job = await submit_sleepy(studio, "ann")
        (item,) = (await end_of(studio, job)).items
        limits["ann"] = item.size_bytes
        await studio.star(item.id, "ann")
        assert (await studio.space("ann")).used_bytes == item.size_bytes
        for ask in (submit_sleepy(studio, "ann", nonce=1), studio.repeat(job.id, "ann")):
            with pytest.raises(ValidationError, match="that you may keep") as told:
                await ask
            assert "Nothing was deleted" in told.value.hint
        assert await studio.results("ann") == [await studio.item(item.id, "ann")]
        await end_of(studio, await submit_sleepy(studio, "bob", nonce=2))
        await end_of(studio, await submit_sleepy(studio, "zoe", nonce=3))  # without a limit
        await studio.delete([item.id], "ann")
        space = await studio.space("ann")
        assert (space.used_bytes, space.deleted_bytes) == (0, item.size_bytes)
        await end_of(studio, await submit_sleepy(studio, "ann", nonce=4))


async def _made(studio: Studio, nonce: int) -> LibraryItem:
    (item,) = (await end_of(studio, await submit_sleepy(studio, "ann", nonce=nonce))).items
    return item


async def _deleted(studio: Studio, item: LibraryItem, *, hours_ago: float) -> None:
    """Delete a result, as if it had been made and deleted then."""
    at = time.time() - hours_ago * 3600
    os.utime(item.path, (at, at))
    assert await studio.delete([item.id], item.user_id)
    await studio._database.run(
        lambda c: c.execute("UPDATE items SET deleted_at = ? WHERE id = ?", (at, item.id))
    )


async def test_one_who_deletes_for_ever_fills_no_disk_and_what_was_deleted_first_goes_first(
    client: ComfyWSClient, tmp_path: Path
) -> None:
    limits = {"ann": 10**9}
    async with Studio(client=client, data_dir=tmp_path, limit_bytes=limits.get) as studio:
        kept, first, second, third = [await _made(studio, nonce) for nonce in range(4)]
        await _deleted(studio, first, hours_ago=30)
        await _deleted(studio, third, hours_ago=0.5)
        await _deleted(studio, second, hours_ago=2)
        sizes = [item.size_bytes for item in (kept, first, second, third)]
        limits["ann"] = sum(sizes) // 2  # what is there fills it
        await _made(studio, 5)
        assert not first.path.exists()
        assert await studio.restore([first.id], "ann") == []
        assert await studio.restore([second.id, third.id], "ann") == [second.id, third.id]
        await studio.delete([second.id, third.id], "ann")
        assert kept in await studio.results("ann")


async def test_what_was_deleted_just_now_is_never_given_up_for_room(
    client: ComfyWSClient, tmp_path: Path
) -> None:
    limits = {"ann": 10**9}
    async with Studio(client=client, data_dir=tmp_path, limit_bytes=limits.get) as studio:
        items = [await _made(studio, nonce) for nonce in range(3)]
        await studio.delete([item.id for item in items], "ann")
        limits["ann"] = items[0].size_bytes
        with pytest.raises(ValidationError, match="deleted ones too"):
            await submit_sleepy(studio, "ann", nonce=9)
        assert len(await studio.restore([item.id for item in items], "ann")) == 3
        assert all(item.path.exists() for item in items)


async def test_files_that_somebody_sends_for_ever_fill_no_disk(
    client: ComfyWSClient, tmp_path: Path
) -> None:
    limits = {"ann": 1000}
    async with Studio(client=client, data_dir=tmp_path, limit_bytes=limits.get) as studio:
        await studio.keep_input("ui-1.png", bytes(1200), "ann")
        assert (await studio.space("ann")).sent_bytes == 1200
        with pytest.raises(ValidationError, match="files that you sent"):
            await studio.keep_input("ui-2.png", bytes(900), "ann")
        assert studio.inputs.names() == {"ui-1.png"}
        await studio.keep_input("ui-3.png", bytes(700), "ann")
        await studio.keep_input("ui-4.png", bytes(5000), "bob")  # without a limit
        with pytest.raises(ValidationError, match="files that you sent"):
            await studio.keep_input("ui-5.png", bytes(200), "ann")
        await submit_sleepy(studio, "ann")  # what was sent is there to be used


async def test_uploads_that_were_dropped_count_no_more(
    client: ComfyWSClient, tmp_path: Path
) -> None:
    async with Studio(client=client, data_dir=tmp_path) as studio:
        for name in ("ui-1.png", "ui-2.png"):
            await studio.keep_input(name, bytes(50), "ann")
        await studio._database.run(lambda c: c.execute("UPDATE uploads SET created_at = 1"))
        os.utime(tmp_path / "inputs" / "ui-1.png", (1, 1))
    async with Studio(client=client, data_dir=tmp_path) as studio:  # purges at the start
        while (await studio.space("ann")).sent_bytes != 50:
            await asyncio.sleep(0.01)
        assert studio.inputs.names() == {"ui-2.png"}


async def test_an_upload_that_the_disk_refused_is_not_counted(
    studio: Studio, tmp_path: Path
) -> None:
    (tmp_path / "data" / "inputs").write_bytes(b"in the way")
    with pytest.raises(StorageError):
        await studio.keep_input("ui-1.png", b"x", "ann")
    assert (await studio.space("ann")).sent_bytes == 0


steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "delete", "restore", "purge", "oldest", "star", "send", "drop"]),
        st.sampled_from(["ann", "bob"]),
        st.integers(1, 6),
    ),
    max_size=40,
)


@given(steps)
def test_the_sums_are_those_of_the_rows_whatever_is_done_to_them(
    done: list[tuple[str, str, int]],
) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        migrate(connection)
        for user_id in ("ann", "bob"):
            jobs_table.insert(connection, a_job(user_id, id=user_id))
        for now, (what, user_id, number) in enumerate(done, start=1):
            _do(connection, what, user_id, number, float(now))
            for one in ("ann", "bob"):
                assert quota.of(connection, one, None) == _summed(connection, one)


def _do(connection: sqlite3.Connection, what: str, user_id: str, number: int, now: float) -> None:
    ids = [row["id"] for row in connection.execute("SELECT id FROM items")][:number]
    if what == "add":  # the same source twice is ignored
        file = _file(number)
        items_table.add(connection, a_job(user_id, id=user_id), [file, file], now=now)
    elif what in ("delete", "restore"):
        items_table.set_deleted(connection, ids, user_id, now if what == "delete" else None)
    elif what == "purge":
        items_table.purge(connection, now - number)
    elif what == "oldest":
        items_table.purge_oldest(connection, user_id, now, 10**number)
    elif what == "star" and ids:
        items_table.star(connection, ids[0], user_id, starred=True)
    elif what == "send":
        quota.enter_upload(connection, f"{user_id}-{now}", user_id, number, now=now)
    elif what == "drop":
        quota.drop_uploads(connection, set(), created_before=now - number)


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


def test_visitors_have_a_limit_where_others_reach_the_page_and_the_owner_has_none() -> None:
    alone, shared = storage_limit(Settings()), storage_limit(Settings(host="0.0.0.0"))
    assert alone(LOCAL_USER_ID) is None
    assert alone("user:eve") is None
    assert shared(LOCAL_USER_ID) is None
    assert shared("browser:x") == 10 * 10**9
    told = storage_limit(Settings(storage_gb=2.5))
    assert told(LOCAL_USER_ID) == told("browser:x") == 2_500_000_000
