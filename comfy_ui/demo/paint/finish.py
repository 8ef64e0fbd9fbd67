"""Post-processing: brushwork, tone, bloom, grain, vignette, the mark."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .canvas import Canvas, Floats, as_bytes, blurred

# Each sampler's visible effect: grain and sharpness.
_CRISP = {
    "dpmpp": 0.28,
    "uni": 0.22,
    "res": 0.25,
    "deis": 0.2,
    "heun": 0.15,
    "lcm": -0.15,
    "ddim": 0.05,
}


def brushwork(canvas: Canvas, strokes: int, *, watery: bool = False) -> None:
    """Repaint in strokes that follow a flow field, from broad to fine."""
    image = (np.clip(canvas.image, 0, 1) * 255).astype(np.uint8)
    random = canvas.random(200)
    flow = canvas.noise(201, 1.6, 2) * 6.3 + canvas.noise(202, 5, 2) * 1.8
    sheet = Image.fromarray(
        (blurred(canvas.image, canvas.height / 30).clip(0, 1) * 255).astype(np.uint8)
    )
    draw = ImageDraw.Draw(sheet)
    unit = canvas.height
    detail = np.abs(canvas.image - blurred(canvas.image, unit / 40)).sum(axis=2)
    for size, share in ((0.030, 0.16), (0.016, 0.30), (0.008, 0.54)):
        count = int(strokes * share)
        xs = random.integers(0, canvas.width, count)
        ys = random.integers(0, canvas.height, count)
        wide = max(1, round(size * unit * (0.55 if size < 0.01 else 0.7)))
        length = size * unit * (2.4 if watery else 3.0)
        jitter = random.normal(0, 7, (count, 1)).astype(np.int16) + random.normal(
            0, 3, (count, 3)
        ).astype(np.int16)
        colours = np.clip(image[ys, xs].astype(np.int16) + jitter, 0, 255).tolist()
        angles = flow[ys, xs]
        keep = detail[ys, xs] > (0.0 if size > 0.01 else 0.05)
        dx, dy = np.cos(angles) * length / 2, np.sin(angles) * length / 2
        bend = random.normal(0, 0.22, count) * length
        for x, y, a, b, c, colour, visible in zip(
            xs.tolist(),
            ys.tolist(),
            dx.tolist(),
            dy.tolist(),
            bend.tolist(),
            colours,
            keep.tolist(),
            strict=True,
        ):
            if visible:
                draw.line(
                    ((x - a, y - b), (x - b * c / length, y + a * c / length), (x + a, y + b)),
                    fill=tuple(colour),
                    width=wide,
                    joint="curve",
                )
    painted = np.asarray(sheet, np.float32) / 255
    if watery:
        soft = blurred(painted, unit / 260)
        paper = canvas.noise(203, 90, 3)[..., None]
        canvas.image[:] = 1 - (1 - soft) * (0.80 + 0.16 * paper)
        return
    # Thick paint: strokes catch light from the upper left.
    grey = painted.mean(axis=2)
    relief = np.clip((grey - np.roll(np.roll(grey, 1, 0), 1, 1)) * 1.4, -0.09, 0.09)
    canvas.image[:] = painted * (1 + relief[..., None])


def develop(
    canvas: Canvas, *, cfg: float, sampler: str, scheduler: str, night: float, clean: bool = False
) -> NDArray[np.uint8]:
    """Bloom, contrast (cfg), crispness and grain (sampler, scheduler), vignette; as bytes."""
    image = canvas.image
    unit = canvas.height
    np.clip(image, 0, 1.2, out=image)
    bright = np.clip(image - 0.72, 0, 1)
    glow = {"exponential": 0.5, "karras": 0.25, "beta": 0.35}.get(scheduler, 0.32)
    image += _small_blur(bright, unit / 22) * glow
    crisp = next((v for k, v in _CRISP.items() if sampler.startswith(k)), 0.1)
    if scheduler in ("karras", "sgm_uniform"):
        crisp += 0.08
    if crisp:
        image += (image - blurred(image, max(1.2, unit / 620))) * crisp
    # cfg 1 is what distilled models run at: neutral. Above 8 it bites.
    power = 1.0 if cfg <= 1.5 else 0.92 + 0.012 * min(cfg, 30)
    grey = image.mean(axis=2, keepdims=True)
    image += (image - grey) * ((power - 1) * 1.1 + 0.05)
    pivot = 0.44
    image -= pivot
    image *= 0.98 + (power - 1) * 0.9 + 0.05
    image += pivot
    np.clip(image, 0, 1, out=image)
    image *= 1.10 - 0.13 * image * image  # a gentle shoulder
    distance = ((canvas.x - canvas.aspect / 2) / canvas.aspect) ** 2 + (canvas.y - 0.5) ** 2
    image *= (1.03 - 0.42 * distance)[..., None]
    if not clean:
        strength = (
            0.008 + (0.010 if "ancestral" in sampler or "sde" in sampler else 0.0) + 0.004 * night
        )
        grain = canvas.random(210).standard_normal(
            (unit // 2 + 1, canvas.width // 2 + 1), np.float32
        )
        coarse = np.asarray(
            Image.fromarray(grain).resize((canvas.width, unit), Image.Resampling.BICUBIC)
        )
        fine = canvas.random(211).standard_normal((unit, canvas.width), np.float32)
        image += ((coarse + 0.6 * fine) * strength)[..., None]
    return as_bytes(image)


def _small_blur(image: Floats, radius: float) -> Floats:
    """A wide blur, computed on a shrunk copy: bloom needs no more."""
    step = max(1, int(radius // 3))
    small = image[::step, ::step]
    soft = blurred(blurred(small, radius / step), radius / step / 2)
    height, width = image.shape[:2]
    return np.stack(
        [
            np.asarray(
                Image.fromarray(np.ascontiguousarray(soft[..., i])).resize(
                    (width, height), Image.Resampling.BILINEAR
                )
            )
            for i in range(3)
        ],
        axis=2,
    )


@cache
def _mark(size: int) -> Floats:
    font = ImageFont.load_default(size)
    letters = "d e m o"
    left, top, right, bottom = font.getbbox(letters)
    sheet = Image.new("L", (int(right - left) + 4, int(bottom - top) + 4))
    ImageDraw.Draw(sheet).text((2 - left, 2 - top), letters, font=font, fill=255)
    return np.asarray(sheet, np.float32) / 255


def mark(picture: NDArray[np.uint8]) -> None:
    """Sign an image faintly with ``demo`` in its lower right corner, in place."""
    height, width = picture.shape[:2]
    if min(height, width) < 128:
        return
    letters = _mark(max(9, round(min(height, width) * 0.017)))
    margin = round(min(height, width) * 0.02)
    rows, columns = letters.shape
    part = picture[-rows - margin : -margin, -columns - margin : -margin].astype(np.float32)
    ink = 255.0 if part.mean() < 150 else 0.0
    part += (ink - part) * letters[..., None] * 0.42
    picture[-rows - margin : -margin, -columns - margin : -margin] = part.astype(np.uint8)
