"""The database opens once, migrates forward, and says plainly when it cannot."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.errors import StorageError, ValidationError
from comfy_ui.storage import database as module, jobs_table
from comfy_ui.storage.database import Database
from tests.jobs import support


async def test_what_was_written_is_there_after_reopening(tmp_path: Path) -> None:
    job = support.a_job(prompt="a fox")
    first = Database(tmp_path)
    await first.open()
    await first.run(jobs_table.insert, job)
    await first.close()
    second = Database(tmp_path)
    await second.open()
    assert await second.run(jobs_table.get, job.id, job.user_id) == job
    await second.close()


async def test_a_second_process_on_the_same_folder_is_refused_and_the_first_unharmed(
    tmp_path: Path,
) -> None:
    first, second = Database(tmp_path), Database(tmp_path)
    await first.open()
    with pytest.raises(StorageError, match="Another comfy-ui") as told:
        await second.open()
    assert "--data-dir" in told.value.hint
    await first.run(jobs_table.insert, support.a_job())
    await first.close()
    await second.close()


async def test_a_folder_that_cannot_be_made_is_an_error_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    database = Database(tmp_path / "file" / "data")
    with pytest.raises(StorageError, match="cannot be used") as told:
        await database.open()
    assert told.value.hint
    await database.close()


async def test_a_file_that_is_no_database_is_moved_aside(tmp_path: Path) -> None:
    (tmp_path / "studio.db").write_bytes(b"not a database" * 1000)
    database = Database(tmp_path)
    await database.open()
    assert database.rescued is not None
    assert database.rescued.aside.read_bytes() == b"not a database" * 1000
    await database.close()


async def test_a_call_that_fails_changes_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path)
    await database.open()
    job = support.a_job()

    def write_then_fail(connection: sqlite3.Connection) -> None:
        jobs_table.insert(connection, job)
        connection.execute("SELECT nonsense")

    with pytest.raises(StorageError):
        await database.run(write_then_fail)
    assert await database.run(jobs_table.get, job.id, job.user_id) is None
    await database.close()


async def test_the_schema_migrates_step_by_step_and_keeps_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = support.a_job()
    old = Database(tmp_path)
    await old.open()
    await old.run(jobs_table.insert, job)
    await old.close()
    with monkeypatch.context() as patch:
        added = ("ALTER TABLE jobs ADD COLUMN note TEXT NOT NULL DEFAULT 'none'",)
        patch.setattr(module, "MIGRATIONS", (*module.MIGRATIONS, added))
        new = Database(tmp_path)
        await new.open()
        row = await new.run(lambda c: c.execute("SELECT id, note FROM jobs").fetchone())
        assert tuple(row) == (job.id, "none")
        await new.close()
    older_program = Database(tmp_path)
    with pytest.raises(StorageError, match="newer version"):
        await older_program.open()


async def test_a_migration_that_fails_leaves_the_old_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(tmp_path)
    await database.open()
    await database.close()
    with monkeypatch.context() as patch:
        broken = ("CREATE TABLE half (x)", "CREATE NONSENSE")
        patch.setattr(module, "MIGRATIONS", (*module.MIGRATIONS, broken))
        with pytest.raises(StorageError):
            await Database(tmp_path).open()
    again = Database(tmp_path)
    await again.open()
    names = await again.run(
        lambda c: [r["name"] for r in c.execute("SELECT name FROM sqlite_master")]
    )
    assert "half" not in names
    await again.close()


@pytest.mark.parametrize("fields", [{"prompt": "broken \ud800"}, {"work": 10**400}])
async def test_a_value_that_no_row_can_hold_is_refused_and_the_database_goes_on(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    database = Database(tmp_path)
    await database.open()
    with pytest.raises(ValidationError, match="cannot be stored"):
        await database.run(jobs_table.insert, support.a_job(**fields))
    job = support.a_job(seed=2**64 - 1)
    await database.run(jobs_table.insert, job)
    assert await database.run(jobs_table.get, job.id, job.user_id) == job
    await database.close()


async def test_what_is_asked_of_a_closed_database_is_an_error_of_ours(tmp_path: Path) -> None:
    database = Database(tmp_path)
    await database.open()
    closing = asyncio.ensure_future(database.close())
    late = asyncio.ensure_future(database.run(jobs_table.recent, "ann", 1))
    await closing
    with pytest.raises(StorageError):
        await late
    with pytest.raises(StorageError, match="closed"):
        await database.run(jobs_table.recent, "ann", 1)


async def test_closing_leaves_no_thread(tmp_path: Path) -> None:
    database = Database(tmp_path)
    await database.open()
    await database.close()
    await database.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("studio")]
