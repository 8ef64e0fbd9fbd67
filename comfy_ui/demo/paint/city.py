"""Cities: towers in haze, lit windows, wet streets."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas, Floats, blurred, mix, moved, smooth
from .prompt_words import Wish
from .sky import paint_sky, place_sun


def city(canvas: Canvas, wish: Wish, t: float) -> None:
    """Rows of towers, darker and larger toward the front; the street mirrors them."""
    random = canvas.random(400)
    ground = random.uniform(0.76, 0.82)
    sun = place_sun(canvas, wish, ground - 0.22)
    palette = wish.palette
    paint_sky(canvas, wish, sun, ground, t)
    lit = max(palette.night, 0.25)
    haze = mix(palette.sky[3], palette.sky[2], 0.45)
    layers = 5
    for index in range(layers):
        depth = index / (layers - 1)
        colour = mix(mix(palette.far, palette.near, depth**0.8), haze, 0.62 * (1 - depth) ** 1.1)
        _towers(canvas, wish, colour, depth, ground + 0.01, 410 + index, lit, t)
        if index < layers - 1 and "mist" not in wish.unwanted:
            y = canvas.y[: int(ground * canvas.height) + 1]
            rise = smooth(ground - 0.52, ground, y) ** 1.5 * (0.42 - 0.22 * depth)
            canvas.blend(mix(haze, palette.light, 0.12), rise * np.ones_like(canvas.x))
    _street(canvas, wish, ground, t)
    if wish.has("rain"):
        _rain(canvas, t)


def _towers(  # noqa: PLR0917 -- drawn once, in this order
    canvas: Canvas,
    wish: Wish,
    colour: tuple[float, float, float],
    depth: float,
    ground: float,
    key: int,
    lit: float,
    t: float,
) -> None:
    random = canvas.random(key)
    unit = canvas.height
    palette = wish.palette
    bottom = int(ground * unit)
    mask = np.zeros((bottom, canvas.width), np.float32)
    windows = np.zeros((bottom, canvas.width, 3), np.float32)
    warm = np.asarray(mix(palette.accent, (1.0, 0.84, 0.55), 0.55), np.float32)
    cold = np.asarray(mix(palette.accent, palette.light, 0.25), np.float32)
    neon = np.asarray(palette.accent, np.float32)
    middle = canvas.aspect * random.uniform(0.35, 0.65)
    x = -0.05 - t * 0.008 * (0.3 + depth)
    while x < canvas.aspect + 0.1:
        wide = random.uniform(0.035, 0.085) * (0.65 + 0.85 * depth)
        lift = (
            np.exp(-(((x - middle) / 0.55) ** 2)) if depth < 0.8 else 0.25 + abs(x - middle) * 0.6
        )
        tall = (0.16 + 0.30 * lift * random.uniform(0.5, 1.25)) * (1.12 - 0.25 * depth)
        if depth >= 0.8:
            tall *= random.uniform(0.35, 1.0)
        setback = random.random() < 0.45
        spire = random.random() < 0.16 and depth < 0.8
        steps = [(x, wide, tall)]
        if setback:
            steps.append((x + wide * 0.16, wide * 0.68, tall * 1.14))
        if spire:
            steps.append((x + wide * 0.48, wide * 0.03, tall * 1.3))
        pitch = (0.0068 + 0.0045 * depth) * random.uniform(0.85, 1.2)
        share = lit * random.uniform(0.12, 0.62)
        tone = warm if random.random() < 0.68 else cold
        for left, across, up in steps:
            c0, c1 = int(left * unit), int((left + across) * unit)
            c0, c1, r0 = max(0, c0), min(canvas.width, max(c1, c0 + 1)), int((ground - up) * unit)
            r0 = max(0, r0)
            if c1 <= c0 or r0 >= bottom:
                continue
            mask[r0:bottom, c0:c1] = 1
            windows[r0:bottom, c0:c1] = 0
            if c1 - c0 > 5:
                _windows(windows[r0:bottom, c0:c1], random, pitch * unit, share, tone)
        if spire:
            row, column = int((ground - tall * 1.3) * unit), int((x + wide * 0.5) * unit)
            if 0 <= row < bottom and 0 <= column < canvas.width:
                windows[max(0, row) : row + 2, column : column + 2] = (1.0, 0.25, 0.2)
        if palette.night > 0.7 and random.random() < 0.35 * depth + 0.12:
            _sign(windows, random, x, wide, ground - tall * random.uniform(0.3, 0.9), unit, neon)
        x += wide * random.uniform(0.82, 1.25)
    edge = mask * np.clip(1 - moved(mask, 2, 0), 0, 1)
    body = (
        np.asarray(colour, np.float32)
        * (1.08 - 0.22 * smooth(0.2, ground, canvas.y[:bottom]))[..., None]
    )
    canvas.blend(body, mask)
    canvas.glow(palette.sky[3], edge * 0.16 * (1 - palette.night))
    glow = blurred(windows, unit / 130) * (0.85 + 0.5 * palette.night)
    shine = windows * (0.55 + 0.45 * depth) + glow * 0.55
    canvas.image[:bottom] += (1 - np.clip(canvas.image[:bottom], 0, 1)) * np.clip(shine, 0, 1)


def _windows(
    part: Floats, random: np.random.Generator, pitch: float, share: float, tone: Floats
) -> None:
    rows, columns = part.shape[:2]
    step = max(3, round(pitch))
    lines, cells = rows // step + 1, columns // step + 1
    on = random.random((lines, cells)) < share
    on &= random.random((lines, 1)) < 0.85
    bright = (on * random.uniform(0.35, 1.0, (lines, cells))).astype(np.float32)
    pane = np.zeros((step, step), np.float32)
    pane[max(1, step // 4) : max(2, step - step // 4), 1 : max(2, step - 1)] = 1
    sheet = np.kron(bright, pane)[:rows, :columns]
    sheet[:, -2:] = 0
    part += sheet[..., None] * tone


def _sign(  # noqa: PLR0917 -- drawn once, in this order
    windows: Floats,
    random: np.random.Generator,
    x: float,
    wide: float,
    y: float,
    unit: int,
    neon: Floats,
) -> None:
    tall, across = random.uniform(0.03, 0.09), random.uniform(0.006, 0.014)
    other = np.asarray((1.0, 0.25, 0.62), np.float32)
    colour = neon if random.random() < 0.55 else other
    c0 = int((x + wide * random.uniform(0.1, 0.8)) * unit)
    r0, r1 = int(y * unit), int((y + tall) * unit)
    c1 = c0 + max(2, int(across * unit))
    if c0 >= 0 and r0 > 0:
        windows[r0:r1, c0:c1] = colour * 0.95
        gap = max(3, int(0.008 * unit))
        windows[r0:r1:gap, c0:c1] *= 0.35


def _street(canvas: Canvas, wish: Wish, ground: float, t: float) -> None:
    """The city once more, upside down, drawn out by wet asphalt or a river."""
    top = int(ground * canvas.height)
    rows = canvas.height - top
    palette = wish.palette
    depth = ((np.arange(rows, dtype=np.float32) + 0.5) / canvas.height)[:, None]
    ripple = (
        canvas.noise(430, 26, 4, stretch=3.5, shift=0.2 + t * 0.03, rows=(top, canvas.height)) - 0.5
    )
    stretch = 2.4
    index = np.clip(
        top
        - 2
        - depth * stretch * canvas.height
        - ripple * (8 + 260 * depth) * canvas.height / 1000,
        0,
        top - 1,
    )
    columns = np.clip(
        np.arange(canvas.width)[None, :] + (ripple * 26 * canvas.height / 1000 * (0.4 + 6 * depth)),
        0,
        canvas.width - 1,
    )
    source = blurred(canvas.image[:top], canvas.height / 300)
    mirror = source[index.astype(np.int32), columns.astype(np.int32)]
    dark = np.asarray(mix(palette.near, palette.sky[0], 0.25), np.float32)
    loss = np.clip(0.30 + depth * 1.6 + ripple * 0.5, 0, 1)[..., None]
    canvas.image[top:] = mirror * (1 - loss) + dark * loss
    canvas.blend(
        mix(palette.near, (0, 0, 0), 0.3), np.exp(-depth * 260) * 0.8 * np.ones_like(canvas.x), top
    )


def _rain(canvas: Canvas, t: float) -> None:
    streaks = canvas.noise(440, 300, 1, stretch=0.06, lift=(t * 1.1) % 1.2)
    canvas.glow((0.8, 0.86, 0.95), smooth(0.80, 1.0, streaks) * 0.22)
