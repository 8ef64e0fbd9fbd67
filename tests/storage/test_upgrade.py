"""Databases of every version that was ever written open, and all that was in them is there.

``data/schema_N.sql`` is what version N had. A new migration wants a new file: the one before stays
as it is.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from comfy_ui.client import ComfyWSClient
from comfy_ui.demo import DemoServer
from comfy_ui.jobs.studio import Studio
from comfy_ui.storage.database import MIGRATIONS
from comfy_ui.storage.records import Phase, Status
from tests.jobs.support import end_of

DATA = Path(__file__).with_name("data")
VERSIONS = sorted(int(path.stem.split("_")[1]) for path in DATA.glob("schema_*.sql"))
JOB = "00000000-0000-4000-8000-00000000000{}".format


def test_the_newest_version_has_a_file() -> None:
    assert VERSIONS[-1] == len(MIGRATIONS)
    assert VERSIONS[0] == 1


def restored(folder: Path, version: int) -> None:
    folder.mkdir(exist_ok=True)
    with closing(sqlite3.connect(folder / "studio.db")) as connection:
        connection.executescript((DATA / f"schema_{version}.sql").read_text(encoding="utf-8"))
        connection.commit()


async def test_everything_is_there_after_the_upgrade(server: DemoServer, tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as all_at_once:  # each waits for the server for seconds
        for version in VERSIONS:
            all_at_once.create_task(upgraded(server, tmp_path / str(version), version))


async def upgraded(server: DemoServer, folder: Path, version: int) -> None:
    restored(folder, version)
    async with (
        ComfyWSClient(url=server.url) as client,
        Studio(client=client, data_dir=folder, keep_deleted_s=1e9) as studio,
    ):
        assert studio.notice == ""
        found = await studio.results("ann")
        assert [(item.filename, item.starred) for item in found] == [
            ("x_00002_.png", False),
            ("x_00001_.png", True),
        ]
        assert {item.seed for item in found} == {2**64 - 1}
        assert found[0].values == {"prompt": "a red fox's den", "seed": 2**64 - 1, "steps": 20}
        assert await studio.results("ann", text="FOX dream.safe x_00001") == found[1:]
        assert await studio.results("ann", before=found[0].id) == found[1:]
        assert [item.id for item in await studio.results("ann", starred=True)] == [found[1].id]
        assert await studio.restore([3], "ann") == [3]
        assert (await studio.space("ann")).used_bytes == 3006
        assert await studio.results("bob") == []
        failed = (await studio.recent("bob"))[0]
        assert failed.error is not None
        assert (failed.status, failed.error.kind) == (Status.FAILED, "OutOfMemoryError")
        done = await studio.snapshot(JOB(1), "ann")
        assert (done.phase, done.texts) == (Phase.SUCCEEDED, ("said",))
        # What was under way is taken up, at the server that there is now: it refuses both.
        ends = [await end_of(studio, await studio.job(JOB(n), "ann")) for n in (4, 3)]
        assert [end.phase for end in ends] == [Phase.FAILED, Phase.FAILED]
        assert all("node" in str(end.error) for end in ends)


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_upgraded_database_has_the_same_shape_as_a_new_one(
    client: ComfyWSClient, tmp_path: Path, version: int
) -> None:
    restored(tmp_path / "old", version)
    shapes = []
    for folder in (tmp_path / "old", tmp_path / "new"):
        async with Studio(client=client, data_dir=folder):
            await asyncio.sleep(0)
        with closing(sqlite3.connect(folder / "studio.db")) as connection:
            shapes.append(
                {
                    (name, " ".join((sql or "").split()))
                    for name, sql in connection.execute("SELECT name, sql FROM sqlite_master")
                }
            )
    assert shapes[0] == shapes[1]
