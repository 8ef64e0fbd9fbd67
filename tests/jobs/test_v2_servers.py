"""Jobs of the app on a server with the Comfy API v2."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.client import ComfyWSClient
from comfy_ui.demo.demo_cloud import CloudFaults, DemoCloud
from comfy_ui.jobs.job_service import JobService, open_jobs
from comfy_ui.protocol.progress import Phase
from comfy_ui.storage.records import JobRequest, JobStatus
from tests.jobs.support import end_of, until

KEY = "canary-of-the-cloud"


def request(nonce: int = 0) -> JobRequest:
    graph: dict[str, Any] = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "color": nonce}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "v2"}},
    }
    return JobRequest(user_id="ann", preset="p", graph=graph)


@pytest.fixture
async def cloud() -> AsyncIterator[DemoCloud]:
    async with DemoCloud(key=KEY) as cloud:
        yield cloud


@pytest.fixture
async def service(cloud: DemoCloud, tmp_path: Path) -> AsyncIterator[JobService]:
    async with (
        ComfyWSClient(url=f"{cloud.url}#jobs=3", token=KEY) as client,
        open_jobs(client=client, data_dir=tmp_path / "data") as service,
    ):
        yield service


async def test_service_runs_jobs_on_a_v2_server_and_stores_their_files(service: JobService) -> None:
    jobs = [await service.submit(request(n)) for n in range(3)]
    for job in jobs:
        end = await end_of(service, job)
        assert (end.phase, end.error, end.progress) == (Phase.SUCCEEDED, None, 100)
        assert end.items[0].path.read_bytes().startswith(b"\x89PNG")
    (status,) = await service.server_statuses()
    assert status.online


async def test_service_waits_for_room_on_a_v2_server_and_fails_without_credits(
    service: JobService, cloud: DemoCloud
) -> None:
    cloud.faults = CloudFaults(max_jobs=0)
    waiting = await service.submit(request())
    snapshot = await until(service, waiting, lambda s: s.error is not None)
    assert snapshot.phase is Phase.QUEUED
    cloud.faults = CloudFaults()
    assert (await end_of(service, waiting)).phase is Phase.SUCCEEDED
    cloud.faults = CloudFaults(no_credits=True)
    refused = await end_of(service, await service.submit(request()))
    assert refused.phase is Phase.FAILED
    assert refused.error is not None
    assert "no credits left" in refused.error.message


async def test_service_resumes_a_job_of_a_v2_server_after_a_restart(tmp_path: Path) -> None:
    async with (
        DemoCloud(step_s=0.3) as cloud,
        ComfyWSClient(url=cloud.url) as client,
    ):
        async with open_jobs(client=client, data_dir=tmp_path / "data") as service:
            job = await service.submit(request())
            await until(service, job, lambda s: s.phase is Phase.RUNNING)
            assert (await service.job(job.id, "ann")).status is JobStatus.SENT
        async with open_jobs(client=client, data_dir=tmp_path / "data") as service:
            assert (await end_of(service, job)).phase is Phase.SUCCEEDED
        assert len(cloud.posts) == 1


async def test_service_cancels_a_running_job_of_a_v2_server(tmp_path: Path) -> None:
    async with (
        DemoCloud(step_s=0.3) as cloud,
        ComfyWSClient(url=cloud.url) as client,
        open_jobs(client=client, data_dir=tmp_path / "data") as service,
    ):
        job = await service.submit(request())
        await until(service, job, lambda s: s.phase is Phase.RUNNING)
        assert await service.cancel(job.id, "ann")
        assert (await end_of(service, job)).phase is Phase.CANCELLED


async def test_v2_server_among_several_takes_the_jobs_of_one_that_is_offline(
    cloud: DemoCloud, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with (
        ComfyWSClient(url=f"http://127.0.0.1:{port}") as offline,
        ComfyWSClient(url=cloud.url, token=KEY) as client,
        open_jobs(client=offline, others=[client], data_dir=tmp_path / "data") as service,
    ):
        job = await service.submit(request())
        assert (await end_of(service, job)).phase is Phase.SUCCEEDED
    assert len(cloud.posts) == 1
