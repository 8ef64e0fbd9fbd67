"""How well the percentage is time, and the remaining time is right."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import mean
from types import MappingProxyType
from typing import Any

from comfy_ui import ComfyWSClient, Progress
from comfy_ui.workflow import compile_workflow
from tests.benchmarks.server import embedded

SAMPLES = 200


@dataclass(frozen=True)
class Speed:
    """The seconds of a step of a preset on some GPU, and of nodes by their class."""

    step_s: float
    node_s: Mapping[str, float]
    values: Mapping[str, Any] = field(default_factory=dict)


PRESETS = {
    "sd15": Speed(0.2, {"CheckpointLoaderSimple": 2.0, "CLIPTextEncode": 0.1, "VAEDecode": 0.3}),
    "z_image_turbo": Speed(
        0.5,
        {
            "UNETLoader": 3.0,
            "CLIPLoader": 1.5,
            "VAELoader": 0.3,
            "CLIPTextEncode": 0.6,
            "VAEDecode": 0.5,
        },
    ),
    "sdxl": Speed(0.4, {"CheckpointLoaderSimple": 5.0, "CLIPTextEncode": 0.3, "VAEDecode": 0.8}),
    "sdxl_hires": Speed(
        0.35, {"CheckpointLoaderSimple": 5.0, "CLIPTextEncode": 0.3, "VAEDecode": 1.5}
    ),
    "flux1_dev": Speed(
        0.9,
        {
            "UNETLoader": 4.0,
            "DualCLIPLoader": 2.5,
            "VAELoader": 0.3,
            "CLIPTextEncode": 1.0,
            "VAEDecode": 0.3,
        },
    ),
    "wan21_t2v_1_3b": Speed(
        1.5,
        {
            "UNETLoader": 3.0,
            "CLIPLoader": 2.0,
            "VAELoader": 0.3,
            "CLIPTextEncode": 1.0,
            "VAEDecode": 4.0,
        },
        {"steps": 12},
    ),
}


@dataclass(frozen=True)
class Run:
    """One run: its duration, the mean of |progress - time|, and the error of the remaining time.

    ``eta_error`` is relative, after two steps; None if none was shown then.
    """

    seconds: float
    progress_error: float
    eta_error: float | None
    eta_from_start: bool


async def watch(client: ComfyWSClient, graph: dict[str, Any], values: Mapping[str, Any]) -> Run:
    """Run a graph with these values and compare what was shown with what became true."""
    shown: list[tuple[float, Progress]] = []
    await client.run(
        graph, values=values, on_progress=lambda p: shown.append((time.monotonic(), p))
    )
    end = shown[-1][0]
    first_at, first = next((at, p) for at, p in shown if p.elapsed_s > 0)
    start = first_at - first.elapsed_s
    errors, index = [], 0
    for sample in range(SAMPLES):
        at = start + (end - start) * sample / SAMPLES
        while index + 1 < len(shown) and shown[index + 1][0] <= at:
            index += 1
        errors.append(abs(shown[index][1].progress / 100 - sample / SAMPLES))
    after_two = next(((at, p) for at, p in shown if (p.step or 0) >= 2), None)
    eta_error = None
    if after_two is not None and after_two[1].eta is not None:
        real = end - after_two[0]
        eta_error = abs(after_two[1].eta - real) / real
    return Run(end - start, mean(errors), eta_error, first.eta is not None)


@contextmanager
def server_for(speed: Speed, scale: float) -> Iterator[str]:
    if url := os.environ.get("COMFYUI_URL"):
        yield url
        return
    node_s = {name: seconds * scale for name, seconds in speed.node_s.items()}
    with embedded(1 / (speed.step_s * scale), node_s=node_s) as url:
        yield url


def measure(
    preset: str,
    *,
    scale: float = 1.0,
    runs: int = 2,
    values: Mapping[str, Any] = MappingProxyType({}),
    on_run: Callable[[int, Run], None] = lambda number, run: None,
) -> list[Run]:
    """Run a preset several times on a server that nothing is known of, with other prompts.

    ``values`` are set in the graph of the preset, beyond the limits of its params, too. ``on_run``
    is called with the number and the outcome of each run when it ends.
    """
    speed = PRESETS[preset]

    async def run_all(url: str) -> list[Run]:
        async with ComfyWSClient(url=url) as client:
            measured: list[Run] = []
            for run in range(runs):
                graph = compile_workflow(preset, prompt=f"a fox, {run}", seed=run, **speed.values)
                measured.append(await watch(client, graph, values))
                on_run(len(measured), measured[-1])
            return measured

    with server_for(speed, scale) as url:
        return asyncio.run(run_all(url))
