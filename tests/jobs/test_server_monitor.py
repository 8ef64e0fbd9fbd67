"""Several servers: each job runs on a capable one, and jobs of a dead one move to another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.client import ComfyWSClient
from comfy_ui.client.server_check import ServerCheck
from comfy_ui.demo import DemoServer, Faults
from comfy_ui.errors import ComfyUIConnectionError
from comfy_ui.jobs.job_service import JobService, open_jobs
from comfy_ui.jobs.placement import ServerOffer
from comfy_ui.jobs.workers.server_monitor import ServerMonitor
from comfy_ui.storage.records import Job, JobRequest, JobStatus, Phase
from tests.faults import catalogue
from tests.faults.proxy import FaultProxy
from tests.jobs import support
from tests.jobs.support import end_of, submit_sleepy, until
from tests.web.support import picture_bytes

SERVER_PATIENCE_S = 0.6


class SilentOrOffline:
    """A server and a queue for the monitor alone."""

    parallel_jobs, lists_nodes = None, True

    def __init__(self, *, silent: bool) -> None:
        self.error = ComfyUIConnectionError("No answer.")
        self.error.silent = silent
        self.name, self.online = "gpu", True

    async def look(self) -> ServerCheck:
        return ServerCheck(at=0.0, error=self.error)

    async def announce(self, worker: str, offer: ServerOffer) -> None:
        pass


@pytest.mark.parametrize(
    ("silent", "prompt_ids", "is_gone"),
    [(False, {"a"}, True), (True, {"a"}, False), (True, set(), True)],
)
async def test_server_monitor_silent_server_with_jobs_is_not_gone(
    silent: bool, prompt_ids: set[str], is_gone: bool
) -> None:
    stub: Any = SilentOrOffline(silent=silent)
    monitor = ServerMonitor(stub, stub, patience_s=0.05, own_prompt_ids=lambda: prompt_ids)
    gone = asyncio.Event()
    running = asyncio.create_task(monitor.run(gone.set))
    await asyncio.sleep(0.25)
    assert gone.is_set() is is_gone
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def engines() -> Iterator[list[DemoServer]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                DemoServer(speed="instant", faults=Faults(test_nodes=True)).in_thread()
            )
            for _ in range(2)
        ]


@asynccontextmanager
async def over(urls: list[str], folder: Path, **options: Any) -> AsyncIterator[JobService]:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(ComfyWSClient(url=url)) for url in urls]
        yield await stack.enter_async_context(
            open_jobs(
                client=clients[0],
                others=clients[1:],
                data_dir=folder,
                **{"patience_s": SERVER_PATIENCE_S, **options},
            )
        )


def urls(engines: list[DemoServer]) -> list[str]:
    return [engine.url for engine in engines]


def in_service(service: JobService, number: int) -> bool:
    """Return whether the server is online and has sent its offer."""
    offer = service._queue._unfinished.servers._offers[service._servers[number].name]
    return offer is not None and offer.online and offer.classes is not None


async def eventually(holds: Callable[[], Any], *, within_s: float = 30.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def sent(service: JobService, job: Job) -> Job:
    async with asyncio.timeout(20):
        while (stored := await service.job(job.id, job.user_id)).status is not JobStatus.SENT:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return stored


async def test_jobs_are_shared_between_servers(engines: list[DemoServer], tmp_path: Path) -> None:
    async with over(urls(engines), tmp_path) as service:
        jobs = [await submit_sleepy(service, nonce=n, seconds=0.3) for n in range(8)]
        ends = [await end_of(service, job) for job in jobs]
    assert {end.phase for end in ends} == {Phase.SUCCEEDED}
    results = {item.filename: item.path.read_bytes() for end in ends for item in end.items}
    each = [support.engine_files(engine) for engine in engines]
    assert results == each[0] | each[1]
    assert len(each[0]) + len(each[1]) == 8
    assert all(each)


async def test_jobs_of_killed_server_finish_on_other_server(
    engines: list[DemoServer], tmp_path: Path
) -> None:
    first, second = engines
    async with over(urls(engines), tmp_path) as service:
        jobs = [await submit_sleepy(service, nonce=n, seconds=1.0) for n in range(4)]
        names = {(await sent(service, job)).server for job in jobs}
        assert len(names) == 2
        await asyncio.to_thread(first.kill)
        ends = [await end_of(service, job, within_s=60) for job in jobs]
        assert [(end.phase, end.error) for end in ends] == [(Phase.SUCCEEDED, None)] * 4
        assert len({(await service.job(job.id, "ann")).server for job in jobs}) == 1
    results = {item.filename: item.path.read_bytes() for end in ends for item in end.items}
    assert results == support.engine_files(second)


async def test_jobs_submitted_while_server_is_offline_run_on_other_server(
    engines: list[DemoServer], tmp_path: Path
) -> None:
    await asyncio.to_thread(engines[0].kill)
    async with over(urls(engines), tmp_path, patience_s=600.0) as service:
        jobs = [await submit_sleepy(service, nonce=n) for n in range(4)]
        for job in jobs:
            assert (await end_of(service, job)).phase is Phase.SUCCEEDED
        await asyncio.to_thread(engines[0].start)
        await eventually(lambda: in_service(service, 0))
        more = [await submit_sleepy(service, nonce=n, seconds=0.5) for n in range(10, 14)]
        for job in more:
            assert (await end_of(service, job)).phase is Phase.SUCCEEDED
    assert support.engine_files(engines[0])  # used again


async def test_job_never_goes_to_server_without_its_node(tmp_path: Path) -> None:
    with (
        DemoServer(speed="instant").in_thread() as lacking,
        DemoServer(speed="instant", faults=Faults(test_nodes=True)).in_thread() as able,
    ):
        async with (
            FaultProxy(lacking.url) as watched,
            over([watched.url, able.url], tmp_path) as service,
        ):
            jobs = [await submit_sleepy(service, nonce=n) for n in range(6)]
            for job in jobs:
                assert (await end_of(service, job)).phase is Phase.SUCCEEDED
            assert not [line for line in watched.seen if line.startswith("POST /prompt")]
        assert len(support.engine_files(able)) == 6


@pytest.mark.slow
async def test_server_reconnected_after_cut_stops_its_copy_of_moved_job(
    engines: list[DemoServer], tmp_path: Path
) -> None:
    first, second = engines
    async with (
        FaultProxy(first.url) as cable,
        ComfyWSClient(url=first.url) as direct,
        over([cable.url, second.url], tmp_path) as service,
    ):
        await asyncio.to_thread(second.kill)
        await eventually(lambda: not in_service(service, 1))
        job = await submit_sleepy(service, seconds=60.0)
        old = await sent(service, job)
        assert old.prompt_id in (await direct.queue()).running
        await asyncio.to_thread(second.start)
        await eventually(lambda: in_service(service, 1))
        await cable.refuse_for(3.0)
        moved = await until(service, job, lambda s: s.phase is Phase.RUNNING and s.progress > 2)
        assert not moved.terminal
        async with asyncio.timeout(20):
            while (await direct.queue()).running:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert (await service.job(job.id, "ann")).server == service._servers[1].name
        assert await service.cancel(job.id, "ann")
        assert (await end_of(service, job)).phase is Phase.CANCELLED


async def test_job_lost_by_its_server_is_sent_to_other_server(
    engines: list[DemoServer], tmp_path: Path
) -> None:
    async with over(urls(engines), tmp_path, patience_s=600.0) as service:
        job = await submit_sleepy(service, seconds=1.5)
        name = (await sent(service, job)).server
        at = next(n for n, server in enumerate(service._servers) if server.name == name)
        await engines[at].restart()
        end = await end_of(service, job, within_s=60)
        assert (end.phase, end.error) == (Phase.SUCCEEDED, None)
    assert len(support.engine_files(engines[1 - at])) == 1


@pytest.mark.slow
async def test_job_fetching_from_dead_server_runs_elsewhere_only_on_request(
    engines: list[DemoServer], tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        cables = [await stack.enter_async_context(FaultProxy(engine.url)) for engine in engines]
        service = await stack.enter_async_context(over([c.url for c in cables], tmp_path))
        await eventually(lambda: all(in_service(service, n) for n in (0, 1)))
        for cable in cables:
            cable.arm(catalogue.reset_before_body, phase="fetch", times=catalogue.FOREVER)
        job = await submit_sleepy(service)
        while (fetching := await service.job(job.id, "ann")).status is not JobStatus.FETCHING:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        at = next(n for n, server in enumerate(service._servers) if server.name == fetching.server)
        assert not await service.can_run_elsewhere(job.id, "ann")  # it is online
        for cable in cables:
            cable.forget()
        await asyncio.to_thread(engines[at].kill)
        await eventually(lambda: not in_service(service, at))
        await asyncio.sleep(2 * SERVER_PATIENCE_S)
        assert await service.can_run_elsewhere(job.id, "ann")
        assert not await service.can_run_elsewhere(job.id, "bob")
        assert support.engine_files(engines[1 - at]) == {}  # not requested yet
        again = await service.repeat(job.id, "ann")
        assert (await end_of(service, again)).phase is Phase.SUCCEEDED
        assert len(support.engine_files(engines[1 - at])) == 1
        await asyncio.to_thread(engines[at].start)
        end = await end_of(service, job, within_s=60)
        assert end.phase is Phase.SUCCEEDED  # the first one ends too
        assert not await service.can_run_elsewhere(job.id, "ann")


async def test_job_with_dead_worker_runs_on_other_server(
    engines: list[DemoServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfy_ui.health.IDLE_WORKER_S", 0.6)
    monkeypatch.setattr("comfy_ui.jobs.workers.server_monitor._CHECK_INTERVAL_S", 0.2)
    async with over(urls(engines), tmp_path) as service:
        await eventually(lambda: all(in_service(service, n) for n in (0, 1)))
        engines[0].faults = Faults(test_nodes=True, dead_worker=True)
        jobs = [await submit_sleepy(service, nonce=n, seconds=0.3) for n in range(4)]
        ends = [await end_of(service, job, within_s=60) for job in jobs]
        assert [(end.phase, end.error) for end in ends] == [(Phase.SUCCEEDED, None)] * 4
        assert not in_service(service, 0)
        assert support.engine_files(engines[0]) == {}
        assert len(support.engine_files(engines[1])) == 4  # each once
        engines[0].faults = Faults(test_nodes=True)
        await engines[0].restart()
        await eventually(lambda: in_service(service, 0))


async def test_job_slow_to_finish_stays_on_its_server(
    engines: list[DemoServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfy_ui.health.IDLE_WORKER_S", 0.2)
    monkeypatch.setattr("comfy_ui.jobs.workers.server_monitor._CHECK_INTERVAL_S", 0.1)
    async with over(urls(engines), tmp_path, patience_s=0.2) as service:
        job = await submit_sleepy(service, seconds=3.0, blocking=True)
        before = (await sent(service, job)).server
        assert (await end_of(service, job)).phase is Phase.SUCCEEDED
        assert (await service.job(job.id, "ann")).server == before


@pytest.mark.slow
async def test_job_without_other_server_waits_for_its_own(
    engines: list[DemoServer], tmp_path: Path
) -> None:
    async with over(urls(engines), tmp_path) as service:
        job = await submit_sleepy(service, seconds=8.0)  # still running when its server is killed
        for engine in engines:
            await asyncio.to_thread(engine.kill)
        gone = await until(service, job, lambda s: s.phase is Phase.RECONNECTING or s.terminal)
        assert gone.phase is Phase.RECONNECTING
        await asyncio.to_thread(engines[1].start)
        assert (await end_of(service, job, within_s=60)).phase is Phase.SUCCEEDED


async def test_upload_reaches_the_server_that_runs_the_job(
    engines: list[DemoServer], tmp_path: Path
) -> None:
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "ui-a-b.png"}},
        "2": {
            "class_type": "SaveImage",
            "inputs": {"images": ["1", 0], "filename_prefix": "copy"},
        },
    }
    async with over(urls(engines), tmp_path) as service:
        service.library.uploads.put("ui-a-b.png", picture_bytes("PNG", side=32))
        await asyncio.to_thread(engines[0].kill)
        request = JobRequest(user_id="ann", preset="copy", graph=graph)
        end = await end_of(service, await service.submit(request))
        assert (end.phase, len(end.items)) == (Phase.SUCCEEDED, 1)
    assert (engines[1].folder / "input" / "ui-a-b.png").is_file()
    assert not (tmp_path / "x").exists()


async def test_server_statuses_lists_every_server_once(
    engines: list[DemoServer], tmp_path: Path
) -> None:
    async with over([*urls(engines), engines[0].url], tmp_path) as service:
        await asyncio.to_thread(engines[1].kill)
        statuses = await service.server_statuses()
        assert [(status.url, status.online) for status in statuses] == [
            (engines[0].url, True),
            (engines[1].url, False),
        ]
        assert (await service.server_status()).online


@pytest.mark.slow
async def test_job_of_disconnected_server_runs_on_connected_server(
    engines: list[DemoServer], tmp_path: Path
) -> None:
    first, second = engines
    async with over([first.url], tmp_path) as service:
        job = await sent(service, await submit_sleepy(service, seconds=0.5))
    async with over([second.url], tmp_path) as service:
        end = await end_of(service, job)
        assert (end.phase, end.error) == (Phase.SUCCEEDED, None)
    assert {item.filename for item in end.items} == set(support.engine_files(second))


async def test_job_of_reconnected_server_is_fetched_not_rerun(
    engines: list[DemoServer], tmp_path: Path
) -> None:
    first, second = engines
    async with over([first.url], tmp_path) as service:
        job = await sent(service, await submit_sleepy(service, seconds=0.3))
    await eventually(lambda: support.engine_files(first))
    await asyncio.to_thread(second.kill)
    async with over([second.url], tmp_path) as service:
        await until(service, job, lambda snapshot: snapshot.phase is Phase.RECONNECTING)
    async with over([first.url], tmp_path) as service:
        end = await end_of(service, job)
    assert end.phase is Phase.SUCCEEDED
    assert len(support.engine_files(first)) == 1, "it was not run again"


async def test_results_are_fetched_only_from_the_server_that_ran_the_job(
    engines: list[DemoServer], tmp_path: Path
) -> None:
    """Another server has other files with the same names."""
    first, second = engines
    async with over([second.url], tmp_path / "other") as service:
        other = await submit_sleepy(service, nonce=1, seconds=0.2)
        assert (await end_of(service, other)).phase is Phase.SUCCEEDED
    async with over([first.url], tmp_path / "mine") as service:
        job = await submit_sleepy(service, nonce=1)
        (item,) = (await end_of(service, job)).items
        content = item.path.read_bytes()
        await service._store._database.run(stranded, job.id)
    for _ in range(2):
        async with over([second.url], tmp_path / "mine") as service:
            end = await end_of(service, job)
            assert end.phase is Phase.FAILED
            assert end.error
            assert "not connected" in end.error.message
            assert (await service.job(job.id, "ann")).status is JobStatus.UNFETCHED
            assert await service.retry_fetch(job.id, "ann")
            assert (await end_of(service, job)).phase is Phase.FAILED
    async with over([first.url], tmp_path / "mine") as service:
        end = await end_of(service, job)
        assert end.phase is Phase.SUCCEEDED
        assert end.items[-1].path.read_bytes() == content


def stranded(connection: Any, job_id: str) -> None:
    """Mark the job as unfetched, as after a full disk."""
    connection.execute("UPDATE jobs SET status = 'unfetched' WHERE id = ?", (job_id,))
