"""Figures: a profile filled with a landscape, a cat before an evening sky."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw

from . import land, water
from .canvas import Canvas, Floats, blurred, mix, ramp, smooth
from .prompt_words import Wish
from .sky import paint_sky, place_sun

Points = list[tuple[float, float]]

# A head in profile looking right, from the crown over the face down to the chest and back.
_PROFILE: Points = [
    (0.02, -1.02), (0.22, -1.00), (0.38, -0.91), (0.47, -0.77), (0.50, -0.64), (0.495, -0.55),
    (0.515, -0.48), (0.565, -0.38), (0.625, -0.275), (0.615, -0.235), (0.555, -0.215),
    (0.550, -0.185), (0.578, -0.140), (0.565, -0.105), (0.545, -0.092), (0.565, -0.060),
    (0.548, -0.020), (0.520, 0.000), (0.530, 0.050), (0.525, 0.105), (0.480, 0.155),
    (0.400, 0.170), (0.300, 0.175), (0.225, 0.205), (0.185, 0.27), (0.18, 0.40), (0.22, 0.53),
    (0.34, 0.64), (0.52, 0.72), (0.68, 0.82), (0.78, 1.05), (0.84, 1.5), (-1.0, 1.5),
    (-0.93, 1.05), (-0.82, 0.82), (-0.60, 0.70), (-0.40, 0.61), (-0.32, 0.48), (-0.33, 0.30),
    (-0.40, 0.12), (-0.49, -0.08), (-0.54, -0.30), (-0.53, -0.54), (-0.44, -0.78), (-0.24, -0.96),
]  # fmt: skip
# A sitting cat seen from behind, its head turned a little.
_CAT: Points = [
    (-0.02, -1.00), (0.06, -1.02), (0.13, -1.03), (0.17, -1.10), (0.235, -1.22), (0.265, -1.08),
    (0.285, -0.95), (0.30, -0.82), (0.265, -0.70), (0.19, -0.62), (0.21, -0.52), (0.30, -0.36),
    (0.375, -0.16), (0.405, 0.02), (0.385, 0.16), (0.33, 0.22), (0.10, 0.235), (-0.12, 0.235),
    (-0.34, 0.22), (-0.41, 0.13), (-0.42, -0.02), (-0.375, -0.20), (-0.29, -0.40), (-0.20, -0.54),
    (-0.19, -0.62), (-0.265, -0.70), (-0.30, -0.82), (-0.285, -0.95), (-0.265, -1.08),
    (-0.235, -1.22), (-0.16, -1.10), (-0.11, -1.03),
]  # fmt: skip


def _outline(points: Points, steps: int = 8) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """A closed smooth curve through the points (Catmull-Rom)."""
    p = np.asarray(points)
    previous, following, after = np.roll(p, 1, 0), np.roll(p, -1, 0), np.roll(p, -2, 0)
    parts = [
        0.5
        * (
            2 * p
            + (following - previous) * s
            + (2 * previous - 5 * p + 4 * following - after) * s**2
            + (3 * p - previous - 3 * following + after) * s**3
        )
        for s in np.arange(steps) / steps
    ]
    return np.stack(parts, 1).reshape(-1, 2)


def _silhouette(  # noqa: PLR0917 -- drawn once, in this order
    canvas: Canvas, points: Points, x: float, y: float, size: float, way: float
) -> Floats:
    scale = 2 * canvas.height
    curve = _outline(points)
    place = [((x + way * px * size) * scale, (y + py * size) * scale) for px, py in curve]
    sheet = Image.new("L", (canvas.width * 2, canvas.height * 2))
    ImageDraw.Draw(sheet).polygon(place, fill=255)
    return np.asarray(sheet.reduce(2), np.float32) / 255


def portrait(canvas: Canvas, wish: Wish, t: float) -> None:
    """A double exposure: a profile against pale light, a landscape inside."""
    palette = wish.palette
    random = canvas.random(700)
    way = random.choice((-1.0, 1.0))
    size = 0.50 * min(1.0, canvas.aspect * 1.05)
    x, y = canvas.aspect / 2 - way * 0.03, 0.62 - 0.02 * float(np.sin(t * 0.4))
    inner = Canvas(canvas.width, canvas.height, canvas.seed, detail=canvas.detail)
    scene = (land.mountains, land.forest, water.sea)[int(random.integers(3))]
    scene(inner, replace(wish, things=wish.things | {"clouds"}), t)
    pale = mix(palette.sky[3], (0.97, 0.96, 0.94), 0.62)
    edge = mix(palette.sky[2], pale, 0.45)
    canvas.image[:] = ramp(
        (pale, mix(pale, edge, 0.5), edge), canvas.radial(x + way * 0.3, 0.38) * 0.95
    )
    canvas.blend(mix(edge, palette.far, 0.3), smooth(0.45, 1.0, canvas.noise(701, 2.4, 5)) * 0.22)
    mask = _silhouette(canvas, _PROFILE, x, y, size, way)
    soft = blurred(mask, canvas.height / 70)
    # The figure dissolves toward the back of the head and the chest.
    drift = canvas.noise(702, 3.0, 5, gain=0.55, shift=0.2 + t * 0.02)
    back = smooth(0.10, 0.75, -way * (canvas.x - x) / size + 0.35 * (canvas.y - 0.3) / size)
    fade = smooth(0.30, 0.72, drift * 0.75 + back * 0.55 - 0.15)
    fade = np.maximum(fade * back, smooth(0.86, 1.0, canvas.y + (drift - 0.5) * 0.35) * 0.9)
    cover = mask * (1 - 0.92 * fade)
    dark = np.asarray(mix(palette.near, palette.far, 0.35), np.float32)
    deep = inner.image * (0.80 + 0.35 * inner.image) * 0.92
    # A pale scene would be lost on the pale ground: it is pulled toward the dark.
    pale_part = float(np.clip((deep.mean() - 0.42) * 2.2, 0, 0.6))
    deep = deep * (0.84 - 0.5 * pale_part) + dark * (0.16 + 0.5 * pale_part)
    canvas.blend(deep, cover)
    outer = smooth(0.5, 0.9, soft) * (1 - smooth(0.92, 1.0, soft))
    rim = outer * mask * smooth(-0.2, 0.4, way * (canvas.x - x) / size) * (1 - fade)
    canvas.glow(palette.light, rim * 0.10)


def cat(canvas: Canvas, wish: Wish, t: float) -> None:
    """A cat on a ledge, rimmed with light, looking at the sky."""
    palette = wish.palette
    random = canvas.random(720)
    horizon = 0.74
    sun = place_sun(canvas, wish, horizon)
    x = canvas.aspect * 0.5 + random.uniform(-0.05, 0.05)
    sun = replace(
        sun, x=float(x + random.choice((-0.07, 0.07))), y=0.50, radius=0.20 if sun.moon else 0.17
    )
    paint_sky(canvas, wish, sun, horizon + 0.15, t)
    haze = mix(palette.sky[3], palette.far, 0.35)
    for index in range(3):
        rough = canvas.curve(721 + index, 1.5 + index, 6, shift=0.2 + t * 0.004 * index)
        line = (0.80 + 0.055 * index - 0.13 * (rough - 0.3) * (1 - 0.25 * index)).astype(np.float32)
        mask, top = canvas.below(line, 1.5)
        canvas.blend(mix(haze, palette.near, 0.22 + 0.26 * index), mask, top)
    size = 0.37
    y = 0.845 - size * 0.235 + 0.02
    breath = 1 + 0.006 * float(np.sin(t * 2.2))
    body = _silhouette(canvas, _CAT, x, y, size * breath, 1.0)
    tail = _tail(canvas, x, y, size, t)
    figure = np.maximum(body, tail)
    ledge, top = canvas.below(np.full(canvas.width, 0.862, np.float32), 1.5)
    outline = figure.copy()
    outline[top:] = np.maximum(outline[top:], ledge)
    ink = mix(palette.near, (0.02, 0.02, 0.04), 0.45)
    fur = canvas.noise(730, 60, 3, stretch=0.35)
    tone = np.asarray(ink, np.float32) * (0.75 + 0.5 * fur[..., None])
    canvas.blend(tone, outline)
    inner = blurred(figure, canvas.height / 75)
    rim = smooth(0.98, 0.55, inner) * figure * smooth(0.15, -0.35, (canvas.y - y) / size)
    canvas.glow(mix(palette.light, palette.sky[2], 0.35), rim * 0.55)


def _tail(canvas: Canvas, x: float, y: float, size: float, t: float) -> Floats:
    scale = 2 * canvas.height
    sheet = Image.new("L", (canvas.width * 2, canvas.height * 2))
    draw = ImageDraw.Draw(sheet)
    sway = 0.05 * float(np.sin(t * 1.6))
    for part in np.linspace(0, 1, 60):
        px = 0.30 + 0.62 * part - 0.20 * part**3 + sway * part**2
        py = 0.17 + 0.05 * np.sin(part * 3.0) - 0.34 * part**3
        half = 0.052 * (1 - 0.45 * part)
        cx, cy = (x + px * size) * scale, (y + py * size) * scale
        radius = half * size * scale
        draw.ellipse((cx - radius, cy - radius, cx + radius, cy + radius), fill=255)
    return np.asarray(sheet.reduce(2), np.float32) / 255
