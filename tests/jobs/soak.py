"""``python -m tests.jobs.soak [--jobs N] [--owners N]``: many jobs over a bad network.

Many users, a fault before the engine every few seconds, thousands of small jobs, some
cancelled, some without a follower. Afterwards: every job has one end, every success has the
engine's bytes and ran once, no task, socket or temporary file is left. Exits with 1 otherwise.

``python -m tests.web.soak`` does the same with the whole app in its own process, and measures its
memory.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comfy_ui.client import ComfyWSClient
from comfy_ui.demo import DemoServer, Faults
from comfy_ui.jobs.job_service import JobService, open_jobs
from comfy_ui.storage.records import Job, JobRequest, Phase
from tests.faults import catalogue
from tests.faults.proxy import FaultProxy
from tests.jobs.support import engine_files, sleepy_graph

WAITING_PER_OWNER = 12
PATIENCE_S = 4.0  # an unanswered request blocks a place at the server this long


@dataclass
class Account:
    """The outcome of the soak."""

    jobs: int = 0
    faults: int = 0
    seconds: float = 0.0
    phases: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong_bytes: list[str] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)

    @property
    def fine(self) -> bool:
        return not (self.lost or self.doubled or self.wrong_bytes or self.left_behind)

    def __str__(self) -> str:
        ends = ", ".join(f"{count} {phase}" for phase, count in sorted(self.phases.items()))
        lines = [
            f"{self.jobs} jobs in {self.seconds:.0f} s ({ends}), {self.faults} faults acted",
            f"  lost           {len(self.lost)}",
            f"  doubled        {len(self.doubled)}",
            f"  wrong bytes    {len(self.wrong_bytes)}",
            f"  left behind    {len(self.left_behind)}",
        ]
        wrong = [*self.lost, *self.doubled, *self.wrong_bytes, *self.left_behind]
        return "\n".join([*lines, *(f"  {text}" for text in wrong[:20])])


async def soak(*, jobs: int, owners: int, seed: int = 0, every_s: float = 2.0) -> Account:
    """Run it. The engine and its proxy live in threads of their own."""
    rng, account = random.Random(seed), Account()
    with (
        tempfile.TemporaryDirectory() as name,
        DemoServer(speed="instant", faults=Faults(test_nodes=True)).in_thread() as engine,
        FaultProxy(engine.url, seed=seed).in_thread() as proxy,
    ):
        folder, began = Path(name), time.monotonic()
        before = {*asyncio.all_tasks()}
        async with (
            ComfyWSClient(url=proxy.url, timeout=PATIENCE_S) as client,
            open_jobs(
                client=client, data_dir=folder, waiting_limit=WAITING_PER_OWNER, concurrency=8
            ) as service,
        ):
            weather = asyncio.create_task(bad_weather(proxy, rng, account, every_s))
            submitted = await asyncio.gather(
                *(
                    _owner(service, f"owner{n}", jobs // owners, random.Random(seed + n), n)
                    for n in range(owners)
                )
            )
            weather.cancel()
            await asyncio.gather(weather, return_exceptions=True)
            proxy.forget()
            account.seconds = time.monotonic() - began
            await _settled(service, [job for own in submitted for job, _ in own])
            await _judge(service, engine, [pair for own in submitted for pair in own], account)
        await asyncio.sleep(0.5)
        remaining = {*asyncio.all_tasks()} - before
        account.left_behind += [f"task {task.get_name()}" for task in remaining]
        account.left_behind += [str(path) for path in (folder / "incoming").iterdir()]
        if proxy.open_connections:
            account.left_behind.append(f"{proxy.open_connections} connections")
    return account


async def _owner(
    service: JobService, user_id: str, count: int, rng: random.Random, number: int
) -> list[tuple[Job, bool]]:
    """One person: submits, follows some, cancels a few; gives the jobs and whether cancelled."""
    submitted: list[tuple[Job, bool]] = []
    for n in range(count):
        while len(await service.active(user_id)) >= WAITING_PER_OWNER // 2:  # noqa: ASYNC110
            await asyncio.sleep(rng.uniform(1.0, 3.0))
        nonce = number * 100_000 + n
        graph = sleepy_graph(nonce=nonce, seconds=rng.choice((0.0, 0.0, 0.02)))
        request = JobRequest(user_id=user_id, preset="soak", values={"nonce": nonce}, graph=graph)
        job = await service.submit(request)
        cancelled = rng.random() < 0.05
        if cancelled:
            await asyncio.sleep(rng.uniform(0.0, 0.3))
            await service.cancel(job.id, user_id)
        elif rng.random() < 0.2:
            await _follow_a_while(service, job, rng.randint(1, 4))
        submitted.append((job, cancelled))
    return submitted


async def _follow_a_while(service: JobService, job: Job, snapshots: int) -> None:
    async for _ in service.follow(job.id, job.user_id):
        snapshots -= 1
        if not snapshots:
            return


async def bad_weather(
    proxy: FaultProxy, rng: random.Random, account: Account, every_s: float
) -> None:
    """A fault every few seconds, until it is cancelled; those that acted are counted."""
    http = [
        (fault, phase)
        for fault in catalogue.HTTP.values()
        for phase in fault.phases
        if phase in ("submit", "run", "fetch") and fault.expected(phase) == catalogue.RECOVERS
    ]
    # After a frame that is too large the client polls for the rest of its life (F6): then this
    # would be a soak of polling, some thirty times as long.
    sockets = [fault for name, fault in catalogue.WS.items() if "1009" not in name]
    while True:
        await asyncio.sleep(rng.uniform(0.5, 1.5) * every_s)
        kind = rng.random()
        account.faults += proxy.hits
        proxy.hits = 0
        proxy.accepted.clear()  # its record would be what grows
        proxy.seen.clear()
        if kind < 0.6:
            fault, phase = rng.choice(http)
            proxy.arm(fault.act, phase=phase, times=min(fault.times, 2))
        elif kind < 0.9:
            chosen = rng.choice(sockets)
            proxy.arm_socket(chosen.act, times=min(chosen.times, 2))
            _cut_sockets(proxy)
        else:
            _in_its_loop(proxy, proxy.refuse_for(rng.uniform(0.2, 1.5)))


def _cut_sockets(proxy: FaultProxy) -> None:
    """Reset what is connected, so that the next WebSocket meets its fault."""
    for connection, task in [*proxy._connections.items()]:
        task.get_loop().call_soon_threadsafe(connection._reset)


def _in_its_loop(proxy: FaultProxy, work: Any) -> None:
    loop = next((task.get_loop() for task in proxy._connections.values()), None)
    if loop is None:
        work.close()
    else:
        asyncio.run_coroutine_threadsafe(work, loop)


async def _settled(service: JobService, jobs: list[Job]) -> None:
    owners = {job.user_id for job in jobs}
    async with asyncio.timeout(300):
        while any([await service.active(user_id) for user_id in owners]):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def _judge(
    service: JobService, engine: DemoServer, submitted: list[tuple[Job, bool]], account: Account
) -> None:
    account.jobs = len(submitted)
    truth = engine_files(engine)
    runs = Counter(name.rsplit("_", 2)[0] for name in truth)
    for job, cancelled in submitted:
        end = await service.snapshot(job.id, job.user_id)
        account.phases[end.phase] += 1
        name = f"made_{job.values['nonce']}"
        if not end.terminal or (
            end.phase is not Phase.SUCCEEDED and not (cancelled and end.phase is Phase.CANCELLED)
        ):
            account.lost.append(f"{name}: {end.phase}, {end.error}")
        if runs[name] > 1 or len(end.items) > 1:
            account.doubled.append(f"{name}: ran {runs[name]} times, {len(end.items)} results")
        for item in end.items:
            if item.path.read_bytes() != truth.get(item.filename):
                account.wrong_bytes.append(item.filename)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.jobs.soak")
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--owners", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="a fault each")
    args = parser.parse_args()
    account = asyncio.run(
        soak(jobs=args.jobs, owners=args.owners, seed=args.seed, every_s=args.every)
    )
    print(account)
    return 0 if account.fine else 1


if __name__ == "__main__":
    raise SystemExit(main())
