"""Instant jobs through the app's job service, compared with a raw client in the same run."""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from comfy_ui.client import ComfyWSClient
from comfy_ui.jobs.job_service import JobService, open_jobs
from comfy_ui.storage.records import Job, JobRequest, Phase
from tests.benchmarks.raw import RawClient
from tests.benchmarks.server import embedded
from tests.graphs import instant

USERS = 4


@dataclass(frozen=True)
class StudioFigures:
    """One round. ``submit_ms`` is the median of one job at a time, ``burst_ms`` of many at once."""

    raw_jobs_per_s: float
    jobs_per_s: float
    cpu_ms: float
    submit_ms: float
    burst_ms: float

    @property
    def ratio(self) -> float:
        """The throughput compared with the raw client."""
        return self.jobs_per_s / self.raw_jobs_per_s


def measure(*, jobs: int, rounds: int) -> list[StudioFigures]:
    """Measure on one embedded engine; the images of all jobs are fetched."""
    with embedded() as url, tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_measure(url, Path(folder), jobs, rounds))


async def _measure(url: str, folder: Path, jobs: int, rounds: int) -> list[StudioFigures]:
    figures = []
    async with (
        RawClient(url) as raw,
        ComfyWSClient(url=url) as client,
        open_jobs(client=client, data_dir=folder, waiting_limit=jobs) as service,
    ):
        for _ in range(rounds):
            raw_jobs_per_s = await _raw(raw, jobs)
            submit_ms = await _one_by_one(service, jobs // 4)
            figures.append(await _burst(service, jobs, raw_jobs_per_s, submit_ms))
    return figures


async def _raw(client: RawClient, jobs: int) -> float:
    gc.collect()
    graphs = [instant() for _ in range(jobs)]
    start = time.perf_counter()
    assert all(await asyncio.gather(*map(client.run, graphs)))
    return jobs / (time.perf_counter() - start)


async def _one_by_one(service: JobService, jobs: int) -> float:
    times, submitted = [], []
    for number in range(jobs):
        start = time.perf_counter()
        submitted.append(await service.submit(_request(number)))
        times.append(time.perf_counter() - start)
        await asyncio.sleep(0.02)
    await asyncio.gather(*(_end(service, job) for job in submitted))
    return median(times) * 1000


async def _burst(
    service: JobService, jobs: int, raw_jobs_per_s: float, submit_ms: float
) -> StudioFigures:
    gc.collect()
    cpu, start = time.process_time(), time.perf_counter()
    submitted = await asyncio.gather(*(service.submit(_request(n)) for n in range(jobs)))
    burst_s = time.perf_counter() - start
    await asyncio.gather(*(_end(service, job) for job in submitted))
    seconds = time.perf_counter() - start
    return StudioFigures(
        raw_jobs_per_s=raw_jobs_per_s,
        jobs_per_s=jobs / seconds,
        cpu_ms=(time.process_time() - cpu) / jobs * 1000,
        submit_ms=submit_ms,
        burst_ms=burst_s / jobs * 1000,
    )


def _request(number: int) -> JobRequest:
    return JobRequest(user_id=f"user {number % USERS}", preset="instant", graph=instant())


async def _end(service: JobService, job: Job) -> None:
    async for snapshot in service.follow(job.id, job.user_id):
        last = snapshot
    assert last.phase is Phase.SUCCEEDED, last
    assert last.items
