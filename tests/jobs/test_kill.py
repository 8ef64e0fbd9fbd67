"""SIGKILL at any moment: the next start loses and duplicates no job."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_ui.client import ComfyWSClient
from comfy_ui.demo import DemoServer, Faults
from comfy_ui.jobs.job_service import open_jobs
from comfy_ui.storage.records import Phase
from tests.jobs import killed, support

pytestmark = pytest.mark.slow

OWNERS = ("ann", "bob")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def slow_engine() -> Iterator[DemoServer]:
    with DemoServer(faults=Faults(test_nodes=True)).in_thread() as server:
        yield server


async def _start(url: str, folder: Path, count: int, seed: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("child.py")),
        url,
        str(folder),
        str(count),
        str(seed),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


async def _run_until_killed(url: str, folder: Path, seed: int) -> dict[str, str]:
    """Kill a process at a random moment; return the user of each job it had accepted."""
    rng = random.Random(seed)
    child = await _start(url, folder, 5, seed)
    assert child.stdout
    accepted: dict[str, str] = {}
    kill_after = rng.randint(1, 5)
    async for line in child.stdout:
        words = line.decode().split()
        if words[0] == "submitted":
            accepted[words[1]] = words[2]
        if len(accepted) >= kill_after:
            await asyncio.sleep(rng.uniform(0.0, 1.2))
            break
    if child.returncode is None:
        child.send_signal(signal.SIGKILL)
    for line in (await child.stdout.read()).decode().splitlines():
        words = line.split()
        if words[0] == "submitted":
            accepted[words[1]] = words[2]
    await child.wait()
    return accepted


async def _round(engine: DemoServer, folder: Path, seed: int) -> None:
    accepted = await _run_until_killed(engine.url, folder, seed)
    accepted |= await _run_until_killed(engine.url, folder, seed + 1000)  # … and while recovering
    async with (
        ComfyWSClient(url=engine.url) as client,
        open_jobs(client=client, data_dir=folder) as service,
    ):
        async with asyncio.timeout(60):
            for user_id in OWNERS:
                for job in await service.active(user_id):
                    await support.last(service.follow(job.id, user_id))
        results = []
        for user_id in OWNERS:
            for job in await service.recent(user_id, limit=100):
                end = await service.snapshot(job.id, user_id)
                assert (end.phase, end.error) == (Phase.SUCCEEDED, None)
                assert len(end.items) == 1
                results += end.items
        assert {item.job_id: item.user_id for item in results}.items() >= accepted.items()
        assert len({item.job_id for item in results}) == len(results)
        # The engine writes a file for each run: equal sets mean that nothing ran twice either.
        assert {item.filename: item.path.read_bytes() for item in results} == support.engine_files(
            engine
        )
        assert not list((folder / "incoming").iterdir())


async def test_service_killed_at_any_step_recovers_every_job(
    slow_engine: DemoServer, tmp_path: Path
) -> None:
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["tests.jobs.killed"])
    children = {
        step: forks.Process(
            target=killed.die_at, args=(slow_engine.url, str(tmp_path / str(n)), step)
        )
        for n, step in enumerate(killed.STEPS)
    }
    for child in children.values():
        child.start()
    for step, child in children.items():
        await asyncio.to_thread(child.join, 60)
        assert child.exitcode == -signal.SIGKILL, step
    results: dict[str, bytes] = {}

    async def recovered(step: str, folder: Path) -> bool:
        async with (
            ComfyWSClient(url=slow_engine.url) as client,
            open_jobs(client=client, data_dir=folder) as service,
        ):
            jobs = [*await service.active("ann"), *await service.recent("ann")]
            ends = [await support.end_of(service, job, within_s=90) for job in jobs]
            assert len(ends) == (0 if step == "submit before" else 1), step
            results.update({i.filename: i.path.read_bytes() for end in ends for i in end.items})
            assert len(await service.library.results("ann")) == sum(len(end.items) for end in ends)
            assert not list((folder / "incoming").iterdir())
            allowed = {Phase.SUCCEEDED} | ({Phase.CANCELLED} if "cancel" in step else set())
            return all(end.phase in allowed and end.error is None for end in ends)

    all_well = await asyncio.gather(
        *(recovered(step, tmp_path / str(n)) for n, step in enumerate(killed.STEPS))
    )
    assert dict(zip(killed.STEPS, all_well, strict=True)) == dict.fromkeys(killed.STEPS, True)
    # One file for each job at the engine and here: the right bytes, and none ran twice.
    assert results == support.engine_files(slow_engine)
    assert len(results) >= len(killed.STEPS) - 3


@pytest.mark.parametrize("seed", range(1))
async def test_service_killed_at_random_loses_and_duplicates_nothing(
    slow_engine: DemoServer, tmp_path: Path, seed: int
) -> None:
    await _round(slow_engine, tmp_path / "data", seed)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(100, 120))
async def test_service_killed_at_random_twenty_times_loses_and_duplicates_nothing(
    slow_engine: DemoServer, tmp_path: Path, seed: int
) -> None:
    await _round(slow_engine, tmp_path / "data", seed)
