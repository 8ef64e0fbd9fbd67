"""The whole app on PostgreSQL, and the way there from SQLite."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_ui.client import ComfyWSClient
from comfy_ui.errors import StorageError
from comfy_ui.jobs.job_service import JobService, open_jobs
from comfy_ui.library.library_service import open_library
from comfy_ui.protocol.outputs import Outputs
from comfy_ui.scale.choose_stores import choose_stores
from comfy_ui.scale.sqlite_import import IMPORTED_FILE, import_sqlite
from comfy_ui.settings import load_settings
from comfy_ui.storage.database import DATABASE_FILE
from comfy_ui.storage.records import EVERYONE, ItemQuery, Job, Phase, WebhookTarget
from tests.jobs.support import a_job, end_of, submit_sleepy, until
from tests.scale.postgres_server import PostgresServer, new_database
from tests.storage.test_job_store_contract import a_grid, ended, file

pytestmark = pytest.mark.usefixtures("postgres")


async def test_app_on_postgres_runs_jobs_and_finds_them_after_a_restart(
    client: ComfyWSClient, tmp_path: Path
) -> None:
    async with new_database() as url:
        open_stores = choose_stores(load_settings(database=url))
        async with open_jobs(client=client, data_dir=tmp_path, open_stores=open_stores) as jobs:
            job = await submit_sleepy(jobs, nonce=7)
            end = await end_of(jobs, job)
            assert end.phase is Phase.SUCCEEDED
        async with open_library(tmp_path, open_stores=open_stores) as library:
            (item,) = await library.results("ann")
        assert (item,) == end.items
        assert item.path.is_file()
    assert not (tmp_path / DATABASE_FILE).exists()


async def test_app_on_postgres_refuses_a_folder_in_use_or_with_another_database(
    tmp_path: Path,
) -> None:
    async with new_database() as url, new_database() as other_url:
        open_stores = choose_stores(load_settings(database=url), wait_s=0.5)
        other_stores = choose_stores(load_settings(database=other_url))
        async with open_stores(tmp_path):
            with pytest.raises(StorageError, match="using the folder"):
                async with other_stores(tmp_path):
                    pass
            with pytest.raises(StorageError, match="using the database"):
                async with open_stores(tmp_path / "other"):
                    pass
        async with open_library(tmp_path / "old"):
            pass
        with pytest.raises(StorageError) as caught:
            async with open_stores(tmp_path / "old"):
                pass
        assert "comfy-ui db import" in str(caught.value.hint)


async def test_apps_with_external_workers_share_a_folder_and_a_database_with_each_other_only(
    tmp_path: Path,
) -> None:
    async with new_database() as url:
        alone = choose_stores(load_settings(database=url), wait_s=0.5)
        shared = choose_stores(load_settings(database=url, workers="external"), wait_s=0.5)
        async with shared(tmp_path) as one, shared(tmp_path) as other:
            job = await one.jobs.add(a_job())
            assert await other.jobs.get(job.id, job.user_id) == job
            for folder, message in ((tmp_path, "the folder"), (tmp_path / "x", "the database")):
                with pytest.raises(StorageError, match=f"using {message}"):
                    async with alone(folder):
                        pass
        async with alone(tmp_path):
            with pytest.raises(StorageError, match="using the folder"):
                async with shared(tmp_path):
                    pass
            with pytest.raises(StorageError, match="using the database"):
                async with shared(tmp_path / "x"):
                    pass


async def test_import_sqlite_copies_every_row_and_refuses_to_do_so_twice(tmp_path: Path) -> None:
    sqlite = choose_stores(load_settings())
    async with sqlite(tmp_path) as (jobs, library, webhooks, _):
        await webhooks.set_webhook("ann", WebhookTarget("https://ann.example", ""))
        await webhooks.add_test("ann", WebhookTarget("https://ann.example", ""), 1.0)
        done = ended(replace(await jobs.add(a_job(prompt="a 100%_fox", seed=2**64 - 1))))
        items = await jobs.finish(replace(done, outputs=Outputs((), ("a text",))), [file("a")])
        waiting = await jobs.add(a_job("bob", parent_id=items[0].id))
        await jobs.save_moved(waiting, server="gpu", prompt_id="p", there=True)
        await jobs.add_grid(a_grid(waiting.id))
        await jobs.save_paused(EVERYONE, paused=True)
        await library.star(items[0].id, "ann", starred=True)
        await library.save_favorite("ann", "loras", "x", marked=True)
        await library.save_preset_defaults("ann", "p", {"steps": 3})
        await library.add_upload("up", "ann", 5, now=1.0)

        async def everything() -> list[object]:
            return [
                await jobs.get_with_items(done.id, "ann"),
                await jobs.unfinished(),
                await jobs.copies("gpu"),
                await jobs.unfinished_grids(),
                await jobs.paused(),
                await library.favorites("ann", "loras"),
                await library.preset_defaults("ann", "p"),
                await library.usage("ann", None),
                await webhooks.webhook("ann"),
                await webhooks.recent("ann", 9),
                await library.page(ItemQuery(user_id="ann", text="%_f")),
                await library.page(ItemQuery(user_id="ann", text="0%_fox")),
            ]

        before = await everything()
        assert before[-1]
    async with new_database() as url:
        counts = await import_sqlite(tmp_path, url)
        assert (counts["jobs"], counts["items"]) == (2, 1)
        assert (tmp_path / IMPORTED_FILE).is_file()
        async with choose_stores(load_settings(database=url))(tmp_path) as (
            jobs,
            library,
            webhooks,
            _,
        ):
            assert await everything() == before
            await webhooks.add_test("ann", WebhookTarget("https://ann.example", ""), 2.0)
        with pytest.raises(StorageError, match="no SQLite database"):
            await import_sqlite(tmp_path, url)
        async with sqlite(tmp_path / "other"):
            pass
        with pytest.raises(StorageError, match="already"):
            await import_sqlite(tmp_path / "other", url)
        assert (tmp_path / "other" / DATABASE_FILE).is_file()


@pytest.mark.slow
async def test_app_on_postgres_goes_on_after_the_server_was_stopped_while_a_job_ran(
    client: ComfyWSClient, postgres: PostgresServer, tmp_path: Path
) -> None:
    async with new_database() as url:
        open_stores = choose_stores(load_settings(database=url), wait_s=3.0)
        async with open_jobs(client=client, data_dir=tmp_path, open_stores=open_stores) as jobs:
            running = await submit_sleepy(jobs, nonce=1, seconds=3.0)
            waiting = await submit_sleepy(jobs, nonce=2)
            await until(jobs, running, lambda snapshot: snapshot.phase is Phase.RUNNING)
            await asyncio.to_thread(postgres.stop)
            try:
                with pytest.raises(StorageError):
                    await submit_sleepy(jobs, nonce=3)
            finally:
                await asyncio.to_thread(postgres.start)
            async with asyncio.timeout(60):
                while not (later := await _submit_if_possible(jobs)):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            for job in (running, waiting, later):
                end = await end_of(jobs, job, within_s=60.0)
                if end.phase is Phase.FAILED:  # it ended while the server was down
                    assert await jobs.retry_fetch(job.id, job.user_id)
                    end = await end_of(jobs, job, within_s=60.0)
                assert end.phase is Phase.SUCCEEDED
                assert len(end.items) == 1


async def _submit_if_possible(jobs: JobService) -> Job | None:
    with suppress(StorageError):
        return await submit_sleepy(jobs, nonce=3)
    return None
