"""Jobs while the S3 server that keeps their files is away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_ui.client import ComfyWSClient
from comfy_ui.demo import DemoServer
from comfy_ui.errors import StorageError
from comfy_ui.jobs.job_service import open_jobs
from comfy_ui.library.stores import OpenStores
from comfy_ui.scale.choose_stores import choose_stores
from comfy_ui.settings import load_settings
from comfy_ui.storage.records import JobRequest, Phase
from tests.jobs.support import end_of, engine_files, submit_sleepy, until
from tests.storage.s3_server import BUCKET, S3Server, s3_server
from tests.web.support import picture_bytes


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    with s3_server(tmp_path / "s3") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def stores() -> OpenStores:
    return choose_stores(load_settings(files=f"s3://{BUCKET}/a", database=None))


async def test_worker_keeps_the_result_while_the_file_storage_is_away(
    client: ComfyWSClient, server: DemoServer, s3: S3Server, stores: OpenStores, tmp_path: Path
) -> None:
    async with open_jobs(client=client, data_dir=tmp_path / "data", open_stores=stores) as service:
        job = await submit_sleepy(service, seconds=0.5)
        await until(service, job, lambda snapshot: snapshot.phase is Phase.RUNNING)
        await asyncio.to_thread(s3.stop)
        waiting = await until(service, job, lambda snapshot: bool(snapshot.error), within_s=90)
        assert waiting.phase is Phase.SAVING
        assert waiting.error
        assert "file storage cannot be used: it does not answer" in waiting.error.message
        assert await service.library.results("ann") == []
        await asyncio.to_thread(s3.start)
        end = await end_of(service, job, within_s=90)
        assert (end.phase, len(end.items)) == (Phase.SUCCEEDED, 1)
        (content,) = engine_files(server).values()
        key = end.items[0].path.relative_to(service.library.files.folder)
        assert s3.object(f"a/{key}").read_bytes() == content
        assert end.items[0].thumbnail
        thumbnail = end.items[0].thumbnail.relative_to(service.library.files.folder)
        assert s3.object(f"a/{thumbnail}").is_file()


async def test_cancelled_job_stops_waiting_for_the_file_storage(
    client: ComfyWSClient, server: DemoServer, s3: S3Server, stores: OpenStores, tmp_path: Path
) -> None:
    async with open_jobs(client=client, data_dir=tmp_path / "data", open_stores=stores) as service:
        job = await submit_sleepy(service, seconds=0.5)
        await until(service, job, lambda snapshot: snapshot.phase is Phase.RUNNING)
        await asyncio.to_thread(s3.stop)
        await until(service, job, lambda snapshot: bool(snapshot.error), within_s=90)
        await service.cancel(job.id, "ann")
        assert (await end_of(service, job, within_s=90)).phase is Phase.CANCELLED


async def test_upload_and_its_job_are_refused_while_the_file_storage_is_away(
    client: ComfyWSClient, server: DemoServer, s3: S3Server, stores: OpenStores, tmp_path: Path
) -> None:
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "ui-a-b.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    request = JobRequest(user_id="ann", preset="copy", graph=graph)
    content = picture_bytes("PNG", side=32)
    async with open_jobs(client=client, data_dir=tmp_path / "data", open_stores=stores) as service:
        await asyncio.to_thread(s3.stop)
        with pytest.raises(StorageError, match="file storage"):
            await service.library.keep_upload("ui-a-b.png", content, "ann")
        assert (await service.library.usage("ann")).upload_bytes == 0
        with pytest.raises(StorageError, match="file storage"):
            await service.submit(request)
        await asyncio.to_thread(s3.start)
        await service.library.keep_upload("ui-a-b.png", content, "ann")
        end = await end_of(service, await service.submit(request))
        assert (end.phase, len(end.items)) == (Phase.SUCCEEDED, 1)
        for path in service.library.files.folder.rglob("*.png"):
            path.unlink()  # as on another replica
        pieces = [piece async for piece in service.library.zip([end.items[0].id], "ann")]
        assert len(b"".join(pieces)) > end.items[0].size_bytes
        ids = await service.library.delete([end.items[0].id], "ann")
        assert await service.library.delete_forever(ids, "ann") == ids
        assert await service.library.results("ann") == []
