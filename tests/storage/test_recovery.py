"""A broken database: moved aside, read as far as it goes, the rest entered from the files."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from comfy_ui.client import ComfyWSClient
from comfy_ui.jobs.job_service import open_jobs
from comfy_ui.storage.database import Database
from comfy_ui.storage.records import LOCAL_USER_ID, JobStatus, Phase
from comfy_ui.storage.recovery import is_broken
from tests.jobs import support
from tests.jobs.support import end_of, submit_sleepy


async def filled(client: ComfyWSClient, folder: Path, count: int) -> dict[str, bytes]:
    """A library with some results of ann, two of them starred; gives their bytes by file name."""
    async with open_jobs(client=client, data_dir=folder) as service:
        jobs = [await submit_sleepy(service, "ann", nonce=n) for n in range(count)]
        items = [(await end_of(service, job)).items[0] for job in jobs]
        for item in items[:2]:
            await service.library.star(item.id, "ann")
        return {item.filename: item.path.read_bytes() for item in items}


async def reopened(client: ComfyWSClient, folder: Path, count: int) -> tuple[str, list[bytes], int]:
    """The notice, the bytes of all results, and how many of ann's are starred."""
    async with open_jobs(client=client, data_dir=folder) as service:
        async with asyncio.timeout(30):
            while True:
                found = await service.library.results("ann", limit=500)
                again = await service.library.results(LOCAL_USER_ID, limit=500)
                if len(found) + len(again) >= count:
                    break
                await asyncio.sleep(0.02)
        for item in [*found, *again]:
            assert (await service.job(item.job_id, item.user_id)).status is JobStatus.SUCCEEDED
        if found:
            assert await service.library.results("ann", text=found[0].filename) == [found[0]]
        end = await end_of(service, await submit_sleepy(service, "ann", nonce=10**6))
        assert end.phase is Phase.SUCCEEDED  # it works as before
        stars = sum(item.starred for item in found)
        return service.library.notice, [item.path.read_bytes() for item in [*found, *again]], stars


def aside(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("comfy_ui.db.broken-*")]


async def test_a_whole_database_is_left_alone(client: ComfyWSClient, tmp_path: Path) -> None:
    made = await filled(client, tmp_path, 2)
    notice, found, _ = await reopened(client, tmp_path, 2)
    assert notice == ""
    assert sorted(found) == sorted(made.values())
    assert aside(tmp_path) == []
    assert not is_broken(tmp_path / "nothing.db")


async def test_what_is_no_database_any_more_is_replaced_and_every_file_entered_again(
    client: ComfyWSClient, tmp_path: Path
) -> None:
    made = await filled(client, tmp_path, 4)
    (tmp_path / "comfy_ui.db").write_bytes(b"\0" * 8192 + random.Random(1).randbytes(8192))
    notice, found, _ = await reopened(client, tmp_path, 4)
    assert sorted(found) == sorted(made.values())
    (name,) = aside(tmp_path)
    assert name in notice
    assert "0 results could be read" in notice


async def test_of_a_damaged_database_the_whole_pages_are_taken_over(
    client: ComfyWSClient, tmp_path: Path
) -> None:
    made = await filled(client, tmp_path, 12)
    path = tmp_path / "comfy_ui.db"
    content = bytearray(path.read_bytes())
    with closing(sqlite3.connect(path)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        pages = (
            [
                row[0]
                for row in connection.execute(
                    "SELECT pageno FROM dbstat WHERE name = 'jobs' ORDER BY 1"
                )
            ]
            if _has_dbstat(connection)
            else [len(content) // size // 2]
        )
    for page in pages[len(pages) // 2 :][:1]:
        content[(page - 1) * size : page * size] = random.Random(2).randbytes(size)
    path.write_bytes(content)
    assert is_broken(path)
    notice, found, _ = await reopened(client, tmp_path, 12)
    assert sorted(found) == sorted(made.values())
    assert aside(tmp_path)
    assert "broken" in notice


def _has_dbstat(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("SELECT 1 FROM dbstat LIMIT 1").fetchone()
    except sqlite3.Error:
        return False
    return True


def damage_an_index(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'items_page'"
        ).fetchone()
    content = bytearray(path.read_bytes())
    content[(root - 1) * size : root * size] = b"\xff" * size
    path.write_bytes(content)


async def test_a_damaged_index_costs_nothing(client: ComfyWSClient, tmp_path: Path) -> None:
    made = await filled(client, tmp_path, 3)
    damage_an_index(tmp_path / "comfy_ui.db")
    notice, found, stars = await reopened(client, tmp_path, 3)
    assert "3 results could be read" in notice
    assert stars == 2
    assert sorted(found) == sorted(made.values())


@pytest.mark.parametrize("seed", range(6))
async def test_no_damage_anywhere_keeps_it_from_starting(
    client: ComfyWSClient, tmp_path: Path, seed: int
) -> None:
    made = await filled(client, tmp_path, 3)
    path = tmp_path / "comfy_ui.db"
    content, rng = bytearray(path.read_bytes()), random.Random(seed)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(content) - 600)
        content[at : at + 600] = rng.randbytes(600)
    path.write_bytes(content)
    _, found, _ = await reopened(client, tmp_path, 3)
    assert {*found} >= {*made.values()}


async def test_a_job_that_was_under_way_goes_on_after_a_rescue(
    client: ComfyWSClient, tmp_path: Path
) -> None:
    async with support.open_queue(tmp_path) as queue:
        job = await queue.submit(support.a_job(graph=support.sleepy_graph()), front=False)
    damage_an_index(tmp_path / "comfy_ui.db")
    async with open_jobs(client=client, data_dir=tmp_path) as service:
        assert (await end_of(service, job)).phase is Phase.SUCCEEDED


async def test_a_database_that_another_process_has_open_is_not_taken_for_broken(
    tmp_path: Path,
) -> None:
    first, second = Database(tmp_path), Database(tmp_path)
    await first.open()
    with pytest.raises(Exception, match="Another comfy-ui"):
        await second.open()
    await first.close()
    assert aside(tmp_path) == []
