"""An app with external workers. Workers that are killed are in tests/scale/kill_workers.py."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from comfy_ui.admin_settings.changed_settings import ChangedSettings
from comfy_ui.admin_settings.storage_limits import StorageLimits
from comfy_ui.client import ComfyWSClient
from comfy_ui.errors import StorageError, ValidationError
from comfy_ui.scale.choose_queue import choose_queue
from comfy_ui.scale.choose_stores import open_documents
from comfy_ui.scale.worker_process import run_worker, server_of
from comfy_ui.settings import Settings, load_settings
from comfy_ui.storage.records import JobRequest, Phase
from tests.job_traces import TREE, JobTraces
from tests.jobs.support import end_of, submit_sleepy, until
from tests.scale.postgres_server import new_database
from tests.scale.service_caller import opened_app
from tests.storage.s3_server import BUCKET, s3_server
from tests.web.support import picture_bytes


@pytest.fixture
async def settings(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Settings]:
    request.getfixturevalue("postgres")
    async with new_database() as url:
        yield load_settings(database=url, workers="external", data_dir=tmp_path)


@asynccontextmanager
async def _worker(
    settings: Settings, client: ComfyWSClient, *, drain_s: float = 30.0
) -> AsyncIterator[asyncio.Task[None]]:
    stop = asyncio.Event()
    task = asyncio.create_task(run_worker(settings, client, drain_s=drain_s, stop=stop))
    try:
        yield task
    finally:
        stop.set()
        await task


async def test_run_worker_runs_the_jobs_of_the_app_and_shows_its_server(
    settings: Settings, client: ComfyWSClient
) -> None:
    async with opened_app(settings, client) as jobs:
        (status,) = await jobs.worker_statuses()
        assert status.error
        assert "No worker" in status.error.message
        early = await submit_sleepy(jobs, nonce=1)
        async with _worker(settings, client):
            assert (await end_of(jobs, early)).phase is Phase.SUCCEEDED
            end = await end_of(jobs, await submit_sleepy(jobs, nonce=2))
            assert (end.phase, len(end.items)) == (Phase.SUCCEEDED, 1)
            assert end.items[0].path.is_file()
            (status,) = await jobs.worker_statuses()
            assert status.online
            assert client.url in status.url
            assert status.devices


async def test_run_worker_without_a_shared_folder_reads_and_writes_files_in_s3(
    settings: Settings, client: ComfyWSClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "ui-a-b.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    with s3_server(tmp_path / "s3") as s3:
        for name, value in s3.environment.items():
            monkeypatch.setenv(name, value)
        of_app = settings.model_copy(update={"files": f"s3://{BUCKET}/a"})
        of_worker = of_app.model_copy(update={"data_dir": tmp_path / "other host"})
        async with opened_app(of_app, client) as jobs, _worker(of_worker, client):
            content = picture_bytes("PNG", side=32)
            await jobs.library.keep_upload("ui-a-b.png", content, "ann")
            job = await jobs.submit(JobRequest(user_id="ann", preset="copy", graph=graph))
            end = await end_of(jobs, job)
            assert (end.phase, len(end.items)) == (Phase.SUCCEEDED, 1)
            item = end.items[0]
            assert not item.path.exists()  # only the worker has a copy
            assert (await jobs.library.fetch(item.path)).stat().st_size == item.size_bytes
            assert item.thumbnail
            assert (await jobs.library.fetch(item.thumbnail)).is_file()
            assert (tmp_path / "other host" / "file_copies" / "inputs" / "ui-a-b.png").is_file()


async def test_run_worker_ends_its_jobs_when_it_is_stopped_and_leaves_the_others(
    settings: Settings, client: ComfyWSClient
) -> None:
    async with opened_app(settings, client) as jobs:
        async with _worker(settings, client):
            submitted = [await submit_sleepy(jobs, nonce=n, seconds=0.5) for n in range(4)]
            await until(jobs, submitted[0], lambda snapshot: snapshot.phase is Phase.RUNNING)
        phases = [(await jobs.snapshot(job.id, "ann")).phase for job in submitted]
        assert phases[0] is Phase.SUCCEEDED
        assert phases[-1] is Phase.QUEUED
        async with _worker(settings, client):
            for job in submitted:
                assert (await end_of(jobs, job)).phase is Phase.SUCCEEDED


async def test_run_worker_knows_the_storage_limits_that_admins_set(
    settings: Settings, client: ComfyWSClient
) -> None:
    of_app = settings.model_copy()
    documents = open_documents(of_app)
    ChangedSettings(of_app, documents).change("storage_gb", 1e-9, user_id="admin")
    StorageLimits(of_app, documents).set("adam", None)
    documents.close()
    async with opened_app(settings, client) as jobs, _worker(settings, client):
        full = await end_of(jobs, await submit_sleepy(jobs, "ann", nonce=1))
        assert full.phase is Phase.FAILED
        assert full.error
        assert "COMFY_UI_STORAGE_GB" in str(full.error.hint)
        free = await submit_sleepy(jobs, "adam", nonce=2)
        assert (await end_of(jobs, free)).phase is Phase.SUCCEEDED


async def test_run_worker_without_time_to_end_leaves_its_job_to_the_next_one(
    settings: Settings, client: ComfyWSClient
) -> None:
    async with opened_app(settings, client) as jobs:
        async with _worker(settings, client, drain_s=0.0):
            job = await submit_sleepy(jobs, nonce=1, seconds=1.0)
            await until(jobs, job, lambda snapshot: snapshot.phase is Phase.RUNNING)
        prompt_id = (await jobs.job(job.id, "ann")).prompt_id
        async with _worker(settings, client):
            assert (await end_of(jobs, job)).phase is Phase.SUCCEEDED
        assert (await jobs.job(job.id, "ann")).prompt_id == prompt_id, "it ran once"


async def test_run_worker_beside_another_of_the_same_server_is_refused(
    settings: Settings, client: ComfyWSClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfy_ui.scale.worker_process._LOCK_WAIT_S", 0.2)
    async with opened_app(settings, client) as jobs, _worker(settings, client):
        assert (await end_of(jobs, await submit_sleepy(jobs, nonce=1))).phase is Phase.SUCCEEDED
        with pytest.raises(StorageError, match="Another worker"):
            await run_worker(settings, client, drain_s=0.0, stop=asyncio.Event())


async def test_run_worker_answers_for_its_status_and_counts_its_jobs(
    settings: Settings, client: ComfyWSClient
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    token = "a-token-of-the-operator"
    settings = settings.model_copy(
        update={"worker_status": address, "metrics_token": SecretStr(token)}
    )
    async with (
        opened_app(settings, client) as jobs,
        _worker(settings, client),
        httpx.AsyncClient(base_url=f"http://{address}") as http,
    ):
        assert (await end_of(jobs, await submit_sleepy(jobs, nonce=1))).phase is Phase.SUCCEEDED
        assert (await http.get("/healthz")).json() == {"status": "ok"}
        assert (await http.get("/readyz")).json() == {"status": "ready"}
        assert (await http.get("/metrics")).status_code == 401
        text = (await http.get("/metrics", headers={"Authorization": f"Bearer {token}"})).text
        assert re.search(r'jobs_ended_total\{outcome="succeeded",.*\} 1.0', text)
        assert re.search(r'database_connections\{pool="worker",state="open"\} [1-9]', text)
        assert jobs.is_running()
        figures = jobs.figures()
        assert (dict(figures.jobs), [*figures.servers.values()]) == ({}, [True])
        assert await jobs.database_problem() is None


async def test_trace_of_a_job_of_an_external_worker_is_one_tree(
    settings: Settings, client: ComfyWSClient, job_traces: JobTraces
) -> None:
    async with opened_app(settings, client) as jobs, _worker(settings, client):
        with job_traces.request():
            job = await submit_sleepy(jobs, nonce=1)
        assert (await end_of(jobs, job)).phase is Phase.SUCCEEDED
        assert await job_traces.tree() == TREE


async def test_server_of_tells_local_addresses_of_two_hosts_apart(client: ComfyWSClient) -> None:
    names = {server_of(client, name=name).name for name in (None, "gpu1", "gpu2")}
    assert len(names) == 3
    async with ComfyWSClient(url="http://comfy.example:8188") as remote:
        assert server_of(remote, name=None).name == server_of(remote, name="").name


def test_choose_queue_of_external_workers_needs_a_database() -> None:
    with pytest.raises(ValidationError, match="need a PostgreSQL database"):
        choose_queue(load_settings(workers="external", database=None))
