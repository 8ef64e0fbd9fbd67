"""A service over the embedded engine at full speed, new for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from comfy_ui.client import ComfyWSClient
from comfy_ui.demo import DemoServer, Faults
from comfy_ui.jobs.job_service import JobService, open_jobs


@pytest.fixture
def server() -> Iterator[DemoServer]:
    with DemoServer(speed="instant", faults=Faults(test_nodes=True)).in_thread() as server:
        yield server


@pytest.fixture
async def client(server: DemoServer) -> AsyncIterator[ComfyWSClient]:
    async with ComfyWSClient(url=server.url) as client:
        yield client


@pytest.fixture
async def service(client: ComfyWSClient, tmp_path: Path) -> AsyncIterator[JobService]:
    async with open_jobs(client=client, data_dir=tmp_path / "data") as service:
        yield service
