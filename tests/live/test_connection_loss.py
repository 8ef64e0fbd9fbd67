"""A real server, or its connection, fails in the middle of a job."""

from __future__ import annotations

import asyncio

import pytest

from comfy_ui import ComfyHeadlessError, ComfyWSClient, JobLostError
from tests import graphs
from tests.faults import catalogue
from tests.faults.proxy import FaultProxy, Phase
from tests.live.support import OwnServer
from tests.shells import SHELLS, Shell, opened

pytestmark = pytest.mark.live


@pytest.mark.parametrize("fault", [*catalogue.WS], ids=str)
async def test_run_under_each_socket_fault_returns_result(fault: str, url: str) -> None:
    with FaultProxy(url).in_thread() as proxy:
        armed = catalogue.WS[fault]
        proxy.arm_socket(armed.act, times=armed.times)
        async with ComfyWSClient(url=proxy.url, timeout=60) as client:
            result = await client.run(graphs.slow(links=3, size=256), timeout=60)
            assert result.images
        assert len(proxy.accepted) == 1
        assert proxy.hits


@pytest.mark.parametrize("phase", ["submit", "run", "fetch"])
@pytest.mark.parametrize("shell", SHELLS)
async def test_run_with_lost_response_runs_job_once(shell: Shell, phase: Phase, url: str) -> None:
    with FaultProxy(url).in_thread() as proxy:
        proxy.arm(catalogue.lost_response, phase=phase, times=2)
        proxy.arm_socket(catalogue.cut_1006)
        async with opened(shell, proxy.url, timeout=60) as client:
            data = await client.download((await client.run(graphs.instant())).files[0])
        assert data.startswith(b"\x89PNG")
        assert len(proxy.accepted) == 1
        assert proxy.hits


@pytest.mark.parametrize("shell", SHELLS)
async def test_run_server_killed_and_restarted_raises_job_lost(
    shell: Shell, own_server: OwnServer
) -> None:
    async with opened(shell, own_server.url, timeout=60) as client:
        job = asyncio.create_task(client.run(graphs.slow(links=300)))
        await asyncio.sleep(1.5)
        own_server.kill()
        await asyncio.to_thread(own_server.start)
        with pytest.raises(JobLostError) as caught:
            await asyncio.wait_for(job, 60)
    assert caught.value.hint


@pytest.mark.parametrize("shell", SHELLS)
async def test_run_server_killed_for_good_raises_in_time(
    shell: Shell, own_server: OwnServer
) -> None:
    async with opened(shell, own_server.url, timeout=8) as client:
        job = asyncio.create_task(client.run(graphs.slow(links=300)))
        await asyncio.sleep(1.5)
        own_server.kill()
        with pytest.raises(ComfyHeadlessError) as caught:
            await asyncio.wait_for(job, 30)
    assert caught.value.hint


@pytest.mark.parametrize("shell", SHELLS)
async def test_run_server_restarted_between_jobs_succeeds(
    shell: Shell, own_server: OwnServer
) -> None:
    async with opened(shell, own_server.url, timeout=60) as client:
        assert (await client.run(graphs.instant())).images
        own_server.kill()
        await asyncio.to_thread(own_server.start)
        assert (await client.run(graphs.instant())).images
