"""Network faults before ComfyUI: every job ends once, with the right bytes, and runs once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from comfy_ui.client import ComfyWSClient
from comfy_ui.demo import DemoServer
from comfy_ui.jobs.job_service import open_jobs
from comfy_ui.storage.records import Phase
from tests.faults import catalogue, proxy
from tests.faults.proxy import FaultProxy
from tests.jobs import support

HTTP = [
    (name, phase)
    for name, fault in catalogue.HTTP.items()
    for phase in fault.phases
    if phase in ("submit", "run", "fetch") and fault.expected(phase) == catalogue.RECOVERS
]
QUICK_HTTP: list[tuple[str, proxy.Phase]] = [
    ("reset after body", "submit"),
    ("504 after accept", "submit"),
    ("truncated body", "run"),
    ("truncated body", "fetch"),
    ("429", "fetch"),
]
QUICK_WS = ["close 1000", "reset (1006)", "dropped"]


async def _three_jobs(server: DemoServer, through: FaultProxy, folder: Path) -> None:
    async with (
        ComfyWSClient(url=through.url) as client,
        open_jobs(client=client, data_dir=folder) as service,
    ):
        jobs = [await support.submit_sleepy(service, nonce=n, seconds=0.05) for n in range(3)]
        async with asyncio.timeout(60):
            ends = [await support.end_of(service, job, within_s=60) for job in jobs]
    assert [(end.phase, end.error) for end in ends] == [(Phase.SUCCEEDED, None)] * 3
    files = {item.filename: item.path.read_bytes() for end in ends for item in end.items}
    assert files == support.engine_files(server)


async def _http(server: DemoServer, folder: Path, name: str, phase: proxy.Phase) -> None:
    fault = catalogue.HTTP[name]
    async with FaultProxy(server.url) as through:
        through.arm(fault.act, phase=phase, times=fault.times)
        await _three_jobs(server, through, folder)


async def _websocket(server: DemoServer, folder: Path, name: str) -> None:
    fault = catalogue.WS[name]
    async with FaultProxy(server.url) as through:
        through.arm_socket(fault.act, times=fault.times)
        await _three_jobs(server, through, folder)


@pytest.mark.parametrize(("name", "phase"), QUICK_HTTP)
async def test_jobs_http_fault_loses_and_duplicates_nothing(
    server: DemoServer, tmp_path: Path, name: str, phase: proxy.Phase
) -> None:
    await _http(server, tmp_path, name, phase)


@pytest.mark.parametrize("name", QUICK_WS)
async def test_jobs_websocket_fault_loses_and_duplicates_nothing(
    server: DemoServer, tmp_path: Path, name: str
) -> None:
    await _websocket(server, tmp_path, name)


@pytest.mark.nightly
@pytest.mark.parametrize(("name", "phase"), HTTP)
async def test_jobs_any_http_fault_loses_and_duplicates_nothing(
    server: DemoServer, tmp_path: Path, name: str, phase: proxy.Phase
) -> None:
    await _http(server, tmp_path, name, phase)


@pytest.mark.nightly
@pytest.mark.parametrize("name", catalogue.WS)
async def test_jobs_any_websocket_fault_loses_and_duplicates_nothing(
    server: DemoServer, tmp_path: Path, name: str
) -> None:
    await _websocket(server, tmp_path, name)
