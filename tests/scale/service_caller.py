"""Users of job services in this process, without pages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from comfy_ui.client import ComfyWSClient
from comfy_ui.errors import ComfyHeadlessError
from comfy_ui.jobs.job_service import JobService, open_jobs
from comfy_ui.scale.choose_queue import choose_queue
from comfy_ui.scale.choose_stores import choose_stores
from comfy_ui.settings import Settings
from comfy_ui.storage.records import EVERYONE, Job, JobRequest
from tests.jobs.support import end_of, sleepy_graph


@asynccontextmanager
async def opened_app(settings: Settings, client: ComfyWSClient) -> AsyncIterator[JobService]:
    """Open the job service of one app."""
    queue = choose_queue(settings)
    async with open_jobs(
        client=client,
        data_dir=settings.data_dir,
        open_stores=choose_stores(settings),
        open_queue=queue.open_queue,
        external_workers=queue.external_workers,
    ) as jobs:
        yield jobs


class ServiceCallers:
    """Users whose jobs go to one app after the other, and are followed at the next one."""

    def __init__(self, apps: Sequence[JobService], *, job_s: float) -> None:
        self._apps = apps
        self._job_s = job_s

    async def submit(self, user: str, number: int) -> str:
        """Submit a job until it is in the queue; return its id."""
        return (await self._submit(user, number)).id

    async def _submit(self, user: str, number: int) -> Job:
        graph = sleepy_graph(nonce=number, seconds=self._job_s)
        request = JobRequest(user_id=user, preset="s", graph=graph, key=str(number))
        while True:  # as a client does that gets an error while PostgreSQL is down
            try:
                return await self._apps[number % len(self._apps)].submit(request)
            except ComfyHeadlessError as error:
                if "database" not in str(error):
                    raise
                await asyncio.sleep(0.2)

    async def set_paused(self, *, paused: bool) -> None:
        """Pause the queue for everyone, or resume it."""
        await self._apps[0].set_paused(EVERYONE, paused=paused)

    async def end_of(self, user: str, number: int) -> tuple[str, float]:
        """Submit a job and follow it; return its id and when its end was seen."""
        job = await self._submit(user, number)
        await end_of(self._apps[(number + 1) % len(self._apps)], job, within_s=60.0)
        return job.id, time.time()
