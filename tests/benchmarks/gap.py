"""The time that a server idles between two jobs of the queue, by the server's own clock."""

from __future__ import annotations

import asyncio
import json
import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from urllib.request import urlopen

from comfy_ui.client import ComfyWSClient
from comfy_ui.jobs.job_service import open_jobs
from comfy_ui.storage.records import JobRequest

USER = "ann"


class Gaps(NamedTuple):
    """Milliseconds between the end of a job and the start of the next one."""

    median_ms: float
    max_ms: float


async def gaps(url: str, *, jobs: int) -> Gaps:
    """Queue jobs at once and run them one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        async with (
            ComfyWSClient(url=url) as client,
            open_jobs(client=client, data_dir=Path(folder)) as service,
        ):
            for number in range(jobs):
                await service.submit(
                    JobRequest(user_id=USER, preset="gap", graph=_graph(color=number))
                )
            while await service.active(USER):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            done = await service.recent(USER, limit=jobs)
            ids = {job.prompt_id for job in done}
    return await asyncio.to_thread(_gaps_of_history, url, ids)


def _gaps_of_history(url: str, prompt_ids: set[str | None]) -> Gaps:
    with urlopen(f"{url}/history") as answer:
        history: dict[str, Any] = json.load(answer)
    spans = []
    for prompt_id, entry in history.items():
        if prompt_id in prompt_ids:
            stamps = [data["timestamp"] for _, data in entry["status"]["messages"]]
            spans.append((min(stamps), max(stamps)))
    spans.sort()
    idle = [start - end for (_, end), (start, _) in pairwise(spans)]
    return Gaps(median(idle), max(idle))


def _graph(*, color: int) -> dict[str, Any]:
    image = {"width": 64, "height": 64, "batch_size": 1, "color": color}
    return {
        "1": {"class_type": "EmptyImage", "inputs": image},
        "2": {
            "class_type": "SaveImage",
            "inputs": {"images": ["1", 0], "filename_prefix": f"gap{color}"},
        },
    }
