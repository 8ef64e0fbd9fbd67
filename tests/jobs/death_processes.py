"""The processes that :mod:`.deaths` kills: the app and the embedded engine."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from comfy_ui.client import ComfyWSClient
from comfy_ui.demo import DemoServer, Faults
from comfy_ui.jobs.job_service import open_jobs
from comfy_ui.protocol import job as job_protocol
from comfy_ui.storage.records import JobRequest
from tests.jobs.support import sleepy_graph

USERS: Final = ("ann", "bob", "cleo")
KILLER: Final = "made_killer"
"""The beginning of the file names of the job that takes its server down."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What happens.

    ``grace_s``: how long the app looks for a job that its server has lost. ``blurs``: the work of a
    job on a ComfyUI that ``comfyui`` starts, unless ``graph`` is given.
    """

    jobs: int = 30
    kills: int = 10
    every_s: float = 5.0
    kill_app: bool = False
    job_s: float = 1.0
    grace_s: float = job_protocol.GRACE_S
    comfyui: str = ""
    url: str = ""
    graph: str = ""
    blurs: int = 4
    seed: int = 0

    def requests(self) -> list[JobRequest]:
        """The jobs, with keys: submitting them again after a restart adds none."""
        requests = []
        for number in range(self.jobs + 1):
            name = str(number) if number else KILLER.removeprefix("made_")
            graph = self._graph(number)
            for node in graph.values():
                if node["class_type"].startswith("SaveImage"):
                    node["inputs"]["filename_prefix"] = f"made_{name}"
            request = JobRequest(
                user_id=USERS[number % len(USERS)], preset="deaths", graph=graph, key=name
            )
            requests.append(request)
        middle = self.jobs // 3
        return [*requests[1:middle], requests[0], *requests[middle:]]

    def _graph(self, number: int) -> dict[str, Any]:
        nonce = 9000 + number
        if self.graph:
            graph: dict[str, Any] = json.loads(
                Path(self.graph).read_text().replace("NONCE", str(nonce))
            )
            return graph
        if self.comfyui:
            return blurred_graph(nonce=nonce, blurs=self.blurs)
        return sleepy_graph(nonce=number, seconds=self.job_s if number else 60.0)


def blurred_graph(*, nonce: int, blurs: int) -> dict[str, Any]:
    """A graph of core nodes, without models; each blur takes about half a second of a CPU."""
    image = {"width": 512, "height": 512, "batch_size": 1, "color": nonce}
    graph: dict[str, Any] = {"1": {"class_type": "EmptyImage", "inputs": image}}
    for number in range(2, blurs + 2):
        blur = {"image": [str(number - 1), 0], "blur_radius": 31, "sigma": 10.0}
        graph[str(number)] = {"class_type": "ImageBlur", "inputs": blur}
    save = {"images": [str(blurs + 1), 0], "filename_prefix": ""}
    return graph | {str(blurs + 2): {"class_type": "SaveImage", "inputs": save}}


def serve_app(url: str, folder: str, plan: Plan) -> None:
    """Submit the jobs of a plan, those that are not stored yet, and run all of them."""
    job_protocol.GRACE_S = plan.grace_s
    asyncio.run(_serve_app(url, folder, plan))


async def _serve_app(url: str, folder: str, plan: Plan) -> None:
    async with (
        ComfyWSClient(url=url) as client,
        open_jobs(client=client, data_dir=Path(folder)) as service,
    ):
        for request in plan.requests():
            await service.submit(request)
        while any([await service.active(user_id) for user_id in USERS]):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


def serve_engine(port: int, folder: str) -> None:
    """Run the embedded engine until the process is killed."""
    with DemoServer(port=port, folder=folder, faults=Faults(test_nodes=True)).in_thread():
        signal.pause()


def run_command(command: str) -> None:
    """Become the process of a command."""
    words = shlex.split(command)
    os.execvp("/usr/bin/env", ["env", *words])
