from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from comfy_ui.cli.exit_status import ExitStatus
from comfy_ui.cli.main import run
from comfy_ui.errors import StorageError
from comfy_ui.scale import postgres_migrations
from comfy_ui.scale.postgres_database import PostgresDatabase
from comfy_ui.scale.postgres_migrations import Migration, read_migrations
from comfy_ui.storage.database import Database
from tests.scale.postgres_server import new_app_database, new_database

pytestmark = pytest.mark.usefixtures("postgres")

NEXT = len(read_migrations()) + 1
ADDED = Migration(NEXT, f"{NEXT:04}_added", 1, "ALTER TABLE jobs ADD COLUMN note text")
REMOVED = Migration(NEXT, f"{NEXT:04}_removed", NEXT, "ALTER TABLE jobs DROP COLUMN rank")


SHARED_QUEUE_COLUMNS = {"token", "withdraw", "held_until", "avoids", "changed_in"}
SHARED_QUEUE_TABLES = {
    "job_progress", "paused_groups", "queue_clock", "removed_jobs", "server_nodes", "workers",
}  # fmt: skip

SHARED_STATE_TABLES = {"documents", "limit_counters", "shared_files"}


async def test_upgrade_of_an_empty_database_applies_each_migration_once() -> None:
    async with new_database(upgraded=False) as url:
        with pytest.raises(StorageError) as caught:
            await postgres_migrations.check(url)
        assert "comfy-ui db upgrade" in str(caught.value.hint)
        both = await asyncio.gather(*(postgres_migrations.upgrade(url) for _ in range(2)))
        names = [migration.name for migration in read_migrations()]
        assert sorted(both) == [[], names]
        assert await postgres_migrations.check(url) == len(names)


async def test_upgrade_with_a_broken_migration_changes_nothing() -> None:
    broken = Migration(NEXT + 1, "broken", 1, "ALTER TABLE no_such_table ADD COLUMN x text")
    async with new_database(upgraded=False) as url:
        await postgres_migrations.upgrade(url)
        with pytest.raises(StorageError, match="no_such_table"):
            await postgres_migrations.upgrade(url, (*read_migrations(), ADDED, broken))
        assert await postgres_migrations.check(url) == NEXT - 1
        database = PostgresDatabase(url, exclusive=True)
        await database.open()
        columns = "SELECT FROM information_schema.columns WHERE column_name = 'note'"
        assert await database.fetch(columns) == []
        await database.close()


async def test_check_of_a_newer_schema_accepts_additions_and_refuses_removals() -> None:
    async with new_database(upgraded=False) as url:
        await postgres_migrations.upgrade(url, (*read_migrations(), ADDED))
        assert await postgres_migrations.check(url) == NEXT
    async with new_database(upgraded=False) as url:
        await postgres_migrations.upgrade(url, (*read_migrations(), REMOVED))
        database = PostgresDatabase(url, exclusive=False)
        for call in (postgres_migrations.check(url), database.open()):
            with pytest.raises(StorageError) as caught:
                await call
            assert caught.value.hint == "Update comfy-ui."


def test_read_migrations_without_a_number_or_first_line_raises(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("-- works with schema 1\nSELECT 1;")
    assert [migration.name for migration in read_migrations(tmp_path)] == ["0001_a"]
    (tmp_path / "0003_b.sql").write_text("-- works with schema 1\nSELECT 1;")
    with pytest.raises(ValueError, match="is not migration 2"):
        read_migrations(tmp_path)
    (tmp_path / "0003_b.sql").rename(tmp_path / "0002_b.sql")
    (tmp_path / "0002_b.sql").write_text("SELECT 1;")
    with pytest.raises(ValueError, match="first line"):
        read_migrations(tmp_path)


async def test_db_command_upgrades_and_checks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with new_database(upgraded=False) as url:
        monkeypatch.setenv("COMFY_UI_DATABASE", url)
        assert await asyncio.to_thread(run, ["db", "check"]) == ExitStatus.DISK
        assert "hint: Run: comfy-ui db upgrade" in capsys.readouterr().err
        assert await asyncio.to_thread(run, ["db", "upgrade"]) == 0
        assert "applied 0001_jobs_and_library" in capsys.readouterr().out
        assert await asyncio.to_thread(run, ["db", "check"]) == 0


def test_db_command_without_or_with_another_database_is_refused_without_its_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["db", "check"]) == ExitStatus.INVALID
    assert "COMFY_UI_DATABASE is not set" in capsys.readouterr().err
    monkeypatch.setenv("COMFY_UI_DATABASE", "mysql://ann:secret@host/app")
    assert run(["db", "check"]) == ExitStatus.INVALID
    error = capsys.readouterr().err
    assert "postgresql://" in error
    assert "secret" not in error


async def test_upgrade_creates_each_column_of_the_sqlite_database(tmp_path: Path) -> None:
    sqlite = Database(tmp_path)
    await sqlite.open()
    columns = await sqlite.run(_sqlite_columns)
    await sqlite.close()
    async with new_app_database() as postgres:
        rows = await postgres.fetch(
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND table_name <> 'comfy_ui_migrations'"
        )
    only_here = {("jobs", "has_texts"), ("items", "search")}
    only_here |= {("jobs", name) for name in SHARED_QUEUE_COLUMNS}
    assert {
        (row["table_name"], row["column_name"])
        for row in rows
        if row["table_name"] not in SHARED_QUEUE_TABLES | SHARED_STATE_TABLES
    } == columns | only_here


def _sqlite_columns(connection: sqlite3.Connection) -> set[tuple[str, str]]:
    rows = connection.execute(
        "SELECT tables.name, columns.name FROM sqlite_master AS tables"
        " JOIN pragma_table_info(tables.name) AS columns WHERE tables.type = 'table'"
        " AND tables.name NOT LIKE 'sqlite%' AND tables.name NOT LIKE 'items_search%'"
        " AND tables.name <> 'items_terms'"
    )
    return {(row[0], row[1]) for row in rows}


async def test_problem_of_a_running_app_is_the_schema_after_a_removal_by_a_newer_one() -> None:
    async with new_database(upgraded=False) as url:
        await postgres_migrations.upgrade(url)
        database = PostgresDatabase(url, exclusive=False, wait_s=0.2)
        await database.open()
        assert await database.problem() is None
        await postgres_migrations.upgrade(url, (*read_migrations(), REMOVED))
        assert await database.problem() == "schema"
        await database.close()
        assert await database.problem() == "database"
