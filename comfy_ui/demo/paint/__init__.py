"""The painter: pictures from words, without a model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """What decides on a picture. The same brief gives the same picture."""

    prompt: str
    width: int
    height: int
    seed: int = 0
    negative: str = ""
    steps: int = 20
    cfg: float = 7.0
    sampler: str = "euler"
    scheduler: str = "normal"
    taste: str = ""


def picture(brief: Brief) -> NDArray[np.uint8]:
    rng = np.random.default_rng([brief.seed, len(brief.prompt)])
    a, b = rng.integers(0, 255, (2, 3))
    ramp = np.linspace(0, 1, brief.height)[:, None, None]
    return np.broadcast_to(a * ramp + b * (1 - ramp), (brief.height, brief.width, 3)).astype(np.uint8)
