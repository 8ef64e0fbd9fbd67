"""An app and its workers on PostgreSQL while workers are killed and the server is restarted.

``python -m tests.scale`` runs it and prints the figures; ``--help`` lists its options. Needs Linux.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import random
import signal
import socket
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from statistics import quantiles
from typing import Final

from comfy_ui.client import ComfyWSClient
from comfy_ui.errors import ComfyHeadlessError
from comfy_ui.jobs.job_service import JobService, open_jobs
from comfy_ui.scale.choose_queue import choose_queue
from comfy_ui.scale.choose_stores import choose_stores
from comfy_ui.scale.worker_process import run_worker
from comfy_ui.settings import Settings, load_settings
from comfy_ui.storage.records import EVERYONE, Job, JobRequest
from tests.jobs.death_processes import serve_engine
from tests.jobs.support import end_of, sleepy_graph
from tests.scale.postgres_server import PostgresServer, new_database
from tests.scale.queue_cost import QueueCost, cost_with_postgres, cost_with_sqlite
from tests.storage.s3_server import BUCKET, s3_server

_PROCESSES: Final = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.scale.kill_workers"])  # a new worker costs little
_HZ: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What happens. One of the ``users`` submits as many jobs as all others together.

    ``apps`` share the jobs: each gets an equal part of the submissions, and another one than that
    which got a job follows it. They are job services in one process, without their pages. ``s3``: 1
    for files in an S3 server, and a data folder for each process as on hosts of their own.
    """

    jobs: int = 200
    apps: int = 1
    s3: int = 0
    users: int = 10
    workers: int = 2
    job_s: float = 0.05
    kill_every_s: float = 2.0
    stop_database_s: float = 1.0
    restarts: int = 1
    quiet_jobs: int = 20
    cost_jobs: int = 200
    within_s: float = 600.0
    seed: int = 0

    def requests(self) -> list[JobRequest]:
        """The jobs, with keys: one that is submitted again after an error is not added twice."""
        users = [f"user{n}" for n in range(1, self.users)]
        requests = []
        for number in range(self.jobs):
            user = users[number // 2 % len(users)] if number % 2 else "flood"
            graph = sleepy_graph(nonce=number, seconds=self.job_s)
            requests.append(JobRequest(user_id=user, preset="s", graph=graph, key=str(number)))
        return requests


@dataclass(kw_only=True)
class Account:
    """What came of it. ``dispatch_s``: from the submission of a job to its start at an idle server;
    ``page_s``: from its stored end to the page.
    """

    jobs: int = 0
    succeeded: int = 0
    published_twice: int = 0
    runs: int = 0
    kills: int = 0
    restarts: int = 0
    resumed_at: float = 0.0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    shares: Sequence[int] = ()
    dispatch_s: Sequence[float] = ()
    page_s: Sequence[float] = ()
    costs: dict[str, QueueCost] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
    errors: Sequence[str] = ()

    @property
    def fine(self) -> bool:
        """Whether each job was published once."""
        return self.succeeded == self.jobs and not self.published_twice

    def __str__(self) -> str:
        rows = [
            ("jobs", self.jobs),
            ("lost", self.jobs - self.succeeded),
            ("published twice", self.published_twice),
            ("runs beyond one per job", self.runs - self.jobs),
            ("workers killed", self.kills),
            ("restarts of PostgreSQL", self.restarts),
            ("jobs a second", f"{self.jobs / self.wall_s:.1f}"),
            ("CPU seconds of all processes", f"{self.cpu_s:.0f}"),
            ("fairness (Jain)", f"{_fairness(self.shares):.3f} of {[*self.shares]}"),
            ("dispatch, p50 / p95", _percentiles(self.dispatch_s)),
            ("event to page, p50 / p95", _percentiles(self.page_s)),
            *((f"a job in the queue, {name}", cost) for name, cost in self.costs.items()),
            ("ends", dict(self.statuses)),
            *(("error", error) for error in self.errors),
        ]
        return "\n".join(f"| {name} | {value} |" for name, value in rows)


def _percentiles(seconds: Sequence[float]) -> str:
    if len(seconds) < 2:
        return "-"
    cuts = quantiles(seconds, n=20, method="inclusive")
    return f"{cuts[9] * 1000:.0f} / {cuts[18] * 1000:.0f} ms"


async def kill_workers(plan: Plan, server: PostgresServer) -> Account:
    """Run a plan; afterwards measure single jobs, and what they cost in the queue."""
    account = Account(jobs=plan.jobs + plan.workers)
    cpu_s = _cpu_s([os.getpid(), *_forkserver_pids()])
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engines = [stack.enter_context(_engine(folder / f"engine{n}")) for n in range(plan.workers)]
        async with new_database() as url, ComfyWSClient(url=engines[0].url) as client:
            if plan.s3:
                bucket = stack.enter_context(s3_server(folder / "s3"))
                stack.enter_context(_environment(bucket.environment))
            settings = load_settings(
                database=url,
                workers="external",
                data_dir=folder / "data",
                files=f"s3://{BUCKET}/results" if plan.s3 else None,
            )
            urls = [engine.url for engine in engines]
            async with AsyncExitStack() as opened:
                workers = opened.enter_context(_workers(settings, urls))
                apps = [
                    await opened.enter_async_context(_app(_of_host(settings, f"app{n}"), client))
                    for n in range(plan.apps)
                ]
                await _run(plan, account, apps, workers, server)
                await _check(account, server, url)
                runs = (len([*engine.output.glob("made_*")]) for engine in engines)
                account.runs = sum(runs)
                account.dispatch_s, account.page_s = await _one_by_one(plan, apps)
        account.cpu_s = _cpu_s([os.getpid(), *_forkserver_pids(), *server.pids()]) - cpu_s
        if plan.cost_jobs:
            async with new_database() as url:
                account.costs = {
                    "SQLite": await cost_with_sqlite(folder / "sqlite", plan.cost_jobs),
                    "PostgreSQL": await cost_with_postgres(
                        url, folder / "cost", plan.cost_jobs, lambda: _cpu_s(server.pids())
                    ),
                }
    return account


async def _run(
    plan: Plan,
    account: Account,
    apps: Sequence[JobService],
    workers: _Workers,
    server: PostgresServer,
) -> None:
    """Submit the jobs and wait for their ends, while workers are killed."""
    jobs = apps[-1]
    # The costs of jobs are known then, by which their users share the servers.
    first = [
        JobRequest(
            user_id="first", preset="s", graph=sleepy_graph(nonce=3_000_000 + n, seconds=plan.job_s)
        )
        for n in range(plan.workers)
    ]
    for job in [await jobs.submit(request) for request in first]:
        await end_of(jobs, job, within_s=plan.within_s)
    requests = [*enumerate(plan.requests())]
    early = len(requests) * 4 // 5  # they wait together, so all users have something to share
    await jobs.set_paused(EVERYONE, paused=True)
    async with asyncio.timeout(plan.within_s):
        await asyncio.gather(*(_submit(apps[n % len(apps)], r) for n, r in requests[:early]))
    account.resumed_at = time.time()
    await jobs.set_paused(EVERYONE, paused=False)
    start = time.monotonic()
    ended = asyncio.Event()
    disturbances = [
        asyncio.create_task(_kill(plan, account, jobs, workers, ended)),
        asyncio.create_task(_restart(plan, account, server, ended)),
    ]
    try:
        async with asyncio.timeout(plan.within_s):
            await asyncio.gather(*(_submit(apps[n % len(apps)], r) for n, r in requests[early:]))
            await disturbances[1]
            while sum(await jobs.counts()):  # noqa: ASYNC110 -- there is no event for all users
                await asyncio.sleep(0.1)
    finally:
        ended.set()
        await asyncio.gather(*disturbances)
        account.wall_s = time.monotonic() - start


async def _submit(jobs: JobService, request: JobRequest) -> Job:
    while True:  # as a client does that gets an error while PostgreSQL is down
        try:
            return await jobs.submit(request)
        except ComfyHeadlessError as error:
            if "waiting already" not in str(error) and "database" not in str(error):
                raise
            await asyncio.sleep(0.2)


async def _kill(
    plan: Plan, account: Account, jobs: JobService, workers: _Workers, ended: asyncio.Event
) -> None:
    """Kill one worker after the other, but on a slow machine let them end some jobs in between."""
    chance = random.Random(plan.seed)
    unfinished = sum(await jobs.counts())
    while not ended.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(plan.kill_every_s):
                await ended.wait()
                return
        now_unfinished = sum(await jobs.counts())
        if unfinished - now_unfinished >= plan.workers or now_unfinished > unfinished:
            workers.kill(chance.randrange(plan.workers))
            account.kills += 1
            unfinished = now_unfinished


async def _restart(
    plan: Plan, account: Account, server: PostgresServer, ended: asyncio.Event
) -> None:
    for _ in range(plan.restarts):
        with suppress(TimeoutError):
            async with asyncio.timeout(max(4.0, plan.jobs / 40)):
                await ended.wait()
        await asyncio.to_thread(server.stop)
        await asyncio.sleep(plan.stop_database_s)
        await asyncio.to_thread(server.start)
        account.restarts += 1


async def _check(account: Account, server: PostgresServer, url: str) -> None:
    """Count the ends and results of the jobs, as the tables have them."""
    import psycopg

    async with await psycopg.AsyncConnection.connect(url) as connection:
        cursor = await connection.execute("SELECT status, count(*) FROM jobs GROUP BY status")
        account.statuses = Counter(dict(await cursor.fetchall()))
        account.succeeded = account.statuses["succeeded"]
        cursor = await connection.execute("SELECT error FROM jobs WHERE status <> 'succeeded'")
        account.errors = [str(error) for (error,) in await cursor.fetchall()]
        cursor = await connection.execute(
            "SELECT count(*) FROM (SELECT FROM items GROUP BY job_id HAVING count(*) > 1) AS twice"
        )
        account.published_twice = ((await cursor.fetchone()) or (0,))[0]
        cursor = await connection.execute(
            "SELECT user_id FROM jobs WHERE user_id <> 'first' AND start_tag IS NOT NULL"
            " AND created_at < %s ORDER BY start_tag",
            (account.resumed_at,),
        )
        account.shares = _shares([user for (user,) in await cursor.fetchall()])


def _shares(order: Sequence[str]) -> list[int]:
    """Return how many jobs of each user had started when the first user had none left."""
    remaining, served = Counter(order), Counter[str]()
    for user in order:
        served[user] += 1
        remaining[user] -= 1
        if not remaining[user]:
            break
    return [served[user] for user in remaining]


def _fairness(shares: Sequence[int]) -> float:
    """Return Jain's index; 1 if nothing was shared."""
    squares = len(shares) * sum(share**2 for share in shares)
    return sum(shares) ** 2 / squares if squares else 1.0


async def _one_by_one(plan: Plan, apps: Sequence[JobService]) -> tuple[list[float], list[float]]:
    """Run jobs one after the other, without disturbance."""
    dispatch_s, page_s = [], []
    for number in range(plan.quiet_jobs):
        graph = sleepy_graph(nonce=1_000_000 + number, seconds=plan.job_s)
        submitted_at = time.time()
        jobs, other = apps[number % len(apps)], apps[(number + 1) % len(apps)]
        job = await jobs.submit(JobRequest(user_id="quiet", preset="s", graph=graph))
        await end_of(other, job, within_s=60.0)
        seen_at = time.time()
        ended = await jobs.job(job.id, "quiet")
        dispatch_s.append((ended.started_at or seen_at) - submitted_at)
        page_s.append(seen_at - (ended.finished_at or seen_at))
    return dispatch_s, page_s


def _cpu_s(pids: Sequence[int]) -> float:
    """Return the CPU seconds of processes and of their ended children."""
    ticks = 0
    for pid in pids:
        with suppress(OSError):
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, stat[11:15]))
    return ticks / _HZ


def _forkserver_pids() -> list[int]:
    """Return the server that starts the processes; its figures include those that have ended."""
    pid = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    return [] if pid is None else [pid]


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables of this process, and of those that start meanwhile."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _of_host(settings: Settings, name: str) -> Settings:
    """Return the settings of one host: with S3, each has a data folder of its own."""
    if settings.files is None:
        return settings
    return settings.model_copy(update={"data_dir": settings.data_dir / name})


# Processes


@asynccontextmanager
async def _app(settings: Settings, client: ComfyWSClient) -> AsyncIterator[JobService]:
    queue = choose_queue(settings)
    async with open_jobs(
        client=client,
        data_dir=settings.data_dir,
        waiting_limit=1000,
        open_stores=choose_stores(settings),
        open_queue=queue.open_queue,
        external_workers=queue.external_workers,
    ) as jobs:
        yield jobs


@dataclass(frozen=True)
class _Engine:
    url: str
    output: Path


@contextmanager
def _engine(folder: Path) -> Iterator[_Engine]:
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = _PROCESSES.Process(target=serve_engine, args=(port, str(folder)), daemon=True)
    process.start()
    try:
        yield _Engine(f"http://127.0.0.1:{port}", folder / "output")
    finally:
        process.kill()
        process.join()


class _Workers:
    """The workers, each started again when it was killed, as a service manager does."""

    def __init__(self, settings: Settings, urls: Sequence[str]) -> None:
        self._settings = settings
        self._urls = urls
        self._processes: list[ForkServerProcess] = [*map(self._start, range(len(urls)))]

    def _start(self, number: int) -> ForkServerProcess:
        settings = _of_host(self._settings, f"host{number}")
        # The processes are forked from a server that started before the environment was set.
        arguments = (self._urls[number], settings, dict(os.environ))
        process = _PROCESSES.Process(target=_work, args=arguments, daemon=True)
        process.start()
        return process

    def kill(self, number: int) -> None:
        self._processes[number].kill()
        self._processes[number].join()
        self._processes[number] = self._start(number)

    def close(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join(30)
            process.kill()


@contextmanager
def _workers(settings: Settings, urls: Sequence[str]) -> Iterator[_Workers]:
    workers = _Workers(settings, urls)
    try:
        yield workers
    finally:
        workers.close()


def _work(url: str, settings: Settings, environment: Mapping[str, str]) -> None:
    """Be a worker, started again while it is refused or the database is down."""
    os.environ.update(environment)
    logging.disable(logging.WARNING)

    async def run() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        while not stop.is_set():
            try:
                async with ComfyWSClient(url=url) as client:
                    await run_worker(settings, client, drain_s=5.0, stop=stop)
            except ComfyHeadlessError:  # said by the log
                await asyncio.sleep(0.5)

    asyncio.run(run())
