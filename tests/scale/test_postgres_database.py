from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from comfy_ui.errors import StorageError, ValidationError
from comfy_ui.scale.postgres_database import Cursor, PostgresDatabase
from comfy_ui.scale.postgres_job_store import PostgresJobStore
from tests.jobs.support import a_job
from tests.scale.postgres_server import PostgresServer, new_app_database, new_database
from tests.storage.test_job_store_contract import ended, file

pytestmark = pytest.mark.usefixtures("postgres")


async def test_open_of_a_database_in_use_is_refused_until_the_other_app_ends() -> None:
    async with new_database() as url:
        first = PostgresDatabase(url, exclusive=True)
        await first.open()
        second = PostgresDatabase(url, exclusive=True, wait_s=0.5)
        with pytest.raises(StorageError, match="Another comfy-ui"):
            await second.open()
        await first.close()
        third = PostgresDatabase(url, exclusive=True)
        await third.open()
        await third.close()


async def test_run_after_another_app_has_taken_over_is_refused(postgres: PostgresServer) -> None:
    async with new_database() as url:
        first = PostgresDatabase(url, exclusive=True, wait_s=0.2)
        await first.open()
        await first.fetch("SELECT 1")
        name = url.partition("/test_")[2].partition("?")[0]
        await postgres.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'test_{name}'"
        )
        second = PostgresDatabase(url, exclusive=True)
        await second.open()
        with pytest.raises(StorageError):
            await first.execute("INSERT INTO pauses (user_id) VALUES ('ann')")
        assert await second.fetch("SELECT * FROM pauses") == []
        await second.close()
        await first.close()


async def test_run_repeats_a_transaction_whose_connection_was_lost() -> None:
    attempts = 0

    async def write(cursor: Cursor) -> None:
        nonlocal attempts
        attempts += 1
        await cursor.execute("INSERT INTO pauses (user_id) VALUES ('ann')")
        if attempts == 1:
            await cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    async with new_app_database(exclusive=True) as database:
        await database.run(write)
        assert await database.fetch("SELECT user_id FROM pauses") == [{"user_id": "ann"}]
    assert attempts == 2


async def test_run_repeats_a_transaction_after_a_deadlock() -> None:
    async with new_app_database() as database:
        await database.execute("INSERT INTO pauses VALUES ('a'), ('b')")
        both_locked = asyncio.Barrier(2)
        attempts = 0

        def locking(*order: str):
            async def lock(cursor: Cursor) -> None:
                nonlocal attempts
                attempts += 1
                for number, name in enumerate(order):
                    if number and attempts <= 2:
                        await both_locked.wait()
                    await cursor.execute(
                        "SELECT user_id FROM pauses WHERE user_id = %s FOR UPDATE", (name,)
                    )

            return lock

        await asyncio.gather(database.run(locking("a", "b")), database.run(locking("b", "a")))
        assert attempts > 2


async def test_run_of_a_text_that_cannot_be_stored_raises_validation_error(tmp_path: Path) -> None:
    async with new_app_database() as database:
        store = PostgresJobStore(database, tmp_path)
        with pytest.raises(ValidationError, match="cannot be stored"):
            await store.add(a_job(user_id="an\0n"))
        with pytest.raises(ValidationError, match="cannot be stored"):
            await store.add(a_job(prompt="\ud800"))
        assert await store.unfinished() == []


async def test_open_without_a_server_names_the_setting(tmp_path: Path) -> None:
    database = PostgresDatabase(f"postgresql:///x?host={tmp_path}", exclusive=True)
    with pytest.raises(StorageError) as caught:
        await database.open()
    assert "COMFY_UI_DATABASE" in str(caught.value.hint)


async def test_finish_of_one_user_at_the_same_time_gives_each_result_an_id(tmp_path: Path) -> None:
    async with new_app_database() as database:
        store = PostgresJobStore(database, tmp_path)
        jobs = [await store.add(a_job(user_id)) for user_id in ("ann", "ann", "bob", "bob")]
        finished = await asyncio.gather(
            *(store.finish(ended(job), [file("a"), file("b")]) for job in jobs)
        )
        assert len({item.id for items in finished for item in items}) == 8
        assert all([item.filename for item in items] == ["a.png", "b.png"] for items in finished)
