"""The worker over the real embedded engine: cancelling, failures, and coming back."""

from __future__ import annotations

import asyncio
import errno
import threading
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.client import ComfyWSClient
from comfy_ui.demo import DemoServer, Faults
from comfy_ui.errors import StorageError
from comfy_ui.jobs.job_service import JobService, open_jobs
from comfy_ui.storage.records import JobRequest, JobStatus, Phase
from tests.faults import catalogue
from tests.faults.proxy import Exchange, FaultProxy, Reset
from tests.jobs import support
from tests.jobs.support import end_of, submit_sleepy, until

# Cancelling


async def test_a_job_is_cancelled_while_it_waits_here(
    service: JobService, server: DemoServer
) -> None:
    first, second, third = [await submit_sleepy(service, nonce=n, seconds=0.5) for n in range(3)]
    assert await service.cancel(third.id, "ann")
    end = await end_of(service, third)
    assert (end.phase, end.error) == (Phase.CANCELLED, None)
    assert (await service.job(third.id, "ann")).prompt_id is None  # ComfyUI never heard of it
    assert (await end_of(service, first)).phase is Phase.SUCCEEDED
    assert (await end_of(service, second)).phase is Phase.SUCCEEDED


async def test_a_job_is_cancelled_while_it_waits_at_comfyui(service: JobService) -> None:
    first, second = [await submit_sleepy(service, nonce=n, seconds=0.6) for n in range(2)]
    await until(service, first, lambda s: s.phase is Phase.RUNNING)
    while (await service.active("ann"))[1].status is not JobStatus.SENT:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert await service.cancel(second.id, "ann")
    assert (await end_of(service, second)).phase is Phase.CANCELLED
    assert (await end_of(service, first)).phase is Phase.SUCCEEDED  # nobody else was hit


async def test_a_job_is_cancelled_while_it_runs_and_the_next_goes_on(service: JobService) -> None:
    first, second = [
        await submit_sleepy(service, nonce=n, seconds=s) for n, s in enumerate((20.0, 0.0))
    ]
    await until(service, first, lambda s: s.progress > 5)
    assert await service.cancel(first.id, "ann")
    end = await end_of(service, first)
    assert (end.phase, end.error, end.items) == (Phase.CANCELLED, None, ())
    assert (await end_of(service, second)).phase is Phase.SUCCEEDED
    assert not await service.cancel(first.id, "ann")


async def test_a_node_that_does_not_listen_shows_cancelling_until_it_is_over(
    service: JobService,
) -> None:
    job = await submit_sleepy(service, seconds=1.0, blocking=True)
    await until(service, job, lambda s: s.phase is Phase.RUNNING)
    await service.cancel(job.id, "ann")
    seen = [snapshot.phase async for snapshot in service.follow(job.id, "ann")]
    assert set(seen[:-1]) == {Phase.CANCELLING}
    assert seen[-1] in (Phase.CANCELLED, Phase.SUCCEEDED)


async def test_cancelling_right_after_submitting_ends_in_cancelled_whenever_it_lands(
    service: JobService, client: ComfyWSClient
) -> None:
    for n in range(10):
        job = await submit_sleepy(service, nonce=n, seconds=30.0)
        await asyncio.sleep(n * 0.002)
        assert await service.cancel(job.id, "ann")
        assert (await end_of(service, job)).phase is Phase.CANCELLED
    queue = await client.queue()
    assert not queue.running
    assert not queue.pending


@pytest.mark.slow
async def test_a_job_at_a_server_that_is_gone_can_be_got_rid_of(
    service: JobService, server: DemoServer
) -> None:
    job = await submit_sleepy(service, seconds=30.0)
    await until(service, job, lambda s: s.progress > 2)
    await asyncio.to_thread(server.kill)
    assert await service.cancel(job.id, "ann")
    end = await end_of(service, job, within_s=40)
    assert end.phase is Phase.CANCELLED
    assert end.error
    assert "could not be reached" in end.error.message


async def test_cancel_all_ends_what_is_mine_and_spares_the_others(service: JobService) -> None:
    mine = [await submit_sleepy(service, "ann", nonce=n, seconds=20.0) for n in range(4)]
    other = await submit_sleepy(service, "bob", nonce=99)
    assert await service.cancel_all("ann", waiting_only=True) >= 2
    assert await service.cancel_all("ann") >= 1
    for job in mine:
        assert (await end_of(service, job)).phase is Phase.CANCELLED
    assert (await end_of(service, other)).phase is Phase.SUCCEEDED


# Errors


async def test_a_failing_node_is_a_sentence_with_the_traceback_in_the_details(
    service: JobService, server: DemoServer
) -> None:
    server.faults = Faults(test_nodes=True, error_at="DemoSleep")
    job = await submit_sleepy(service)
    end = await end_of(service, job)
    assert (end.phase, end.items) == (Phase.FAILED, ())
    assert end.error
    assert end.error.message.startswith("Sleep")
    assert end.error.hint
    assert "Traceback" not in end.error.message
    assert (await service.job(job.id, "ann")).error == end.error
    assert (await service.snapshot(job.id, "ann")).error == end.error


async def test_out_of_memory_has_its_own_kind_and_advice(
    service: JobService, server: DemoServer
) -> None:
    server.faults = Faults(test_nodes=True, oom_at="DemoSleep")
    end = await end_of(service, await submit_sleepy(service))
    assert end.error
    assert end.error.kind == "OutOfMemoryError"
    assert "smaller" in end.error.hint


async def test_files_that_are_gone_at_the_server_are_said_to_be(
    service: JobService, server: DemoServer
) -> None:
    server.faults = Faults(test_nodes=True, missing_output=True)
    end = await end_of(service, await submit_sleepy(service))
    assert end.phase is Phase.FAILED
    assert end.error
    assert end.error.kind == "OutputMissingError"


async def test_a_server_that_died_and_forgot_the_job_makes_it_lost(
    service: JobService, server: DemoServer
) -> None:
    job = await submit_sleepy(service, seconds=30.0)
    await until(service, job, lambda s: s.progress > 2)
    await server.restart()
    end = await end_of(service, job, within_s=60)
    assert end.phase is Phase.LOST
    assert end.error
    assert end.error.kind == "JobLostError"
    assert end.error.hint


async def test_a_connection_that_is_down_shows_reconnecting_and_then_goes_on(
    server: DemoServer, tmp_path: Path
) -> None:
    async with (
        FaultProxy(server.url) as proxy,
        ComfyWSClient(url=proxy.url) as client,
        open_jobs(client=client, data_dir=tmp_path) as service,
    ):
        job = await submit_sleepy(service, seconds=2.5)
        await until(service, job, lambda s: s.progress > 2)
        await proxy.refuse_for(1.5)
        seen = [snapshot async for snapshot in service.follow(job.id, "ann")]
    assert Phase.RECONNECTING in {snapshot.phase for snapshot in seen}
    assert seen[-1].phase is Phase.SUCCEEDED
    assert len(seen[-1].items) == 1
    assert [s.progress for s in seen] == sorted(s.progress for s in seen)


async def test_a_connection_that_goes_down_while_files_are_fetched_loses_none(
    server: DemoServer, tmp_path: Path
) -> None:
    async with (
        FaultProxy(server.url) as proxy,
        ComfyWSClient(url=proxy.url) as client,
        open_jobs(client=client, data_dir=tmp_path) as service,
    ):
        proxy.arm(catalogue.truncated_body, phase="fetch", times=2)
        end = await end_of(service, await submit_sleepy(service))
        assert end.phase is Phase.SUCCEEDED
        assert {i.filename: i.path.read_bytes() for i in end.items} == support.engine_files(server)


@pytest.mark.slow
async def test_what_came_home_before_a_cancel_is_kept_and_counted(
    server: DemoServer, tmp_path: Path
) -> None:
    graph = support.sleepy_graph()
    graph["1"]["inputs"]["batch_size"] = 2
    fetched = 0

    async def only_the_first(x: Exchange) -> None:
        nonlocal fetched
        fetched += 1
        if fetched > 1:
            raise Reset
        await x.answer(await x.forward())

    async with (
        FaultProxy(server.url) as proxy,
        ComfyWSClient(url=proxy.url) as client,
        open_jobs(client=client, data_dir=tmp_path) as service,
    ):
        proxy.arm(only_the_first, phase="fetch", times=catalogue.FOREVER)
        job = await service.submit(JobRequest(user_id="ann", preset="p", graph=graph))
        await until(service, job, lambda s: s.phase is Phase.RECONNECTING)
        await service.cancel(job.id, "ann")
        end = await end_of(service, job)
        assert (end.phase, end.error, len(end.items)) == (Phase.CANCELLED, None, 1)
        (item,) = await service.library.results("ann")
        assert (await service.library.usage("ann")).used_bytes == item.size_bytes
        named = {item.path for item in end.items}
        assert set((tmp_path / "files").rglob("*.*")) == named


async def test_a_job_submitted_while_comfyui_is_away_runs_when_it_is_back(
    service: JobService, server: DemoServer
) -> None:
    await asyncio.to_thread(server.kill)
    job = await submit_sleepy(service)
    gone = await until(service, job, lambda s: s.phase is Phase.RECONNECTING)
    assert gone.phase is Phase.RECONNECTING
    assert gone.error
    other = await submit_sleepy(service, nonce=1)
    await service.cancel(other.id, "ann")
    assert (await end_of(service, other)).phase is Phase.CANCELLED  # nobody needs to be asked
    await asyncio.to_thread(server.start)
    assert (await end_of(service, job, within_s=60)).phase is Phase.SUCCEEDED


class _FullDisk:
    """A client whose downloads find no room, as long as ``full``; else the real one."""

    def __init__(self, client: ComfyWSClient) -> None:
        self._client = client
        self.full = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def download(self, file: Any, to: Path | None = None) -> Any:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return await self._client.download(file, to)


async def test_a_full_disk_is_told_and_the_result_is_fetched_when_there_is_room(
    client: ComfyWSClient, server: DemoServer, tmp_path: Path
) -> None:
    disk: Any = _FullDisk(client)
    async with open_jobs(client=disk, data_dir=tmp_path) as service:
        job = await submit_sleepy(service)
        end = await end_of(service, job)
        assert end.phase is Phase.FAILED
        assert end.error
        assert end.error.kind == "StorageError"
        assert "space" in end.error.hint
        assert str(tmp_path) not in f"{end.error}"  # a visitor learns no paths
        assert await service.retry_fetch(job.id, "ann")
        assert (await end_of(service, job)).phase is Phase.FAILED
        disk.full = False
        assert await service.retry_fetch(job.id, "ann")
        (item,) = (await end_of(service, job)).items
        assert item.path.read_bytes() == support.engine_files(server)[item.filename]
        assert not await service.retry_fetch(job.id, "ann")


class _Stumbles:
    """A client with a fault of our own in it, the first time that it is waited on."""

    def __init__(self, client: ComfyWSClient) -> None:
        self._client = client
        self._stumbled = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def wait_for_completion(self, prompt_id: str, **options: Any) -> Any:
        if not self._stumbled:
            self._stumbled = True
            raise RuntimeError("a bug")
        return await self._client.wait_for_completion(prompt_id, **options)


async def test_a_fault_of_our_own_costs_neither_the_other_jobs_nor_the_result(
    client: ComfyWSClient, tmp_path: Path, server: DemoServer
) -> None:
    stumbling: Any = _Stumbles(client)
    async with open_jobs(client=stumbling, data_dir=tmp_path) as service:
        first, second = [await submit_sleepy(service, nonce=n) for n in range(2)]
        end = await end_of(service, first)
        assert end.phase is Phase.FAILED
        assert end.error
        assert "bug" not in end.error.message
        assert "RuntimeError: a bug" in end.error.details
        assert (await end_of(service, second)).phase is Phase.SUCCEEDED
        assert await service.retry_fetch(first.id, "ann")
        assert (await end_of(service, first)).phase is Phase.SUCCEEDED
    assert len(support.engine_files(server)) == 2  # it was not run again


async def test_a_restart_fetches_what_a_full_disk_kept_out(
    client: ComfyWSClient, tmp_path: Path
) -> None:
    disk: Any = _FullDisk(client)
    async with open_jobs(client=disk, data_dir=tmp_path) as service:
        job = await submit_sleepy(service)
        assert (await end_of(service, job)).phase is Phase.FAILED
    async with open_jobs(client=client, data_dir=tmp_path) as service:
        assert len((await end_of(service, job)).items) == 1


# Leaving and coming back


@pytest.mark.parametrize("away_s", [0.0, 1.2])
async def test_jobs_are_found_again_after_a_restart_running_queued_waiting_or_finished(
    client: ComfyWSClient, server: DemoServer, tmp_path: Path, away_s: float
) -> None:
    async with open_jobs(client=client, data_dir=tmp_path) as service:
        jobs = [await submit_sleepy(service, nonce=n, seconds=0.4) for n in range(4)]
        await until(service, jobs[0], lambda s: s.progress > 2)
    await asyncio.sleep(away_s)
    async with (
        ComfyWSClient(url=server.url) as other,
        open_jobs(client=other, data_dir=tmp_path) as service,
    ):
        ends = [await end_of(service, job) for job in jobs]
        assert [(end.phase, len(end.items)) for end in ends] == [(Phase.SUCCEEDED, 1)] * 4
        assert len(await service.library.results("ann")) == 4
    assert len(support.engine_files(server)) == 4  # none ran twice


async def test_a_job_that_was_claimed_and_never_sent_is_sent_after_a_restart(
    client: ComfyWSClient, tmp_path: Path
) -> None:
    async with support.open_queue(tmp_path) as queue:
        job = await queue.submit(support.a_job(graph=support.sleepy_graph()), front=False)
        await queue.claim("w", limit=1)
    async with open_jobs(client=client, data_dir=tmp_path) as service:
        assert (await end_of(service, job)).phase is Phase.SUCCEEDED


@pytest.mark.parametrize("posted", [True, False])
async def test_a_job_cut_off_while_it_was_sent_waits_for_a_login_and_runs_once(
    client: ComfyWSClient, server: DemoServer, tmp_path: Path, *, posted: bool
) -> None:
    graph = support.sleepy_graph()
    async with support.open_queue(tmp_path) as queue:
        job = await queue.submit(support.a_job(graph=graph), front=False)
        ((claimed, _),) = await queue.claim("w", limit=1)
    if posted:
        await client.queue_prompt(graph, prompt_id=claimed.prompt_id)
    async with FaultProxy(server.url) as proxy, ComfyWSClient(url=proxy.url) as guarded:
        proxy.arm(catalogue.status(401, "Unauthorized"), phase="run", times=3)
        async with open_jobs(client=guarded, data_dir=tmp_path) as service:
            waits = await until(service, job, lambda s: s.phase is not Phase.QUEUED)
            assert waits.phase is Phase.RECONNECTING
            assert waits.error
            assert waits.error.kind == "AuthenticationError"
            assert (await end_of(service, job)).phase is Phase.SUCCEEDED
    assert len(support.engine_files(server)) == 1


async def test_a_job_lost_while_we_were_away_is_said_to_be(
    client: ComfyWSClient, server: DemoServer, tmp_path: Path
) -> None:
    async with open_jobs(client=client, data_dir=tmp_path) as service:
        job = await submit_sleepy(service, seconds=30.0)
        await until(service, job, lambda s: s.progress > 2)
    await server.restart()
    async with open_jobs(client=client, data_dir=tmp_path) as service:
        end = await end_of(service, job, within_s=60)
        assert end.phase is Phase.LOST
        assert end.error


async def test_closing_leaves_no_task_and_no_thread_and_is_quick(
    client: ComfyWSClient, tmp_path: Path
) -> None:
    stack = AsyncExitStack()
    service = await stack.enter_async_context(open_jobs(client=client, data_dir=tmp_path))
    job = await submit_sleepy(service, seconds=30.0)
    await until(service, job, lambda s: s.progress > 2)
    follower = asyncio.create_task(support.last(service.follow(job.id, "ann")))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    await stack.aclose()
    assert time.monotonic() - began < 2.0
    assert not (await follower).terminal  # the job goes on; only we leave
    names = {task.get_coro().__qualname__ for task in asyncio.all_tasks()}  # type: ignore[union-attr]
    assert not [
        name for name in names if name.startswith(("Worker", "JobService", "LibraryService"))
    ]
    assert not [t.name for t in threading.enumerate() if t.name.startswith("comfy-ui")]
    await stack.aclose()
    with pytest.raises(StorageError):
        await service.library.results("ann")
