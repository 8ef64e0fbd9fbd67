"""Tools of the painter: noise, curves, blends, blurs. Lengths are in units of the height."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.floating[Any]]
Colour = tuple[float, float, float]

# The maximum scroll in one video, in image heights; noise is generated with this margin.
MAX_SCROLL = 1.5


def rgb(text: str) -> Colour:
    """Convert ``"ff8800"`` to numbers from 0 to 1."""
    return (int(text[0:2], 16) / 255, int(text[2:4], 16) / 255, int(text[4:6], 16) / 255)


def as_bytes(values: Floats) -> NDArray[np.uint8]:
    """Convert brightness from 0 to 1 to bytes."""
    rounded: NDArray[np.uint8] = (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)
    return rounded


def mix(a: Sequence[float], b: Sequence[float], part: float) -> Colour:
    x, y, z = (p + (q - p) * part for p, q in zip(a, b, strict=True))
    return (x, y, z)


def smooth(low: float, high: float, value: Floats) -> Floats:
    """Interpolate with an S curve: 0 below ``low``, 1 above ``high``."""
    part: Floats = np.clip((value - low) / (high - low), 0, 1)
    return part * part * (3 - 2 * part)


def ramp(stops: Sequence[Sequence[float]], at: Floats) -> Floats:
    """Colors along evenly spaced stops, eased between them; a last axis of 3 is added."""
    table = np.asarray(stops, np.float32)
    where = np.clip(at, 0, 1) * (len(table) - 1)
    index = np.minimum(where.astype(np.int32), len(table) - 2)
    part: Floats = where - index
    part = (part * part * (3 - 2 * part))[..., None] * 0.5 + part[..., None] * 0.5
    colours: Floats = table[index] * (1 - part) + table[index + 1] * part
    return colours


def blurred(values: Floats, radius: float) -> Floats:
    """Blur by shrinking and enlarging; ``radius`` in pixels. One or three channels."""
    if radius < 0.7:
        return values
    height, width = values.shape[:2]
    small = (max(2, round(width / radius)), max(2, round(height / radius)))
    channels = [values] if values.ndim == 2 else [values[..., i] for i in range(values.shape[2])]
    out = []
    for channel in channels:
        image = Image.fromarray(np.ascontiguousarray(channel, np.float32))
        shrunk = image.resize(
            small, Image.Resampling.BOX if radius < 3 else Image.Resampling.BILINEAR
        )
        out.append(np.asarray(shrunk.resize((width, height), Image.Resampling.BICUBIC)))
    return out[0] if values.ndim == 2 else np.stack(out, axis=2)


def moved(values: Floats, right: int, down: int) -> Floats:
    """Shift by whole pixels, repeating the edge."""
    height, width = values.shape
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    return values[rows][:, columns]


class Canvas:
    """An image in progress, with its own deterministic noise.

    ``x`` runs from 0 to ``aspect``, ``y`` from 0 (top) to 1.
    """

    def __init__(self, width: int, height: int, seed: int, *, detail: float = 1.0) -> None:
        self.width, self.height = width, height
        self.aspect = width / height
        self.seed = seed
        self.detail = detail
        self.x: Floats = ((np.arange(width, dtype=np.float32) + 0.5) / height)[None, :]
        self.y: Floats = ((np.arange(height, dtype=np.float32) + 0.5) / height)[:, None]
        self.image: Floats = np.zeros((height, width, 3), np.float32)

    def random(self, key: int) -> np.random.Generator:
        return np.random.default_rng([self.seed & 0xFFFFFFFF, self.seed >> 32, key])

    # -- noise -----------------------------------------------------------------------------

    def noise(
        self,
        key: int,
        scale: float,
        octaves: int = 5,
        *,
        gain: float = 0.5,
        stretch: float = 1.0,
        shift: float = 0.0,
        lift: float = 0.0,
        rows: tuple[int, int] | None = None,
    ) -> Floats:
        """Fractal noise from 0 to 1, mean 0.5; ``scale`` cells per height, ``stretch`` wider ones.

        ``shift`` and ``lift`` move it left and up; ``rows`` paints a band of rows only.
        """
        top, bottom = rows or (0, self.height)
        total = np.zeros((bottom - top, self.width), np.float32)
        weight, norm = 1.0, 0.0
        for octave in range(max(1, round(octaves * self.detail))):
            cells = scale * 2**octave
            if cells > self.height * 0.7 and octave:
                break
            across = cells / stretch
            columns = int(np.ceil(across * (self.aspect + MAX_SCROLL))) + 6
            lines = int(np.ceil(cells * (1 + MAX_SCROLL))) + 6
            grid = self.random(key * 31 + octave).random((lines, columns), np.float32)
            left = 2 + np.clip(shift, 0, MAX_SCROLL) * across
            upper = 2 + np.clip(lift, 0, MAX_SCROLL) * cells
            box = (
                float(left),
                float(upper + top / self.height * cells),
                float(left + self.aspect * across),
                float(upper + bottom / self.height * cells),
            )
            layer = Image.fromarray(grid).resize(
                (self.width, bottom - top), Image.Resampling.BICUBIC, box=box
            )
            total += np.asarray(layer) * weight
            norm += weight
            weight *= gain
        # Sums of octaves cluster around the middle; widen them to use the full range.
        widened: Floats = np.clip((total / norm - 0.5) * 1.55 + 0.5, 0, 1)
        return widened

    def curve(
        self, key: int, scale: float, octaves: int = 5, *, gain: float = 0.5, shift: float = 0.0
    ) -> Floats:
        """Fractal noise along x, from 0 to 1: a ridge line."""
        x = self.x[0] + np.float32(shift)
        total = np.zeros(self.width, np.float32)
        weight, norm = 1.0, 0.0
        for octave in range(octaves):
            cells = scale * 2**octave
            if cells > self.height * 0.5 and octave:
                break
            count = int(np.ceil(cells * (self.aspect + MAX_SCROLL))) + 5
            values = self.random(key * 37 + octave).random(count).astype(np.float32)
            at = x * cells + 1
            index = at.astype(np.int32)
            part = at - index
            a, b, c, d = (values[np.clip(index + k, 0, count - 1)] for k in (-1, 0, 1, 2))
            total += weight * (
                b
                + 0.5
                * part
                * (c - a + part * (2 * a - 5 * b + 4 * c - d + part * (3 * (b - c) + d - a)))
            )
            norm += weight
            weight *= gain
        return total / norm

    # -- painting --------------------------------------------------------------------------

    def blend(self, colour: Floats | Sequence[float], mask: Floats, top: int = 0) -> None:
        """Lay ``colour`` over the rows from ``top`` on, as far as ``mask`` covers."""
        part = self.image[top : top + mask.shape[0]]
        part += (np.asarray(colour, np.float32) - part) * mask[..., None]

    def glow(self, colour: Sequence[float], light: Floats, top: int = 0) -> None:
        """Add light as ``screen`` does: bright, never beyond white."""
        part = self.image[top : top + light.shape[0]]
        part += (1 - np.clip(part, 0, 1)) * light[..., None] * np.asarray(colour, np.float32)

    def below(self, line: Floats, softness: float = 1.0) -> tuple[Floats, int]:
        """Return a mask of the area below a ridge line, and its first row."""
        top = int(np.clip(np.floor(line.min() * self.height - softness), 0, self.height - 1))
        mask = (self.y[top:] - line[None, :]) * (self.height / softness) + 0.5
        return np.clip(mask, 0, 1, out=mask), top

    def radial(self, x: float, y: float, rows: tuple[int, int] | None = None) -> Floats:
        """Distance from a point."""
        top, bottom = rows or (0, self.height)
        return np.sqrt((self.x - np.float32(x)) ** 2 + (self.y[top:bottom] - np.float32(y)) ** 2)
