"""What a job costs in the queue itself, without ComfyUI: SQLite and PostgreSQL in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from comfy_ui.jobs.queue import JobQueue, JobReport
from comfy_ui.scale.postgres_database import PostgresDatabase
from comfy_ui.scale.shared_queue.postgres_job_queue import PostgresJobQueue
from comfy_ui.storage.records import JobStatus
from tests.jobs.support import a_job, open_queue
from tests.jobs.test_queue_contract import FILE, OUTPUTS


@dataclass(frozen=True, kw_only=True)
class QueueCost:
    """Milliseconds per job, from its submission to the stored result."""

    wall_ms: float
    python_cpu_ms: float
    postgres_cpu_ms: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.wall_ms:.1f} ms; CPU: Python {self.python_cpu_ms:.1f} ms,"
            f" PostgreSQL {self.postgres_cpu_ms:.1f} ms"
        )


async def cost_with_sqlite(folder: Path, jobs: int) -> QueueCost:
    async with open_queue(folder, waiting_limit=jobs) as queue:
        return await _cost(queue, jobs, lambda: 0.0)


async def cost_with_postgres(
    url: str, folder: Path, jobs: int, postgres_cpu_s: Callable[[], float]
) -> QueueCost:
    database = PostgresDatabase(url, exclusive=False)
    await database.open()
    queue = PostgresJobQueue(database, folder, waiting_limit=jobs)
    await queue.open()
    try:
        return await _cost(queue, jobs, postgres_cpu_s)
    finally:
        await queue.aclose()
        await database.close()


async def _cost(queue: JobQueue, jobs: int, postgres_cpu_s: Callable[[], float]) -> QueueCost:
    wall, cpu, server = time.perf_counter(), time.process_time(), postgres_cpu_s()
    for number in range(jobs):
        await queue.submit(a_job(f"user{number % 10}"), front=False)
    ended = 0
    while ended < jobs:
        for job, _ in await queue.claim("cost", limit=1):
            for report in (
                JobReport(job_id=job.id, status=JobStatus.SENT, prompt_id=job.prompt_id),
                JobReport(job_id=job.id, status=JobStatus.FETCHING, outputs=OUTPUTS),
                JobReport(job_id=job.id, status=JobStatus.SUCCEEDED, files=[FILE]),
            ):
                await queue.publish("cost", report)
            ended += 1
    per_job = 1000 / jobs
    return QueueCost(
        wall_ms=(time.perf_counter() - wall) * per_job,
        python_cpu_ms=(time.process_time() - cpu) * per_job,
        postgres_cpu_ms=(postgres_cpu_s() - server) * per_job,
    )
