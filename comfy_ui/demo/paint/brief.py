"""A painting's parameters, and how they become an image or video."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from . import bloom, city, dream, figures, land, water
from .canvas import Canvas
from .finish import brushwork, develop, mark
from .lora_style import styled
from .prompt_words import Wish, number, understand

Picture = NDArray[np.uint8]

_SCENES: dict[str, Callable[[Canvas, Wish, float], None]] = {
    "mountains": land.mountains,
    "desert": land.desert,
    "forest": land.forest,
    "sea": water.sea,
    "city": city.city,
    "space": dream.space,
    "abstract": dream.silk,
    "flowers": bloom.flowers,
    "portrait": figures.portrait,
    "cat": figures.cat,
}
# A larger video is painted smaller and enlarged, to save time.
FILM_PIXELS = 8_000_000
SMALLEST = 16  # smaller images are painted at this size and shrunk


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """Everything that determines an image. Equal briefs give equal images."""

    prompt: str
    width: int
    height: int
    seed: int = 0
    negative: str = ""
    steps: int = 20
    cfg: float = 7.0
    sampler: str = "euler"
    scheduler: str = "normal"
    loras: tuple[tuple[str, float], ...] = ()

    def sized(self, width: int, height: int) -> Brief:
        return replace(self, width=width, height=height)


def picture(brief: Brief, *, time_s: float = 0.0, signed: bool = True) -> Picture:
    """Paint ``uint8 [height, width, 3]``; ``time_s`` selects a moment of the same scene."""
    if min(brief.width, brief.height) < SMALLEST:
        large = brief.sized(max(SMALLEST, brief.width), max(SMALLEST, brief.height))
        shrunk = Image.fromarray(picture(large, time_s=time_s, signed=False))
        return np.asarray(shrunk.resize((brief.width, brief.height), Image.Resampling.BOX))
    key = number(brief.prompt, brief.seed)
    wish = understand(brief.prompt, brief.negative, key)
    detail = min(1.0, 0.6 + brief.steps / 18)
    # Known words of the negative prompt remove things; unknown ones still vary the details.
    canvas = Canvas(brief.width, brief.height, number(brief.negative, key), detail=detail)
    _SCENES.get(wish.scene, land.mountains)(canvas, wish, time_s)
    if wish.style in ("oil", "watercolour"):
        brushwork(canvas, int(9000 * min(1.6, canvas.aspect)), watery=wish.style == "watercolour")
    done = develop(
        canvas,
        cfg=brief.cfg,
        sampler=brief.sampler,
        scheduler=brief.scheduler,
        night=wish.palette.night,
        clean=bool(wish.unwanted & {"noise", "grain", "grainy"}),
    )
    for name, strength in brief.loras:
        done = styled(done, name, strength)
    if signed:
        mark(done)
    return done


def sketch(brief: Brief, longest: int = 320) -> Picture:
    """Paint a small version without the mark, for previews."""
    scale = min(1.0, longest / max(brief.width, brief.height))
    small = brief.sized(max(16, round(brief.width * scale)), max(16, round(brief.height * scale)))
    return picture(small, signed=False)


def film(
    brief: Brief, frames: int, fps: float, *, most_pixels: int = FILM_PIXELS
) -> Iterator[Picture]:
    """Yield the frames of a video, painted with ``most_pixels`` in all, and enlarged."""
    scale = min(1.0, (most_pixels / (brief.width * brief.height * frames)) ** 0.5)
    small = brief.sized(max(16, round(brief.width * scale)), max(16, round(brief.height * scale)))
    for index in range(frames):
        yield enlarged(picture(small, time_s=index / fps, signed=False), brief)


def enlarged(painted: Picture, brief: Brief) -> Picture:
    """Return a small version in full size, with the mark: 1024² take a fifth of the time."""
    size = brief.width, brief.height
    if painted.shape[1::-1] == size:
        full = painted.copy()
    else:
        full = np.array(Image.fromarray(painted).resize(size, Image.Resampling.BICUBIC))
    mark(full)
    return full
