"""The worker over the demo engine: cancelling, failures and restarts."""

from __future__ import annotations

import asyncio
import errno
import threading
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from comfy_ui.client import ComfyWSClient
from comfy_ui.demo import DemoServer, Faults
from comfy_ui.errors import StorageError
from comfy_ui.jobs.job_service import JobService, open_jobs
from comfy_ui.jobs.workers.active_job import Flag
from comfy_ui.jobs.workers.worker import Worker
from comfy_ui.storage.records import JobRequest, JobStatus, Phase
from tests.faults import catalogue
from tests.faults.proxy import Exchange, FaultProxy, Reset
from tests.jobs import support
from tests.jobs.support import end_of, submit_sleepy, until

# Cancelling


async def test_cancel_job_waiting_locally_never_reaches_server(
    service: JobService, server: DemoServer
) -> None:
    first, second, third = [await submit_sleepy(service, nonce=n, seconds=0.5) for n in range(3)]
    assert await service.cancel(third.id, "ann")
    end = await end_of(service, third)
    assert (end.phase, end.error) == (Phase.CANCELLED, None)
    assert (await service.job(third.id, "ann")).prompt_id is None  # it was never sent
    assert (await end_of(service, first)).phase is Phase.SUCCEEDED
    assert (await end_of(service, second)).phase is Phase.SUCCEEDED


async def test_cancel_job_pending_at_server_leaves_running_job(service: JobService) -> None:
    first, second = [await submit_sleepy(service, nonce=n, seconds=0.6) for n in range(2)]
    await until(service, first, lambda s: s.phase is Phase.RUNNING)
    while (await service.active("ann"))[1].status is not JobStatus.SENT:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert await service.cancel(second.id, "ann")
    assert (await end_of(service, second)).phase is Phase.CANCELLED
    assert (await end_of(service, first)).phase is Phase.SUCCEEDED  # the other job is not cancelled


async def test_cancel_running_job_lets_next_one_run(service: JobService) -> None:
    first, second = [
        await submit_sleepy(service, nonce=n, seconds=s) for n, s in enumerate((20.0, 0.0))
    ]
    await until(service, first, lambda s: s.progress > 5)
    assert await service.cancel(first.id, "ann")
    end = await end_of(service, first)
    assert (end.phase, end.error, end.items) == (Phase.CANCELLED, None, ())
    assert (await end_of(service, second)).phase is Phase.SUCCEEDED
    assert not await service.cancel(first.id, "ann")


async def test_cancel_uninterruptible_node_shows_cancelling_until_end(
    service: JobService,
) -> None:
    job = await submit_sleepy(service, seconds=1.0, blocking=True)
    await until(service, job, lambda s: s.phase is Phase.RUNNING)
    await service.cancel(job.id, "ann")
    seen = [snapshot.phase async for snapshot in service.follow(job.id, "ann")]
    assert set(seen[:-1]) == {Phase.CANCELLING}
    assert seen[-1] in (Phase.CANCELLED, Phase.SUCCEEDED)


async def test_cancel_at_any_moment_after_submit_ends_as_cancelled(
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
async def test_cancel_job_of_unreachable_server_ends_with_error(
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


async def test_cancel_all_cancels_own_jobs_only(service: JobService) -> None:
    mine = [await submit_sleepy(service, "ann", nonce=n, seconds=20.0) for n in range(4)]
    other = await submit_sleepy(service, "bob", nonce=99)
    assert await service.cancel_all("ann", waiting_only=True) >= 2
    assert await service.cancel_all("ann") >= 1
    for job in mine:
        assert (await end_of(service, job)).phase is Phase.CANCELLED
    assert (await end_of(service, other)).phase is Phase.SUCCEEDED


async def test_cancel_all_waiting_only_includes_jobs_queued_at_comfyui(
    service: JobService, client: ComfyWSClient
) -> None:
    running, at_server, waiting = [
        await submit_sleepy(service, nonce=n, seconds=30.0) for n in range(3)
    ]
    await until(service, running, lambda s: s.elapsed_s > 0)
    while (await service.job(at_server.id, "ann")).status is not JobStatus.SENT:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert await service.cancel_all("ann", waiting_only=True) == 2
    for job in (at_server, waiting):
        assert (await end_of(service, job)).phase is Phase.CANCELLED
    queue = await client.queue()
    assert (len(queue.running), len(queue.pending)) == (1, 0)
    assert (await service.snapshot(running.id, "ann")).phase is Phase.RUNNING
    await service.cancel_all("ann")


# Errors


async def test_job_failed_node_has_short_message_without_traceback(
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


async def test_job_out_of_memory_has_own_kind_and_hint(
    service: JobService, server: DemoServer
) -> None:
    server.faults = Faults(test_nodes=True, oom_at="DemoSleep")
    end = await end_of(service, await submit_sleepy(service))
    assert end.error
    assert end.error.kind == "OutOfMemoryError"
    assert "smaller" in end.error.hint


async def test_job_missing_output_file_fails_with_kind(
    service: JobService, server: DemoServer
) -> None:
    server.faults = Faults(test_nodes=True, missing_output=True)
    end = await end_of(service, await submit_sleepy(service))
    assert end.phase is Phase.FAILED
    assert end.error
    assert end.error.kind == "OutputMissingError"


async def test_job_connection_down_shows_reconnecting_then_succeeds(
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


async def test_job_connection_cut_during_download_keeps_all_files(
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
async def test_cancel_during_download_keeps_and_counts_stored_files(
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


async def endless_file(x: Exchange) -> None:
    await x.connection.send(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\n")
    while True:
        await x.connection.send(bytes(65536))
        await asyncio.sleep(0.001)


async def test_cancel_during_endless_download_ends_it_at_once(
    server: DemoServer, tmp_path: Path
) -> None:
    async with (
        FaultProxy(server.url) as proxy,
        ComfyWSClient(url=proxy.url) as client,
        open_jobs(client=client, data_dir=tmp_path) as service,
    ):
        arriving = asyncio.Event()

        async def fault(x: Exchange) -> None:
            arriving.set()
            await endless_file(x)

        proxy.arm(fault, phase="fetch", times=catalogue.FOREVER)
        job = await submit_sleepy(service)
        await arriving.wait()
        await service.cancel(job.id, "ann")
        end = await end_of(service, job, within_s=5)
        assert (end.phase, end.error) == (Phase.CANCELLED, None)
        assert not any((tmp_path / "incoming").iterdir())


async def test_job_endless_file_ends_at_quota_of_user(server: DemoServer, tmp_path: Path) -> None:
    async with (
        FaultProxy(server.url) as proxy,
        ComfyWSClient(url=proxy.url) as client,
        open_jobs(client=client, data_dir=tmp_path, limit_bytes=lambda _: 2**20) as service,
    ):
        proxy.arm(endless_file, phase="fetch", times=catalogue.FOREVER)
        end = await end_of(service, await submit_sleepy(service), within_s=10)
        assert end.error is not None
        assert "GET /view is larger than 0.00105 GB" in end.error.message
        assert not any((tmp_path / "incoming").iterdir())


async def test_job_submitted_while_server_is_offline_runs_on_return(
    service: JobService, server: DemoServer
) -> None:
    await asyncio.to_thread(server.kill)
    job = await submit_sleepy(service)
    gone = await until(service, job, lambda s: s.phase is Phase.RECONNECTING)
    assert gone.phase is Phase.RECONNECTING
    assert gone.error
    other = await submit_sleepy(service, nonce=1)
    await service.cancel(other.id, "ann")
    assert (await end_of(service, other)).phase is Phase.CANCELLED  # without the server
    await asyncio.to_thread(server.start)
    assert (await end_of(service, job, within_s=60)).phase is Phase.SUCCEEDED


class _FullDisk:
    """A client whose downloads fail for lack of space while ``full`` is set."""

    def __init__(self, client: ComfyWSClient) -> None:
        self._client = client
        self.full = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def receive(self, file: Any, target: Any) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        await self._client.receive(file, target)


async def test_job_full_disk_fails_and_retry_fetch_stores_result(
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
        assert str(tmp_path) not in f"{end.error}"  # no paths are shown to users
        assert await service.retry_fetch(job.id, "ann")
        assert (await end_of(service, job)).phase is Phase.FAILED
        disk.full = False
        assert await service.retry_fetch(job.id, "ann")
        (item,) = (await end_of(service, job)).items
        assert item.path.read_bytes() == support.engine_files(server)[item.filename]
        assert not await service.retry_fetch(job.id, "ann")


class _SlowFirstPost:
    """A client whose first post takes longer than those after it."""

    def __init__(self, client: ComfyWSClient) -> None:
        self._client = client
        self._delay_s = 0.3
        self.arrived: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def queue_prompt(self, *arguments: Any, **options: Any) -> str:
        delay_s, self._delay_s = self._delay_s, 0.0
        await asyncio.sleep(delay_s)
        prompt_id = await self._client.queue_prompt(*arguments, **options)
        self.arrived.append(prompt_id)
        return prompt_id


async def test_jobs_claimed_together_arrive_at_the_server_in_order(
    client: ComfyWSClient, tmp_path: Path
) -> None:
    slow: Any = _SlowFirstPost(client)
    async with open_jobs(client=slow, data_dir=tmp_path) as service:
        jobs = [await submit_sleepy(service, nonce=n) for n in range(2)]
        for job in jobs:
            await end_of(service, job)
        ends = [await service.job(job.id, "ann") for job in jobs]
    assert slow.arrived == [job.prompt_id for job in ends]


class _FailsOnce:
    """A client whose first wait raises, as a bug would."""

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


async def test_worker_internal_error_fails_one_job_and_retry_fetch_recovers(
    client: ComfyWSClient, tmp_path: Path, server: DemoServer
) -> None:
    failing: Any = _FailsOnce(client)
    async with open_jobs(client=failing, data_dir=tmp_path) as service:
        jobs = [await submit_sleepy(service, nonce=n) for n in range(2)]
        ends = [(job, await end_of(service, job)) for job in jobs]
        ((failed, end),) = [(job, end) for job, end in ends if end.phase is Phase.FAILED]
        assert {end.phase for _, end in ends} == {Phase.FAILED, Phase.SUCCEEDED}
        assert end.error
        assert "bug" not in end.error.message
        assert "RuntimeError: a bug" in end.error.details
        assert await service.retry_fetch(failed.id, "ann")
        assert (await end_of(service, failed)).phase is Phase.SUCCEEDED
    assert len(support.engine_files(server)) == 2  # it was not run again


async def test_restart_fetches_result_refused_by_full_disk(
    client: ComfyWSClient, tmp_path: Path
) -> None:
    disk: Any = _FullDisk(client)
    async with open_jobs(client=disk, data_dir=tmp_path) as service:
        job = await submit_sleepy(service)
        assert (await end_of(service, job)).phase is Phase.FAILED
    async with open_jobs(client=client, data_dir=tmp_path) as service:
        assert len((await end_of(service, job)).items) == 1


# Restarts


@pytest.mark.parametrize("away_s", [0.0, 1.2])
async def test_restart_resumes_running_pending_waiting_and_finished_jobs(
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


async def test_restart_sends_claimed_job_that_was_not_sent(
    client: ComfyWSClient, tmp_path: Path
) -> None:
    async with support.open_queue(tmp_path) as queue:
        job = await queue.submit(support.a_job(graph=support.sleepy_graph()), front=False)
        await queue.claim("w", limit=1)
    async with open_jobs(client=client, data_dir=tmp_path) as service:
        assert (await end_of(service, job)).phase is Phase.SUCCEEDED


@pytest.mark.parametrize("posted", [True, False])
async def test_restart_job_interrupted_while_sending_waits_for_login_and_runs_once(
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


async def test_close_leaves_no_task_or_thread(client: ComfyWSClient, tmp_path: Path) -> None:
    stack = AsyncExitStack()
    service = await stack.enter_async_context(open_jobs(client=client, data_dir=tmp_path))
    job = await submit_sleepy(service, seconds=30.0)
    await until(service, job, lambda s: s.progress > 2)
    follower = asyncio.create_task(support.last(service.follow(job.id, "ann")))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    await stack.aclose()
    assert time.monotonic() - began < 2.0
    assert not (await follower).terminal  # the job continues without this process
    names = {task.get_coro().__qualname__ for task in asyncio.all_tasks()}  # type: ignore[union-attr]
    assert not [
        name for name in names if name.startswith(("Worker", "JobService", "LibraryService"))
    ]
    assert not [t.name for t in threading.enumerate() if t.name.startswith("comfy-ui")]
    await stack.aclose()
    with pytest.raises(StorageError):
        await service.library.results("ann")


async def test_wait_for_work_news_during_a_claim_ends_the_next_wait() -> None:
    news = asyncio.Event()

    async def wait_for_work(_worker: str, *, timeout_s: float) -> None:
        async with asyncio.timeout(timeout_s):
            await news.wait()
        news.clear()

    worker: Any = Worker.__new__(Worker)
    worker._queue = SimpleNamespace(wait_for_work=wait_for_work)
    worker._server = SimpleNamespace(name="gpu")
    worker._slot_free, worker._tasks, worker._work = Flag(), set(), None
    worker._slot_free.set()
    await worker._wait_for_work()
    worker._slot_free.clear()
    news.set()
    while news.is_set():  # noqa: ASYNC110 -- as long as a claim takes
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await worker._wait_for_work()


# Servers that run several jobs at a time


@pytest.mark.parametrize(("fragment", "held"), [("", 2), ("#jobs=3", 3), ("#jobs=1", 1)])
async def test_worker_holds_as_many_jobs_at_its_server_as_the_address_says(
    server: DemoServer, tmp_path: Path, fragment: str, held: int
) -> None:
    async with (
        ComfyWSClient(url=server.url + fragment) as client,
        open_jobs(client=client, data_dir=tmp_path / "data") as service,
    ):

        async def count() -> int:
            snapshot = await client.queue()
            return len(snapshot.running) + len(snapshot.pending)

        jobs = [await submit_sleepy(service, nonce=n, seconds=60) for n in range(5)]
        while await count() < held:  # noqa: ASYNC110 -- tests may poll
            await asyncio.sleep(0.02)
        await until(service, jobs[0], lambda s: s.phase is Phase.RUNNING)
        assert await count() == held
        await service.cancel_all("ann")


async def test_job_that_a_full_server_refuses_waits_and_runs_later(
    server: DemoServer, client: ComfyWSClient, service: JobService
) -> None:
    server.faults = replace(server.faults, max_jobs=1)
    first = await submit_sleepy(service, nonce=1, seconds=60)
    await until(service, first, lambda s: s.phase is Phase.RUNNING)
    second = await submit_sleepy(service, nonce=2)
    waiting = await until(service, second, lambda s: s.error is not None)
    assert waiting.phase is Phase.QUEUED
    assert waiting.error is not None
    assert "1 jobs at a time, by your plan" in waiting.error.message
    third = await submit_sleepy(service, nonce=3)
    assert await service.cancel(second.id, "ann")
    assert (await end_of(service, second)).phase is Phase.CANCELLED
    await service.cancel(first.id, "ann")
    end = await end_of(service, third)
    assert (end.phase, end.error) == (Phase.SUCCEEDED, None)
    assert len(await client.recent()) == 2, "the second job has never been there"
