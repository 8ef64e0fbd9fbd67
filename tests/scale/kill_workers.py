"""Apps and workers on PostgreSQL, while processes are killed and servers are away.

``python -m tests.scale`` runs it and prints the figures; ``--help`` lists its options. Needs Linux.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

import psycopg

from comfy_ui.client import ComfyWSClient
from comfy_ui.jobs.job_service import JobService
from comfy_ui.scale.choose_stores import open_documents
from comfy_ui.settings import Settings, load_settings
from comfy_ui.web.auth.accounts import Accounts, Role
from tests.scale import processes
from tests.scale.http_page import HttpPage, write_preset
from tests.scale.plan import Account, Plan, shares
from tests.scale.postgres_server import PostgresServer, new_database
from tests.scale.processes import Replicas, Workers
from tests.scale.queue_cost import cost_with_postgres, cost_with_sqlite
from tests.scale.service_caller import ServiceCallers, opened_app
from tests.storage.s3_server import BUCKET, S3Server, s3_server

FIRST: Final = "first"
"""The user of the jobs from which the costs of a job are learned."""
QUIET: Final = "quiet"
"""The user of the jobs that run one after the other."""
_FIRST_JOB: Final = 3_000_000
_QUIET_JOB: Final = 1_000_000
_AHEAD: Final = 80  # jobs that a user has in the queue; it takes 100
_PASSWORD: Final = "a long password"
_PREFIX: Final = "results"
_PRINT_S: Final = 30.0
_RESTART_S: Final = 3.0  # until a service manager starts an app again


class Callers(Protocol):
    """Those who submit and follow jobs."""

    async def submit(self, user: str, number: int) -> str:
        """Submit a job until it is in the queue; return its id."""
        ...

    async def set_paused(self, *, paused: bool) -> None:
        """Pause the queue for everyone, or resume it."""
        ...

    async def end_of(self, user: str, number: int) -> tuple[str, float]:
        """Submit a job and follow it; return its id and when its end was seen."""
        ...


class PageCallers:
    """Pages of users over HTTP. Each shows the stage all the time."""

    def __init__(self, pages: dict[str, HttpPage]) -> None:
        self._pages = pages

    async def submit(self, user: str, number: int) -> str:
        return await self._pages[user].press(number)

    async def set_paused(self, *, paused: bool) -> None:
        await self._pages[FIRST].pause_everyone(paused=paused)

    async def end_of(self, user: str, number: int) -> tuple[str, float]:
        page = self._pages[user]
        job = await page.press(number)
        async with asyncio.timeout(60):
            while job not in page.ended:  # noqa: ASYNC110 -- the page's stage knows no events
                await asyncio.sleep(0.005)
        return job, page.ended[job]


class _Ends:
    """How many jobs of each user have ended, read from the table now and then."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.by_user = Counter[str]()

    @property
    def count(self) -> int:
        return self.by_user.total()

    async def keep_reading(self) -> None:
        while True:
            with suppress(psycopg.Error):  # it is away
                async with await psycopg.AsyncConnection.connect(
                    self._url, autocommit=True
                ) as connection:
                    while True:
                        cursor = await connection.execute(
                            "SELECT user_id, count(*) FROM jobs"
                            " WHERE finished_at IS NOT NULL GROUP BY user_id"
                        )
                        rows = await cursor.fetchall()
                        self.by_user = Counter({_name(user): count for user, count in rows})
                        await asyncio.sleep(0.5)
            await asyncio.sleep(0.5)


def _name(user_id: str) -> str:
    """Return a user as the plan names them: a login has a prefix."""
    return user_id.rpartition(":")[2]


class _Run:
    """A run of a plan, with all that it needs."""

    def __init__(
        self,
        plan: Plan,
        account: Account,
        *,
        callers: Callers,
        workers: Workers,
        server: PostgresServer,
        replicas: Replicas | None,
        s3: S3Server | None,
        killed_at: dict[str, float],
        ends: _Ends,
    ) -> None:
        self._plan = plan
        self._account = account
        self._callers = callers
        self._workers = workers
        self._server = server
        self._replicas = replicas
        self._s3 = s3
        self._killed_at = killed_at
        self._ends = ends
        self._chance = random.Random(plan.seed)
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Submit the jobs and wait for their ends, while processes are killed."""
        plan = self._plan
        # The costs of jobs are known then, by which their users share the servers.
        for number in range(plan.workers):
            await self._callers.end_of(FIRST, _FIRST_JOB + number)
        if plan.replicas:
            await asyncio.sleep(plan.learn_s)
        # Jobs that wait together, so that all users have something to share.
        await self._callers.set_paused(paused=True)
        filled = {user: asyncio.Event() for user in plan.user_ids()}
        async with asyncio.TaskGroup() as tasks:
            submissions = [
                tasks.create_task(self._submit_all(user, filled[user])) for user in filled
            ]
            async with asyncio.timeout(plan.within_s):
                await asyncio.gather(*(event.wait() for event in filled.values()))
            await self._callers.set_paused(paused=False)
            start = time.monotonic()
            disturbances = [
                tasks.create_task(self._kill_workers()),
                tasks.create_task(self._disturb()),
                tasks.create_task(self._print_progress()),
            ]
            try:
                async with asyncio.timeout(plan.within_s):
                    await asyncio.gather(*submissions, disturbances[1])
                    while self._ends.count < plan.jobs + plan.workers:  # noqa: ASYNC110 -- others end them
                        await asyncio.sleep(0.1)
            finally:
                self._over.set()
                self._account.wall_s = time.monotonic() - start

    async def _submit_all(self, user: str, filled: asyncio.Event) -> None:
        numbers = [n for n in range(self._plan.jobs) if self._plan.user_of(n) == user]
        for submitted, number in enumerate(numbers):
            while submitted - self._ends.by_user[user] >= _AHEAD:
                filled.set()
                await asyncio.sleep(0.2)
            await self._callers.submit(user, number)
        filled.set()

    async def _kill_workers(self) -> None:
        """Kill one worker after the other; on a slow machine, let them end some jobs before."""
        ended = self._ends.count
        while not await self._passed(self._plan.kill_every_s):
            if self._ends.count - ended >= self._plan.workers:
                await asyncio.to_thread(
                    self._workers.kill, self._chance.randrange(self._plan.workers)
                )
                self._account.kills += 1
                ended = self._ends.count

    async def _disturb(self) -> None:
        """Take one server after the other away, spread over the jobs."""
        plan = self._plan
        kinds: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (plan.restarts, self._restart_database),
            (plan.replica_kills, self._kill_app),
            (plan.s3_stops, self._stop_s3),
        ]
        steps = sorted(
            ((number + 0.5) / count, kind, take_away)
            for kind, (count, take_away) in enumerate(kinds)
            for number in range(count)
        )
        for number, (*_, take_away) in enumerate(steps, start=1):
            while self._ends.count < plan.jobs * number / (len(steps) + 1):  # noqa: ASYNC110 -- as above
                await asyncio.sleep(0.1)
            await take_away()

    async def _print_progress(self) -> None:
        while not await self._passed(_PRINT_S):
            line = f"{self._ends.count} of {self._plan.jobs + self._plan.workers} jobs have ended."
            print(line, file=sys.stderr, flush=True)

    async def _restart_database(self) -> None:
        await asyncio.to_thread(self._server.stop)
        await asyncio.sleep(self._plan.stop_database_s)
        await asyncio.to_thread(self._server.start)
        self._account.restarts += 1

    async def _kill_app(self) -> None:
        assert self._replicas is not None, "only with --replicas"
        number = self._chance.randrange(len(self._replicas.addresses))
        self._killed_at[self._replicas.addresses[number]] = time.time()
        self._replicas.kill(number)
        self._account.replica_kills += 1
        await asyncio.sleep(_RESTART_S)
        await asyncio.to_thread(self._replicas.start_again, number)

    async def _stop_s3(self) -> None:
        assert self._s3 is not None, "only with --s3 1"
        self._s3.stop()
        await asyncio.sleep(self._plan.stop_s3_s)
        await asyncio.to_thread(self._s3.start)
        self._account.s3_stops += 1

    async def _passed(self, seconds: float) -> bool:
        """Wait; whether all jobs have ended meanwhile."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()
        return self._over.is_set()


async def kill_workers(plan: Plan, server: PostgresServer) -> Account:
    """Run a plan; afterwards measure single jobs, and what they cost in the queue."""
    account = Account(jobs=plan.jobs + plan.workers + plan.quiet_jobs)
    processes.preload()
    cpu_s = processes.cpu_s()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with new_database() as url:
            await _run(plan, account, server, url, folder)
        account.cpu_s = processes.cpu_s(*server.pids()) - cpu_s
        if plan.cost_jobs:
            async with new_database() as url:
                account.costs = {
                    "SQLite": await cost_with_sqlite(folder / "sqlite", plan.cost_jobs),
                    "PostgreSQL": await cost_with_postgres(
                        url,
                        folder / "cost",
                        plan.cost_jobs,
                        lambda: processes.cpu_s(*server.pids()) - processes.cpu_s(),
                    ),
                }
    return account


async def _run(
    plan: Plan, account: Account, server: PostgresServer, url: str, folder: Path
) -> None:
    killed_at: dict[str, float] = {}
    with ExitStack() as stack:
        engines = [
            stack.enter_context(processes.engine(folder / f"engine{n}"))
            for n in range(plan.workers)
        ]
        s3 = stack.enter_context(s3_server(folder / "s3")) if plan.s3 else None
        if s3:
            stack.enter_context(processes.environment(s3.environment))
        settings = load_settings(
            database=url,
            workers="external",
            data_dir=folder / "data",
            files=f"s3://{BUCKET}/{_PREFIX}" if s3 else None,
        )
        urls = [engine.url for engine in engines]
        workers = stack.enter_context(processes.running_workers(settings, urls))
        ends = _Ends(url)
        async with AsyncExitStack() as opened:
            replicas: Replicas | None = None
            pages: dict[str, HttpPage] = {}
            callers: Callers
            if plan.replicas:
                replicas, pages = await _open_pages(plan, settings, urls[0], killed_at, opened)
                callers = PageCallers(pages)
            else:
                callers = ServiceCallers(
                    await _open_apps(plan, settings, urls[0], opened), job_s=plan.job_s
                )
            await opened.enter_async_context(_task(ends.keep_reading()))
            run = _Run(
                plan,
                account,
                callers=callers,
                workers=workers,
                server=server,
                replicas=replicas,
                s3=s3,
                killed_at=killed_at,
                ends=ends,
            )
            await run.run()
            quiet = await _one_by_one(plan, callers)
            for page in pages.values():
                account.resumed_s = [*account.resumed_s, *page.resumed_s]
                account.refusals += page.refusals
            await _check(account, url, quiet, s3)
            account.runs = sum(len([*engine.output.glob("made*")]) for engine in engines)


async def _open_pages(
    plan: Plan,
    settings: Settings,
    comfyui_url: str,
    killed_at: dict[str, float],
    opened: AsyncExitStack,
) -> tuple[Replicas, dict[str, HttpPage]]:
    """Start the apps, and a page of each user that shows the stage."""
    write_preset(settings.presets_dir, job_s=plan.job_s)
    users = [FIRST, QUIET, *plan.user_ids()]
    documents = open_documents(settings)
    accounts = Accounts(documents)
    for user in users:
        accounts.add(user, _PASSWORD, Role.ADMIN)  # without rate limits
    replicas = opened.enter_context(
        processes.running_replicas(settings.data_dir.parent, settings, comfyui_url, plan.replicas)
    )
    pages = {user: HttpPage(replicas.url, killed_at) for user in users}
    for user, page in pages.items():
        opened.push_async_callback(page.aclose)
        await page.log_in(user, _PASSWORD)
    return replicas, pages


async def _open_apps(
    plan: Plan, settings: Settings, comfyui_url: str, opened: AsyncExitStack
) -> Sequence[JobService]:
    client = await opened.enter_async_context(ComfyWSClient(url=comfyui_url))
    return [
        await opened.enter_async_context(opened_app(processes.of_host(settings, f"app{n}"), client))
        for n in range(plan.apps)
    ]


@asynccontextmanager
async def _task(work: Awaitable[None]) -> AsyncIterator[None]:
    """Run something in the background. If it fails, so does the end of the context."""
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _one_by_one(plan: Plan, callers: Callers) -> list[tuple[str, float, float]]:
    """Run jobs one after the other, without disturbance: their ids, submissions and ends."""
    jobs = []
    for number in range(plan.quiet_jobs):
        submitted_at = time.time()
        job, seen_at = await callers.end_of(QUIET, _QUIET_JOB + number)
        jobs.append((job, submitted_at, seen_at))
    return jobs


async def _check(
    account: Account, url: str, quiet: Sequence[tuple[str, float, float]], s3: S3Server | None
) -> None:
    """Count the ends and results of the jobs, as the tables have them."""
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
        if s3:
            cursor = await connection.execute("SELECT path FROM items")
            account.missing_files = sum(
                not s3.object(f"{_PREFIX}/{path}").is_file() for (path,) in await cursor.fetchall()
            )
        cursor = await connection.execute(
            "SELECT user_id FROM jobs WHERE start_tag IS NOT NULL ORDER BY start_tag"
        )
        users = [_name(user) for (user,) in await cursor.fetchall()]
        account.shares = shares([user for user in users if user not in {FIRST, QUIET}])
        cursor = await connection.execute("SELECT id, started_at, finished_at FROM jobs")
        times = {job: (started, finished) for job, started, finished in await cursor.fetchall()}
        account.dispatch_s = [times[job][0] - submitted_at for job, submitted_at, _ in quiet]
        account.page_s = [seen_at - times[job][1] for job, _, seen_at in quiet]
