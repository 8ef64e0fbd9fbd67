"""A full disk, a ComfyUI with other nodes and a clock that jumps: reported, nothing lost."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from comfy_ui.client import ComfyWSClient
from comfy_ui.demo import DemoServer, Faults
from comfy_ui.errors import MissingNodesError, StorageError
from comfy_ui.jobs.job_service import JobService, open_jobs
from comfy_ui.storage.records import JobStatus, Phase
from tests.jobs import support
from tests.jobs.support import end_of, submit_sleepy, until


async def refuse_writes(service: JobService, *, refuse: bool) -> None:
    """Make SQLite reject every write, as on a full disk."""
    await service._store._database.run(lambda c: c.execute(f"PRAGMA query_only = {int(refuse)}"))


async def test_service_full_disk_rejects_changes_and_keeps_state(service: JobService) -> None:
    (item,) = (await end_of(service, await submit_sleepy(service))).items
    await refuse_writes(service, refuse=True)
    for attempt in (
        submit_sleepy(service, nonce=1),
        service.library.star(item.id, "ann"),
        service.library.delete([item.id], "ann"),
        service.repeat(item.job_id, "ann"),
    ):
        with pytest.raises(StorageError) as caught:
            await attempt
        assert caught.value.message
    assert await service.active("ann") == []
    assert await service.library.results("ann") == [item]
    await refuse_writes(service, refuse=False)
    assert (await end_of(service, await submit_sleepy(service, nonce=1))).phase is Phase.SUCCEEDED


async def test_job_full_disk_while_running_fails_and_is_fetched_on_retry(
    service: JobService, server: DemoServer
) -> None:
    job = await submit_sleepy(service, seconds=0.5)
    await until(service, job, lambda s: s.phase is Phase.RUNNING)
    await refuse_writes(service, refuse=True)
    end = await end_of(service, job)
    assert end.phase is Phase.FAILED
    assert end.error is not None
    assert end.error.kind == "StorageError"
    assert not await service.library.results("ann")
    await refuse_writes(service, refuse=False)
    assert await service.retry_fetch(job.id, "ann")
    end = await end_of(service, job)
    assert end.phase is Phase.SUCCEEDED
    assert {i.filename: i.path.read_bytes() for i in end.items} == support.engine_files(server)


async def test_jobs_ended_on_a_full_disk_stay_visible_and_are_fetched_once(
    service: JobService,
) -> None:
    jobs = [await submit_sleepy(service, nonce=n, seconds=1.0) for n in range(2)]
    await until(service, jobs[0], lambda s: s.phase is Phase.RUNNING)
    async with asyncio.timeout(10):
        while (await service.job(jobs[1].id, "ann")).prompt_id is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await refuse_writes(service, refuse=True)
    for job in jobs:
        assert (await end_of(service, job)).phase is Phase.FAILED

    async def listed() -> set[tuple[str, str]]:
        return {(job.id, job.status) for job in await service.recent("ann")}

    unfetched = {(job.id, JobStatus.UNFETCHED) for job in jobs}
    assert await listed() == unfetched
    assert {(await service.snapshot(job.id, "ann")).phase for job in jobs} == {Phase.FAILED}
    await refuse_writes(service, refuse=False)
    last = await submit_sleepy(service, nonce=2)  # its claim stores the others' ends
    assert (await end_of(service, last)).phase is Phase.SUCCEEDED
    assert await service._queue.unsaved("ann") == []
    assert await listed() == unfetched | {(last.id, JobStatus.SUCCEEDED)}
    for job in jobs:
        assert await service.retry_fetch(job.id, "ann")
        assert (await end_of(service, job)).phase is Phase.SUCCEEDED
    assert len(await service.library.results("ann")) == 3
    assert len(await service.recent("ann")) == 3


async def test_job_full_disk_until_shutdown_is_finished_on_restart(
    client: ComfyWSClient, server: DemoServer, tmp_path: Path
) -> None:
    async with open_jobs(client=client, data_dir=tmp_path) as service:
        job = await submit_sleepy(service, seconds=0.3)
        await until(service, job, lambda s: s.phase is Phase.RUNNING)
        await refuse_writes(service, refuse=True)
        assert (await end_of(service, job)).phase is Phase.FAILED
    async with open_jobs(client=client, data_dir=tmp_path) as service:
        end = await end_of(service, job)
        assert end.phase is Phase.SUCCEEDED
    assert {i.filename: i.path.read_bytes() for i in end.items} == support.engine_files(server)


async def test_job_server_restarted_without_its_nodes_ends_with_hint(
    service: JobService, server: DemoServer
) -> None:
    job = await submit_sleepy(service, seconds=30.0)
    waiting = [await submit_sleepy(service, nonce=n) for n in (1, 2)]
    await until(service, job, lambda s: s.progress > 2)
    server.faults = Faults()  # the nodes of these jobs are not part of it
    await server.restart()
    for one in (job, *waiting):
        end = await end_of(service, one, within_s=60)
        assert end.phase in (Phase.LOST, Phase.FAILED)
        assert end.error is not None
        assert end.error.hint
    service._servers[0]._object_info = (None, 0.0)  # a minute later
    with pytest.raises(MissingNodesError, match="DemoSleep"):
        await submit_sleepy(service, nonce=3)


@pytest.mark.parametrize("jump_s", [-400 * 86400.0, 400 * 86400.0])
async def test_service_clock_jump_keeps_jobs_and_order(service: JobService, jump_s: float) -> None:
    first = (await end_of(service, await submit_sleepy(service))).items[0]
    job = await submit_sleepy(service, nonce=1, seconds=0.4)
    # Long enough that the first one's picture has been fetched before this one's can be.
    waiting = await submit_sleepy(service, nonce=2, seconds=1.0)
    await until(service, job, lambda s: s.phase is Phase.RUNNING)
    real = time.time
    service._queue._unfinished.now = lambda: real() + jump_s
    ends = [await end_of(service, one) for one in (job, waiting)]
    assert [end.phase for end in ends] == [Phase.SUCCEEDED] * 2
    assert all(end.elapsed_s >= 0 for end in ends)
    service._queue._unfinished.now = real
    last = (await end_of(service, await submit_sleepy(service, nonce=3))).items[0]
    newest_first = [last, *(end.items[0] for end in reversed(ends)), first]
    assert await service.library.results("ann") == newest_first
    assert (await service.job(job.id, "ann")).status is JobStatus.SUCCEEDED
