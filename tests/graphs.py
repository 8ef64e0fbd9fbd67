"""Small graphs that tests and benchmarks queue, in API format."""

from __future__ import annotations

import itertools
import random
from typing import Any

CHECKPOINT = "sd_xl_base_1.0.safetensors"  # named by a shipped preset, so the engine lists it
Graph = dict[str, Any]

_fresh = itertools.count(random.Random().randrange(2**20))  # other numbers in each process


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def instant(
    *, color: int | None = None, size: int = 64, batch: int = 1, prefix: str = "t"
) -> Graph:
    """A plain picture, saved. Without ``color`` it is one that no server has in its cache."""
    shade = next(_fresh) % 2**24 if color is None else color
    return {
        "1": node("EmptyImage", width=size, height=size, batch_size=batch, color=shade),
        "2": node("SaveImage", images=["1", 0], filename_prefix=prefix),
    }


def sampled(*, steps: int = 6, size: int = 64, prefix: str = "t") -> Graph:
    """Text to image with a sampler, so that a run has a middle. Needs a model, or our engine."""
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name=CHECKPOINT),
        "2": node("CLIPTextEncode", text=prefix, clip=["1", 1]),
        "3": node("EmptyLatentImage", width=size, height=size, batch_size=1),
        "4": node(
            "KSampler",
            model=["1", 0],
            positive=["2", 0],
            negative=["2", 0],
            latent_image=["3", 0],
            seed=next(_fresh),
            steps=steps,
            cfg=7.0,
            sampler_name="euler",
            scheduler="normal",
            denoise=1.0,
        ),
        "5": node("VAEDecode", samples=["4", 0], vae=["1", 2]),
        "6": node("SaveImage", images=["5", 0], filename_prefix=prefix),
    }


def slow(*, links: int, size: int = 768, prefix: str = "t") -> Graph:
    """A chain of blurs over a big picture: a long job for a server without any model.

    Each link is a node, so an interrupt takes effect between two of them; sigmas are new each
    time, so nothing comes from the cache.
    """
    graph: Graph = instant(size=size, prefix=prefix)
    save = graph.pop("2")
    at = "1"
    for link in range(links):
        sigma = 1.0 + (next(_fresh) % 900) / 100
        name = f"blur{link}"
        graph[name] = node("ImageBlur", image=[at, 0], blur_radius=31, sigma=sigma)
        at = name
    save["inputs"]["images"] = [at, 0]
    graph["save"] = save
    return graph
