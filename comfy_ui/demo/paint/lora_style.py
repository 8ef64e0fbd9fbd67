"""How a LoRA changes a painting: it pulls the colors toward the palette that its name suggests."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from .canvas import as_bytes
from .palettes import PALETTES
from .prompt_words import MOODS, number, words

__all__ = ["styled"]

_GRAY: Final = np.asarray((0.30, 0.59, 0.11), np.float32)
_FULL: Final = 0.7  # of the colors at the weight 1


def styled(picture: NDArray[np.uint8], name: str, strength: float) -> NDArray[np.uint8]:
    """Recolor a picture as a LoRA does; a negative weight reverses light and dark."""
    if strength == 0:
        return picture
    colors = np.asarray(PALETTES[_palette_of(name)].all, np.float32)
    pixels = picture[..., :3].astype(np.float32) / 255
    light = pixels @ _GRAY
    if strength < 0:
        light = 1 - light
    stops = np.linspace(0.08, 0.92, len(colors))
    mapped = np.stack([np.interp(light, stops, colors[:, i]) for i in range(3)], axis=-1)
    part = min(1.0, _FULL * abs(strength))
    return as_bytes(pixels + (mapped.astype(np.float32) - pixels) * part)


def _palette_of(name: str) -> str:
    stem = name.rpartition("/")[2].rpartition(".")[0]
    named = {*words(stem.replace("_", " "))}
    if named & {"ink", "line"}:
        return "mono"
    moods = (mood for mood, known in MOODS.items() if named & {*known.split()})
    return next(moods, [*PALETTES][number(stem) % len(PALETTES)])
