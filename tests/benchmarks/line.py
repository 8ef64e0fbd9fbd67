"""``python -m tests.benchmarks.line``: what a long line costs that many people look at.

500 jobs of 50 owners wait, each is followed, and each owner's line too. Prints the processor's
time for one piece of news from the server, one question for an owner's jobs, one look at all
owners' lines, and one job that joins the line and leaves it.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from comfy_ui.jobs.queue import JobReport
from comfy_ui.protocol.progress import Phase, Progress
from comfy_ui.storage.records import JobStatus
from tests.jobs.support import a_job, last, open_queue


async def measure(jobs: int, owners: int, *, repeat: int = 100) -> dict[str, float]:
    """Milliseconds of processor time by what was done."""
    names = [f"owner {n}" for n in range(owners)]
    with tempfile.TemporaryDirectory() as folder:
        async with open_queue(Path(folder), waiting_limit=jobs) as queue:
            waiting = [
                await queue.submit(a_job(names[n % owners]), front=False) for n in range(jobs)
            ]
            ((claimed, _),) = await queue.claim("w", limit=1)
            await queue.publish("w", JobReport(job_id=claimed.id, status=JobStatus.SENT))
            followers = [
                asyncio.create_task(last(queue.follow(job.id, job.user_id))) for job in waiting
            ]
            while len(queue._unfinished.updates.followed()) < jobs:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

            async def news(n: int) -> None:
                told = Progress(
                    prompt_id=str(claimed.prompt_id),
                    phase=Phase.QUEUED if n % 2 else Phase.RUNNING,
                    progress=0.0,
                    queue_position=1 if n % 2 else None,
                )
                await queue.publish("w", JobReport(job_id=claimed.id, progress=told))

            async def ask(n: int) -> None:
                await queue.active(names[n % owners])

            async def look(_: int) -> None:
                for name in names:
                    await queue._view(name)

            async def come_and_go(n: int) -> None:
                job = await queue.submit(a_job(names[n % owners]), front=True)
                await queue.cancel(job.id, job.user_id)

            found = {
                "news of a job at the server": await _cost_ms(news, repeat),
                "an owner's jobs": await _cost_ms(ask, repeat),
                "the lines of all owners": await _cost_ms(look, repeat // 10),
                "a job that joins the line and leaves": await _cost_ms(come_and_go, repeat // 2),
            }
            queue.close()
            await asyncio.gather(*followers)
            return found


async def _cost_ms(act: Callable[[int], Awaitable[None]], repeat: int) -> float:
    began = time.process_time()
    for n in range(repeat):
        await act(n)
    return (time.process_time() - began) * 1000 / repeat


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.line")
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--owners", type=int, default=50)
    args = parser.parse_args()
    found = asyncio.run(measure(args.jobs, args.owners))
    print(f"{args.jobs} jobs of {args.owners} owners, each followed")
    for what, cost_ms in found.items():
        print(f"{what:40}{cost_ms:8.2f} ms")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
