"""Recovery of a broken database: moved aside, read where possible, the rest entered from files."""

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
    """Fill a library with results of ann, two of them starred; return their bytes by file name."""
    async with open_jobs(client=client, data_dir=folder) as service:
        jobs = [await submit_sleepy(service, "ann", nonce=n) for n in range(count)]
        items = [(await end_of(service, job)).items[0] for job in jobs]
        for item in items[:2]:
            await service.library.star(item.id, "ann")
        await service.library.save_favorite("ann", "loras", "ink.safetensors", marked=True)
        return {item.filename: item.path.read_bytes() for item in items}


async def reopened(client: ComfyWSClient, folder: Path, count: int) -> tuple[str, list[bytes], int]:
    """Return the notice, the bytes of all results, and the number of ann's starred results."""
    async with open_jobs(client=client, data_dir=folder) as service:
        async with asyncio.timeout(30):
            while True:
                recovered = await service.library.results("ann", limit=500)
                again = await service.library.results(LOCAL_USER_ID, limit=500)
                if len(recovered) + len(again) >= count:
                    break
                await asyncio.sleep(0.02)
        for item in [*recovered, *again]:
            assert (await service.job(item.job_id, item.user_id)).status is JobStatus.SUCCEEDED
        if recovered:
            assert await service.library.results("ann", text=recovered[0].filename) == [
                recovered[0]
            ]
        end = await end_of(service, await submit_sleepy(service, "ann", nonce=10**6))
        assert end.phase is Phase.SUCCEEDED  # it works as before
        stars = sum(item.starred for item in recovered)
        return (
            service.library.notice,
            [item.path.read_bytes() for item in [*recovered, *again]],
            stars,
        )


def aside(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("comfy_ui.db.broken-*")]


async def test_recovery_intact_database_is_unchanged(client: ComfyWSClient, tmp_path: Path) -> None:
    contents = await filled(client, tmp_path, 2)
    notice, recovered, _ = await reopened(client, tmp_path, 2)
    assert notice == ""
    assert sorted(recovered) == sorted(contents.values())
    assert aside(tmp_path) == []
    assert not is_broken(tmp_path / "nothing.db")


async def test_recovery_invalid_database_is_replaced_and_every_file_entered(
    client: ComfyWSClient, tmp_path: Path
) -> None:
    contents = await filled(client, tmp_path, 4)
    (tmp_path / "comfy_ui.db").write_bytes(b"\0" * 8192 + random.Random(1).randbytes(8192))
    notice, recovered, _ = await reopened(client, tmp_path, 4)
    assert sorted(recovered) == sorted(contents.values())
    (name,) = aside(tmp_path)
    assert name in notice
    assert "0 results could be read" in notice


@pytest.mark.parametrize("missing", [False, True])
async def test_recovery_empty_database_enters_every_file(
    client: ComfyWSClient, tmp_path: Path, missing: bool
) -> None:
    contents = await filled(client, tmp_path, 3)
    (tmp_path / "comfy_ui.db").unlink()
    if not missing:
        (tmp_path / "comfy_ui.db").touch()
    notice, recovered, _ = await reopened(client, tmp_path, 3)
    assert sorted(recovered) == sorted(contents.values())
    assert "empty or missing" in notice


async def test_recovery_empty_database_without_results_is_created(tmp_path: Path) -> None:
    (tmp_path / "comfy_ui.db").touch()
    database = Database(tmp_path)
    await database.open()
    assert database.recovered is None
    await database.close()
    assert aside(tmp_path) == []


async def test_recovery_damaged_database_keeps_readable_pages(
    client: ComfyWSClient, tmp_path: Path
) -> None:
    contents = await filled(client, tmp_path, 12)
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
    notice, recovered, _ = await reopened(client, tmp_path, 12)
    assert sorted(recovered) == sorted(contents.values())
    async with open_jobs(client=client, data_dir=tmp_path) as service:
        assert await service.library.favorites("ann", "loras") == {"ink.safetensors"}
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


async def test_recovery_damaged_index_loses_nothing(client: ComfyWSClient, tmp_path: Path) -> None:
    contents = await filled(client, tmp_path, 3)
    damage_an_index(tmp_path / "comfy_ui.db")
    notice, recovered, stars = await reopened(client, tmp_path, 3)
    assert "3 results could be read" in notice
    assert stars == 2
    assert sorted(recovered) == sorted(contents.values())


@pytest.mark.parametrize("seed", range(6))
async def test_recovery_random_damage_never_prevents_start(
    client: ComfyWSClient, tmp_path: Path, seed: int
) -> None:
    contents = await filled(client, tmp_path, 3)
    path = tmp_path / "comfy_ui.db"
    content, rng = bytearray(path.read_bytes()), random.Random(seed)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(content) - 600)
        content[at : at + 600] = rng.randbytes(600)
    path.write_bytes(content)
    _, recovered, _ = await reopened(client, tmp_path, 3)
    assert {*recovered} >= {*contents.values()}


async def test_recovery_unfinished_job_continues(client: ComfyWSClient, tmp_path: Path) -> None:
    async with support.open_queue(tmp_path) as queue:
        job = await queue.submit(support.a_job(graph=support.sleepy_graph()), front=False)
    damage_an_index(tmp_path / "comfy_ui.db")
    async with open_jobs(client=client, data_dir=tmp_path) as service:
        assert (await end_of(service, job)).phase is Phase.SUCCEEDED


async def test_recovery_database_locked_by_another_process_is_not_replaced(
    tmp_path: Path,
) -> None:
    first, second = Database(tmp_path), Database(tmp_path)
    await first.open()
    with pytest.raises(Exception, match="Another comfy-ui"):
        await second.open()
    await first.close()
    assert aside(tmp_path) == []
