"""kill -9 at any moment: on the next start nothing is lost and nothing is there twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_ui.client import ComfyWSClient
from comfy_ui.demo import DemoServer, Faults
from comfy_ui.studio import Phase, Studio
from tests.studio import support

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
    """Kill a process at a random moment; gives the jobs it had accepted, with their owners."""
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
        Studio(client=client, data_dir=folder) as studio,
    ):
        async with asyncio.timeout(60):
            for owner in OWNERS:
                for job in await studio.active(owner):
                    await support.last(studio.follow(job.id, owner))
        made = []
        for owner in OWNERS:
            for job in await studio.recent(owner, limit=100):
                end = await studio.snapshot(job.id, owner)
                assert (end.phase, end.error) == (Phase.SUCCEEDED, None)
                assert len(end.items) == 1
                made += end.items
        assert {item.job_id: item.owner for item in made}.items() >= accepted.items()
        assert len({item.job_id for item in made}) == len(made)
        # The engine writes a file for each run: equal sets mean that nothing ran twice either.
        assert {item.filename: item.path.read_bytes() for item in made} == support.engine_files(
            engine
        )
        assert not list((folder / "incoming").iterdir())


@pytest.mark.parametrize("seed", range(3))
async def test_a_killed_process_loses_and_doubles_nothing(
    slow_engine: DemoServer, tmp_path: Path, seed: int
) -> None:
    await _round(slow_engine, tmp_path / "data", seed)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(100, 120))
async def test_a_killed_process_loses_and_doubles_nothing_twenty_times(
    slow_engine: DemoServer, tmp_path: Path, seed: int
) -> None:
    await _round(slow_engine, tmp_path / "data", seed)
