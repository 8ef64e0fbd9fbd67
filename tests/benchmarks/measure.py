"""What is measured. Clients take turns, job by job or round by round: noise then hits all alike."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from comfy_ui import ComfyClient, ComfyWSClient
from tests.benchmarks.raw import RawClient
from tests.graphs import instant, sampled

Job = Callable[[dict[str, Any]], Awaitable[list[bytes]]]


@dataclass
class Figures:
    """Seconds of each job of one client, and the CPU seconds that this process spent on them."""

    seconds: list[float] = field(default_factory=list)
    cpu_s: float = 0.0

    @property
    def p50_ms(self) -> float:
        return median(self.seconds) * 1000

    @property
    def p95_ms(self) -> float:
        return quantiles(self.seconds, n=20)[18] * 1000

    @property
    def jobs_per_s(self) -> float:
        return len(self.seconds) / sum(self.seconds)

    @property
    def cpu_ms(self) -> float:
        return self.cpu_s / len(self.seconds) * 1000


async def run_ws(client: ComfyWSClient, graph: dict[str, Any]) -> list[bytes]:
    result = await client.run(graph)
    return [await client.download(file) for file in result.files]


def run_sync(client: ComfyClient, graph: dict[str, Any]) -> list[bytes]:
    return [client.download(file) for file in client.run(graph).files]


async def latency(url: str, *, jobs: int) -> dict[str, Figures]:
    """An instant job, from the call to its bytes; raw, async and sync in turn."""
    figures = {"raw": Figures(), "async": Figures(), "sync": Figures()}
    with ComfyClient(url=url) as sync:
        async with RawClient(url) as raw, ComfyWSClient(url=url) as ws:
            turns: dict[str, Job] = {
                "raw": raw.run,
                "async": lambda graph: run_ws(ws, graph),
                "sync": lambda graph: _blocking(run_sync, sync, graph),
            }
            for number in range(-3, jobs):
                for name, job in turns.items():
                    graph = instant()
                    cpu, start = time.process_time(), time.perf_counter()
                    assert await job(graph)
                    if number >= 0:  # the first ones open connections
                        figures[name].seconds.append(time.perf_counter() - start)
                        figures[name].cpu_s += time.process_time() - cpu
                    await asyncio.sleep(0.002)  # the server's own tail must not count for the next
    return figures


@dataclass(frozen=True)
class Others:
    """Another client at the instant job: how long those took that gave their bytes, of ``jobs``."""

    jobs: int
    seconds: list[float]
    errors: list[str]


def others(python: str, url: str, *, jobs: int, patience_s: float = 120) -> dict[str, Others]:
    """Each client that is installed for that Python, one after the other; see ``others.py``.

    The first job is left out; what was not answered after ``patience_s`` in all counts as failed.
    """
    script = str(Path(__file__).with_name("others.py"))
    installed = subprocess.run([python, script], check=True, capture_output=True, text=True)
    found = {}
    for name in json.loads(installed.stdout):
        command = [python, script, name, url, str(jobs + 1)]
        try:
            said = subprocess.run(
                command, check=False, capture_output=True, timeout=patience_s
            ).stdout
        except subprocess.TimeoutExpired as late:
            said = late.stdout or b""
        lines = [line for line in said.decode().splitlines() if line.startswith('{"')]
        told = [json.loads(line) for line in lines[1:]]
        found[name] = Others(
            jobs,
            [answer["seconds"] for answer in told if "seconds" in answer],
            [answer["error"] for answer in told if "error" in answer],
        )
    return found


async def _blocking(call: Callable[..., list[bytes]], *args: Any) -> list[bytes]:
    return call(*args)  # on purpose in this thread: a hop to another one would be measured too


@dataclass(frozen=True)
class Burst:
    """Many jobs queued at once by one client."""

    jobs_per_s: float
    cpu_ms: float


async def at_once(url: str, *, jobs: int, rounds: int) -> dict[str, Burst]:
    """All jobs given at once, each fetched when done; the best round of each client."""
    best: dict[str, Burst] = {}
    async with RawClient(url) as raw, ComfyWSClient(url=url) as ws:
        turns: dict[str, Job] = {"raw": raw.run, "async": lambda graph: run_ws(ws, graph)}
        for _ in range(rounds):
            for name, job in turns.items():
                gc.collect()
                graphs = [instant() for _ in range(jobs)]
                cpu, start = time.process_time(), time.perf_counter()
                files = await asyncio.gather(*map(job, graphs))
                seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
                assert all(files)
                burst = Burst(jobs / seconds, cpu / jobs * 1000)
                if name not in best or burst.jobs_per_s > best[name].jobs_per_s:
                    best[name] = burst
    return best


@dataclass(frozen=True)
class Previews:
    frames: int
    seconds: float
    cpu_percent: float
    grown_mib: float
    largest_fall: float  # of the progress percentage; 0 when it never falls


async def previews(url: str, *, seconds: float, hz: float = 20.0, size: int = 512) -> Previews:
    """One job that shows a preview at each step. ``url`` must sample at ``hz`` steps a second."""
    seen: list[float] = []
    frames: set[int] = set()

    def note(progress: Any) -> None:
        seen.append(progress.progress)
        if progress.preview is not None:
            frames.add(hash(progress.preview))

    async with ComfyWSClient(url=url, timeout=seconds * 3 + 60) as client:
        await client.run(sampled(steps=int(hz), size=size))
        gc.collect()
        before, cpu, start = rss_mib(), time.process_time(), time.perf_counter()
        await client.run(sampled(steps=int(hz * seconds), size=size), on_progress=note)
        spent, cpu = time.perf_counter() - start, time.process_time() - cpu
        grown = rss_mib() - before
    fall = max((a - b for a, b in itertools.pairwise(seen)), default=0.0)
    return Previews(len(frames), spent, cpu / spent * 100, grown, max(fall, 0.0))


@dataclass(frozen=True)
class Pending:
    jobs: int
    sockets: int
    grown_mib: float
    idle_cpu_percent: float
    cpu_ms: float
    seconds: float


async def pending(url: str, *, jobs: int, hold_s: float = 3.0, hz: float = 20.0) -> Pending:
    """Many jobs waiting behind a slow one, all followed by one client."""
    gc.collect()
    before = rss_mib()
    async with ComfyWSClient(url=url, timeout=600) as client:
        await client.run(instant())
        head = asyncio.create_task(client.run(sampled(steps=int(hold_s * hz * 3), size=64)))
        await asyncio.sleep(0.2)
        cpu, start = time.process_time(), time.perf_counter()
        waiters = [asyncio.create_task(client.run(instant())) for _ in range(jobs)]
        async with asyncio.timeout(60):
            while len((await client.queue()).pending) < jobs:  # noqa: ASYNC110 -- the server has no events
                await asyncio.sleep(0.05)
        idle, idle_start = time.process_time(), time.perf_counter()
        await asyncio.sleep(hold_s)
        idle_cpu = (time.process_time() - idle) / (time.perf_counter() - idle_start) * 100
        grown, sockets = rss_mib() - before, open_sockets()
        await asyncio.gather(head, *waiters)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return Pending(jobs, sockets, grown, idle_cpu, cpu / jobs * 1000, seconds)


def import_ms(module: str, *, rounds: int = 5) -> float:
    """CPU time of ``import module`` in a new Python, the best of ``rounds``."""
    code = f"import time; s = time.process_time(); import {module}; print(time.process_time() - s)"

    def run() -> float:
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        return float(done.stdout)

    return min(run() for _ in range(rounds)) * 1000


def rss_mib() -> float:
    """Memory of this process now (Linux), or its peak where /proc is absent."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def open_sockets() -> int:
    """Sockets that this process holds (Linux); -1 where that cannot be told."""
    folder = Path("/proc/self/fd")
    if not folder.exists():
        return -1
    found = 0
    for link in folder.iterdir():
        try:
            found += link.readlink().name.startswith("socket:")
        except FileNotFoundError:  # the descriptor of this very listing
            continue
    return found
