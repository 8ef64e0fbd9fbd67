"""The database opens once, checks its version, and raises a clear error when it cannot."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.errors import StorageError, ValidationError
from comfy_ui.storage import database_schema
from comfy_ui.storage.database import Database
from comfy_ui.storage.database_schema import VERSION
from comfy_ui.storage.records import Grid, GridAxis, ItemQuery, JobStatus, Webhook
from comfy_ui.storage.tables import (
    durations_table,
    favorites_table,
    grids_table,
    items_table,
    jobs_table,
    pauses_table,
    preset_defaults_table,
    webhooks_table,
)
from tests.jobs import support
from tests.storage.test_job_store_contract import file


async def test_database_reopened_has_written_rows(tmp_path: Path) -> None:
    job = support.a_job(prompt="a fox")
    first = Database(tmp_path)
    await first.open()
    await first.run(jobs_table.insert, job)
    await first.close()
    second = Database(tmp_path)
    await second.open()
    assert await second.run(jobs_table.get, job.id, job.user_id) == job
    await second.close()


async def test_database_open_in_second_process_raises_and_first_continues(
    tmp_path: Path,
) -> None:
    first, second = Database(tmp_path), Database(tmp_path)
    await first.open()
    with pytest.raises(StorageError, match="Another comfy-ui") as caught:
        await second.open()
    assert "--data-dir" in caught.value.hint
    await first.run(jobs_table.insert, support.a_job())
    await first.close()
    await second.close()


async def test_database_open_unusable_folder_raises_with_hint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    database = Database(tmp_path / "file" / "data")
    with pytest.raises(StorageError, match="cannot be used") as caught:
        await database.open()
    assert caught.value.hint
    await database.close()


async def test_database_open_invalid_file_moves_it_aside(tmp_path: Path) -> None:
    (tmp_path / "comfy_ui.db").write_bytes(b"not a database" * 1000)
    database = Database(tmp_path)
    await database.open()
    assert database.recovered is not None
    assert database.recovered.aside.read_bytes() == b"not a database" * 1000
    await database.close()


async def test_database_files_are_private_and_older_ones_become_so(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    modes = []
    for _ in range(2):
        database = Database(folder)
        await database.open()
        await database.run(jobs_table.insert, support.a_job())
        modes += [path.stat().st_mode & 0o777 for path in folder.iterdir()]
        await database.close()
        for path in folder.iterdir():
            path.chmod(0o644)  # as earlier versions left them
    assert len(modes) >= 8
    assert {*modes} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


async def test_database_run_failing_call_is_rolled_back(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (f"PRAGMA user_version = {VERSION + 1}", "newer version"),
        ("PRAGMA user_version = 0", "not written by a release"),
        ("PRAGMA user_version = -1", "not written by a release"),
    ],
)
async def test_database_open_of_another_version_raises_and_changes_nothing(
    tmp_path: Path, script: str, message: str
) -> None:
    job = support.a_job()
    ours = Database(tmp_path)
    await ours.open()
    await ours.run(jobs_table.insert, job)
    await ours.close()
    with closing(sqlite3.connect(tmp_path / "comfy_ui.db")) as other:
        other.execute(script)
    before = (tmp_path / "comfy_ui.db").read_bytes()
    with pytest.raises(StorageError, match=message) as refused:
        await Database(tmp_path).open()
    assert "--data-dir" in refused.value.hint
    with closing(sqlite3.connect(tmp_path / "comfy_ui.db")) as other:
        assert other.execute("SELECT id FROM jobs").fetchall() == [(job.id,)]
    assert (tmp_path / "comfy_ui.db").read_bytes() == before
    assert not [name for name in os.listdir(tmp_path) if ".broken-" in name]  # noqa: PTH208 -- async test


BACK_TO_VERSION_11 = (
    "DROP TABLE saved_searches; DROP TABLE items_terms; DROP INDEX items_group;"
    "DROP INDEX items_by_preset; DROP INDEX items_by_rating; DROP INDEX items_by_largest;"
    "DROP INDEX items_by_name; DROP INDEX items_page; ALTER TABLE items DROP COLUMN group_id;"
    "CREATE INDEX items_page ON items(user_id, id) WHERE deleted_at IS NULL;"
    "CREATE INDEX items_preset ON items(user_id, preset) WHERE deleted_at IS NULL;"
    "UPDATE items_search SET body = trim(body, char(10));"
    "ALTER TABLE jobs DROP COLUMN traceparent;"
)


async def test_database_open_of_version_1_keeps_its_jobs(tmp_path: Path) -> None:
    job = support.a_job()
    ours = Database(tmp_path)
    await ours.open()
    await ours.run(jobs_table.insert, job)
    await ours.close()
    with closing(sqlite3.connect(tmp_path / "comfy_ui.db")) as older:
        older.executescript(
            f"{BACK_TO_VERSION_11} ALTER TABLE jobs DROP COLUMN server_deaths; DROP TABLE pauses;"
            "DROP TABLE durations;"
            "DROP TABLE favorites; DROP TABLE preset_defaults;"
            "DROP TRIGGER job_ended; DROP TABLE webhooks; DROP TABLE webhook_deliveries;"
            "ALTER TABLE jobs DROP COLUMN webhook; ALTER TABLE jobs DROP COLUMN key_id;"
            "ALTER TABLE jobs DROP COLUMN may_spend;"
            "DROP INDEX jobs_group; ALTER TABLE jobs DROP COLUMN group_id;"
            "ALTER TABLE grids DROP COLUMN paused; DROP TABLE labels;"
            "ALTER TABLE items DROP COLUMN rating;"
            "DROP INDEX jobs_seed; DROP INDEX jobs_parent; ALTER TABLE jobs DROP COLUMN parent_id;"
            "PRAGMA user_version = 1"
        )
    for _ in range(2):
        ours = Database(tmp_path)
        await ours.open()
        assert await ours.run(jobs_table.get, job.id, job.user_id) == job
        assert await ours.run(pauses_table.paused) == frozenset()
        assert await ours.run(durations_table.of_server, "gpu") == {}
        assert await ours.run(favorites_table.names, job.user_id, "loras") == frozenset()
        assert await ours.run(preset_defaults_table.get, job.user_id, "sd15") == {}
        assert await ours.run(webhooks_table.webhook, job.user_id) == Webhook()
        await ours.close()


async def test_database_open_of_version_7_makes_groups_of_its_grids(tmp_path: Path) -> None:
    cells = [support.a_job(id=f"c{n}") for n in range(2)]
    sheet = replace(support.a_job(id="s", created_at=3.0), status=JobStatus.SUCCEEDED)
    single = replace(support.a_job(id="x"), status=JobStatus.SUCCEEDED)
    ours = Database(tmp_path)
    await ours.open()
    for job in (*cells, sheet, single):
        await ours.run(jobs_table.insert, job)
    axis = GridAxis("Steps", ("1", "2"))
    grid = Grid(id="g", user_id="ann", across=axis, down=None, jobs=("c0", "c1"), created_at=3.0)
    await ours.run(grids_table.insert, grid)
    result = replace(file("a"), filename="a.qz")
    await ours.run(items_table.insert, cells[0], [result], now=3.0)
    await ours.close()
    with closing(sqlite3.connect(tmp_path / "comfy_ui.db")) as older:
        older.executescript(
            f"{BACK_TO_VERSION_11} DROP INDEX jobs_group; ALTER TABLE jobs DROP COLUMN group_id;"
            "ALTER TABLE grids DROP COLUMN paused; DROP TABLE labels;"
            "ALTER TABLE jobs DROP COLUMN key_id; ALTER TABLE jobs DROP COLUMN may_spend;"
            "ALTER TABLE items DROP COLUMN rating; PRAGMA user_version = 7"
        )
    ours = Database(tmp_path)
    await ours.open()
    groups = {
        job.id: stored.group_id
        for job in (*cells, sheet, single)
        if (stored := await ours.run(jobs_table.get, job.id, job.user_id))
    }
    assert groups == {"c0": "g", "c1": "g", "s": "g", "x": None}
    assert await ours.run(grids_table.get, "g", "ann") == grid
    search = ItemQuery(user_id="ann", text="qz")  # the last letters of a text
    (item,) = await ours.run(items_table.page, search, tmp_path)
    assert item.group_id == "g"
    await ours.close()


async def test_database_open_of_another_program_raises_and_changes_nothing(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "comfy_ui.db")) as other:
        other.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StorageError, match="not written by a release"):
        await Database(tmp_path).open()
    with closing(sqlite3.connect(tmp_path / "comfy_ui.db")) as other:
        names = [row[0] for row in other.execute("SELECT name FROM sqlite_master")]
    assert names == ["theirs"]


async def test_database_open_failed_schema_leaves_no_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(database_schema, "SCHEMA", ("CREATE TABLE half (x)", "CREATE NONSENSE"))
        with pytest.raises(StorageError):
            await Database(tmp_path).open()
    again = Database(tmp_path)
    await again.open()
    names = await again.run(
        lambda c: [r["name"] for r in c.execute("SELECT name FROM sqlite_master")]
    )
    assert "half" not in names
    assert "jobs" in names
    await again.close()


@pytest.mark.parametrize("fields", [{"prompt": "broken \ud800"}, {"work": 10**400}])
async def test_database_run_unstorable_value_raises_and_continues(
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


async def test_database_run_after_close_raises_storage_error(tmp_path: Path) -> None:
    database = Database(tmp_path)
    await database.open()
    closing = asyncio.ensure_future(database.close())
    late = asyncio.ensure_future(database.run(jobs_table.recent, "ann", 1))
    await closing
    with pytest.raises(StorageError):
        await late
    with pytest.raises(StorageError, match="closed"):
        await database.run(jobs_table.recent, "ann", 1)


async def test_database_close_leaves_no_thread(tmp_path: Path) -> None:
    database = Database(tmp_path)
    await database.open()
    await database.close()
    await database.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("comfy-ui")]


async def test_database_open_beside_older_file_warns_and_keeps_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "studio.db").write_bytes(b"older")
    database = Database(tmp_path)
    await database.open()
    await database.close()
    assert "cannot be read" in caplog.text
    assert (tmp_path / "studio.db").read_bytes() == b"older"
