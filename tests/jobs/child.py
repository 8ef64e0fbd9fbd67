"""A process for a test to kill: ``python child.py URL FOLDER COUNT SEED``.

Resumes the jobs of the folder, submits COUNT jobs, prints ``submitted ID`` for each and, when no
job is left unfinished, ``done``.
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

from comfy_ui.client import ComfyWSClient
from comfy_ui.jobs.job_service import open_jobs
from comfy_ui.storage.records import JobRequest
from tests.jobs.support import sleepy_graph

OWNERS = ("ann", "bob")


async def main(url: str, folder: str, count: str, seed: str) -> None:
    rng = random.Random(int(seed))
    async with (
        ComfyWSClient(url=url) as client,
        open_jobs(client=client, data_dir=Path(folder)) as service,
    ):
        for _ in range(int(count)):
            nonce = rng.getrandbits(40)
            graph = sleepy_graph(nonce=nonce, seconds=rng.uniform(0.0, 0.5))
            request = JobRequest(
                user_id=rng.choice(OWNERS), preset="sleepy", values={"nonce": nonce}, graph=graph
            )
            job = await service.submit(request)
            print(f"submitted {job.id} {job.user_id}", flush=True)
        while any([await service.active(user_id) for user_id in OWNERS]):  # noqa: ASYNC110 -- a killed process polls
            await asyncio.sleep(0.02)
    print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
