"""Worker processes: results, errors, limits, and who ends them."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_ui.errors import ComfyHeadlessError, ValidationError, WorkLimitError
from comfy_ui.worker_processes.process_pool import Limits, WorkerProcesses, work_limited_to
from tests.worker_processes.calls import (
    allocate,
    read_environment,
    refuse,
    report_half,
    spin,
)


@pytest.fixture(scope="module")
def workers() -> Iterator[WorkerProcesses]:
    pool = WorkerProcesses(2)
    yield pool
    pool.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def started(path: Path) -> int:
    """Wait until :func:`spin` has written its process id."""

    def wait() -> int:
        while not (path.exists() and path.read_text()):
            time.sleep(0.01)
        return int(path.read_text())

    return await asyncio.to_thread(wait)


async def ended(pid: int) -> None:
    def wait() -> None:
        while alive(pid):
            time.sleep(0.01)

    async with asyncio.timeout(5):
        await asyncio.to_thread(wait)


async def test_run_reuses_a_process_for_the_next_call(workers: WorkerProcesses) -> None:
    assert await workers.run(os.getpid) == await workers.run(os.getpid) != os.getpid()


async def test_run_errors_pass_with_message_and_hint(workers: WorkerProcesses) -> None:
    with pytest.raises(ValidationError, match=r"This is wrong\. Do it right\."):
        await workers.run(refuse)
    with pytest.raises(ZeroDivisionError):
        await workers.run(divmod, 1, 0)


async def test_run_unpicklable_result_raises_and_process_stays(workers: WorkerProcesses) -> None:
    with pytest.raises(RuntimeError, match="pickle"):
        await workers.run(open, os.devnull)
    assert await workers.run(abs, -1) == 1


async def test_run_process_has_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYUI_TOKEN", "canary")
    pool = WorkerProcesses(1)
    assert "canary" not in (await pool.run(read_environment)).values()
    pool.close()


async def test_run_process_starts_without_slow_imports() -> None:
    pool = WorkerProcesses(1)
    modules = await pool.run(eval, "sorted(__import__('sys').modules)")
    assert "comfy_ui.worker_processes.worker_main" in modules
    assert not {"asyncio", "concurrent.futures", "logging", "pydantic", "PIL"} & {*modules}
    pool.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no resource limits")
async def test_run_call_beyond_its_cpu_time_raises(workers: WorkerProcesses) -> None:
    with pytest.raises(WorkLimitError, match="too long"):
        await workers.run(spin, limits=Limits(cpu_s=0))
    assert await workers.run(abs, -1) == 1


async def test_run_call_beyond_its_elapsed_time_raises(workers: WorkerProcesses) -> None:
    with pytest.raises(WorkLimitError, match="too long"):
        await workers.run(time.sleep, 30, limits=Limits(wall_s=0.2))


@pytest.mark.skipif(sys.platform != "linux", reason="other platforms do not limit it")
async def test_run_call_beyond_its_memory_raises(workers: WorkerProcesses) -> None:
    with pytest.raises(WorkLimitError, match="memory"):
        await workers.run(allocate, 8 * 2**30)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other platforms do not limit memory")
async def test_work_limited_to_lowers_the_limits_of_calls_until_its_block_ends(
    workers: WorkerProcesses,
) -> None:
    with work_limited_to(Limits(cpu_s=0, memory_bytes=2**29)):
        with pytest.raises(WorkLimitError, match="too long"):
            await workers.run(spin, limits=Limits(cpu_s=40))
        with pytest.raises(WorkLimitError, match="memory"):
            await workers.run(allocate, 2**29, limits=Limits(cpu_s=40))
        begun = asyncio.Event()

        async def later() -> int:
            await begun.wait()
            return await workers.run(allocate, 2**29)

        task = asyncio.create_task(later())
    begun.set()
    assert await task == 2**29, "a background task outlives the request that started it"


async def test_run_cancelled_kills_the_process(workers: WorkerProcesses, tmp_path: Path) -> None:
    call = asyncio.create_task(workers.run(spin, str(tmp_path / "pid")))
    pid = await started(tmp_path / "pid")
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await ended(pid)


async def test_close_ends_running_calls(tmp_path: Path) -> None:
    pool = WorkerProcesses(1)
    call = asyncio.create_task(pool.run(spin, str(tmp_path / "pid")))
    await started(tmp_path / "pid")
    pool.close()
    with pytest.raises(ComfyHeadlessError, match="stopped"):
        await call
    assert await pool.run(abs, -1) == 1
    pool.close()


async def test_run_calls_of_one_user_leave_a_process_for_others(
    workers: WorkerProcesses, tmp_path: Path
) -> None:
    calls = [
        asyncio.create_task(workers.run(spin, str(tmp_path / f"{n}"), user_id="anna"))
        for n in range(4)
    ]
    async with asyncio.timeout(10):
        await started(tmp_path / "0")
        assert await workers.run(abs, -1, user_id="bob") == 1
    assert not (tmp_path / "1").exists()
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_report_progress_reaches_the_caller(workers: WorkerProcesses) -> None:
    reports: list[float] = []
    assert await workers.run(report_half, on_progress=reports.append) == "done"
    assert reports == [0.5]
    assert await workers.run(report_half) == "done"  # a caller that does not listen
    assert report_half() == "done"  # in no worker process
