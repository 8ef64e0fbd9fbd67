"""The right to run partner nodes, wherever a job comes from."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.client import ComfyWSClient
from comfy_ui.demo import DemoServer, Faults
from comfy_ui.errors import SpendingError
from comfy_ui.jobs.job_service import JobService, open_jobs
from comfy_ui.protocol.progress import Phase
from comfy_ui.storage.records import GridAxis, JobRequest
from tests.jobs.support import end_of, sleepy_graph

KEY = "comfyui-canary"


@pytest.fixture
async def client(server: DemoServer) -> AsyncIterator[ComfyWSClient]:
    async with ComfyWSClient(url=server.url, api_key_comfy_org=KEY) as client:
        yield client


def paid_graph() -> dict[str, Any]:
    graph = sleepy_graph()
    graph["4"] = {"class_type": "DemoPartner", "inputs": {"image": ["1", 0]}}
    graph["2"]["inputs"]["image"] = ["4", 0]
    return graph


def request(**options: Any) -> JobRequest:
    return JobRequest(user_id="ann", preset="p", graph=paid_graph(), **options)


async def test_submit_runs_partner_nodes_with_the_right_to_spend_only(
    service: JobService, client: ComfyWSClient, tmp_path: Path
) -> None:
    with pytest.raises(SpendingError, match="DemoPartner"):
        await service.submit(request())
    assert await service.active("ann") == []
    job = await service.submit(request(may_spend=True))
    assert (await end_of(service, job)).phase is Phase.SUCCEEDED
    entry = await client.history((await service.job(job.id, "ann")).prompt_id or "")
    assert entry is not None
    assert KEY not in repr(entry)
    for path in (tmp_path / "data").rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes()


async def test_repeat_grid_and_edit_need_the_right_to_spend(service: JobService) -> None:
    job = await service.submit(request(may_spend=True))
    await end_of(service, job)
    with pytest.raises(SpendingError):
        await service.repeat(job.id, "ann")
    again = await service.repeat(job.id, "ann", may_spend=True)
    assert (await end_of(service, again)).phase is Phase.SUCCEEDED
    axis = GridAxis("Steps", ("1", "2"))
    with pytest.raises(SpendingError):
        await service.submit_grid([request(may_spend=True), request()], across=axis)
    await service.set_paused("ann", paused=True)
    free = JobRequest(user_id="ann", preset="p", graph=sleepy_graph())
    waiting = await service.submit(free)
    with pytest.raises(SpendingError):
        await service.submit(request(replaces=waiting.id))
    assert [j.id for j in await service.active("ann")] == [waiting.id]


async def test_job_queued_while_the_server_is_offline_is_refused_when_it_returns(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with (
        ComfyWSClient(port=port, url="127.0.0.1", api_key_comfy_org=KEY) as client,
        open_jobs(client=client, data_dir=tmp_path / "data") as service,
    ):
        refused = await service.submit(request())
        allowed = await service.submit(request(may_spend=True))
        async with DemoServer(port=port, speed="instant", faults=Faults(test_nodes=True)):
            end = await end_of(service, refused)
            assert (end.phase, end.error and end.error.kind) == (Phase.FAILED, "SpendingError")
            assert (await end_of(service, allowed)).phase is Phase.SUCCEEDED
