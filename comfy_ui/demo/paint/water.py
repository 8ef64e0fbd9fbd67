"""Water under a sky: sea, harbor, lake."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from .canvas import Canvas, Floats, blurred, mix, smooth
from .palettes import Palette
from .prompt_words import Wish
from .sky import Sun, paint_sky, place_sun


def sea(canvas: Canvas, wish: Wish, t: float) -> None:
    """Paint a horizon, headlands, boats, and the sky's reflection in the water."""
    random = canvas.random(300)
    horizon = random.uniform(0.50, 0.58)
    sun = place_sun(canvas, wish, horizon)
    palette = wish.palette
    paint_sky(canvas, wish, sun, horizon, t)
    _headlands(canvas, wish, sun, horizon, t)
    lamps = np.zeros((canvas.height, canvas.width), np.float32)
    if wish.has("lighthouse"):
        _lighthouse(canvas, wish, horizon, lamps)
    if wish.has("lamps") or (palette.night > 0.3 and wish.has("boats")):
        _shore_lights(canvas, horizon, lamps)
    _shine(canvas, palette, lamps)
    _water(canvas, palette, sun, horizon, t)
    if wish.has("boats"):
        _boats(canvas, wish, sun, horizon, t)


def _headlands(canvas: Canvas, wish: Wish, sun: Sun, horizon: float, t: float) -> None:
    palette = wish.palette
    haze = mix(palette.sky[3], palette.far, 0.3)
    random = canvas.random(301)
    left = sun.x > canvas.aspect / 2
    for index in range(3):
        depth = index / 2
        rough = canvas.curve(302 + index, 1.6 + depth, 6, gain=0.48, shift=0.2 + t * 0.002 * index)
        reach = canvas.aspect * (0.95, 0.6, 0.34)[index] * random.uniform(0.85, 1.1)
        x = canvas.x[0] if left else canvas.aspect - canvas.x[0]
        fall = 1 - smooth(reach * 0.25, reach, x)
        height = (0.055, 0.10, 0.15)[index] * (0.35 + rough) * fall
        line = (horizon - height + 0.012 * (fall < 0.02)).astype(np.float32)
        colour = mix(mix(palette.far, palette.near, 0.18 + 0.62 * depth), haze, 0.55 * (1 - depth))
        mask, top = canvas.below(line, 1.4)
        fade = smooth(0.0, 0.16, canvas.y[top:] - line[None, :])[..., None] * 0.30 * (1 - depth)
        body = np.asarray(colour, np.float32) * (1 - fade) + np.asarray(haze, np.float32) * fade
        canvas.blend(body, mask * (canvas.y[top:] < horizon + 0.004), top)


def _shore_lights(canvas: Canvas, horizon: float, lamps: Floats) -> None:
    random = canvas.random(310)
    for _ in range(int(34 * canvas.aspect)):
        x = random.random() * canvas.aspect
        y = horizon - abs(random.normal(0, 0.012)) - 0.004
        row, column = int(y * canvas.height), int(x * canvas.height)
        if column < canvas.width:
            lamps[row, column] += random.uniform(0.4, 1.0)


def _lighthouse(canvas: Canvas, wish: Wish, horizon: float, lamps: Floats) -> None:
    unit, left = canvas.height, canvas.random(311).random() < 0.5
    x = canvas.aspect * (0.2 if left else 0.8)
    sheet = Image.new("L", (canvas.width * 2, canvas.height * 2))
    draw = ImageDraw.Draw(sheet)

    def shape(points: list[tuple[float, float]]) -> None:
        draw.polygon(
            [((x + px) * unit * 2, (horizon - py) * unit * 2) for px, py in points], fill=255
        )

    shape([(-0.10, -0.01), (-0.05, 0.025), (0.05, 0.028), (0.12, -0.01)])
    shape([(-0.017, 0.02), (-0.011, 0.17), (0.011, 0.17), (0.017, 0.02)])
    shape([(-0.016, 0.17), (-0.016, 0.176), (0.016, 0.176), (0.016, 0.17)])
    shape([(-0.008, 0.176), (-0.008, 0.198), (0.008, 0.198), (0.008, 0.176)])
    shape([(-0.011, 0.198), (0.0, 0.214), (0.011, 0.198)])
    canvas.blend(wish.palette.near, np.asarray(sheet.reduce(2), np.float32) / 255)
    lamps[int((horizon - 0.187) * unit), min(canvas.width - 1, int(x * unit))] += 6


def _shine(canvas: Canvas, palette: Palette, lamps: Floats) -> None:
    if not lamps.any():
        return
    size = canvas.height / 1000
    power = min(1.0, size) ** 2  # a pixel is a larger share of a smaller picture
    light = blurred(lamps, 2.4 * size) * 7 + blurred(lamps, 9 * size) * 24
    light = (light + blurred(lamps, 40 * size) * 70) * power
    canvas.glow(mix(palette.accent, (1, 0.93, 0.75), 0.35), np.clip(light, 0, 1))


def _water(canvas: Canvas, palette: Palette, sun: Sun, horizon: float, t: float) -> None:
    """The sky mirrored row by row, displaced by waves that grow toward the viewer."""
    top = round(horizon * canvas.height)
    rows = canvas.height - top
    if rows < 4:
        return
    depth = ((np.arange(rows, dtype=np.float32) + 0.5) / canvas.height)[:, None]
    waves = _waves(canvas, depth, t)
    # Grazing rays far off mirror the horizon, near ones the zenith; waves tilt them.
    mirror = (
        top
        - 1
        - (depth**0.93 * 1.05 * canvas.height + waves * (10 + 330 * depth) * canvas.height / 1000)
    )
    index = np.clip(mirror, 0, top - 1).astype(np.int32)
    sway = (waves * (2 + 60 * depth) * canvas.height / 1000).astype(np.int32)
    columns = np.clip(np.arange(canvas.width)[None, :] + sway, 0, canvas.width - 1)
    source = canvas.image[:top]
    reflection = source[index, columns]
    deep = np.asarray(mix(palette.near, palette.sky[0], 0.45), np.float32)
    clear = smooth(-0.05, 0.62, depth / max(0.1, 1 - horizon))[..., None] * 0.62 + 0.10
    tilt = np.clip(0.5 + waves * 1.5, 0, 1)[..., None]
    body = reflection * (1 - clear * (1.15 - 0.5 * tilt)) + deep * clear * (1.15 - 0.5 * tilt)
    canvas.image[top:] = body
    # The path of the light: sparkles where a wave is tilted toward it.
    width = 0.03 + depth * 0.30
    path = np.exp(-(((canvas.x - sun.x) / width) ** 2))
    sparkle = smooth(0.13, 0.30, waves + 0.10 * path - 0.10 * depth) * path**0.8
    strength = (0.55 if sun.moon else 0.85) * (1 if sun.shown else 0.3)
    canvas.glow(mix(palette.light, palette.sky[3], 0.15), np.clip(sparkle * strength, 0, 1), top)
    edge = np.exp(-depth * 120) * 0.35
    canvas.blend(mix(palette.sky[3], palette.light, 0.3), edge * np.ones_like(path), top)


@lru_cache(maxsize=2)
def _wave_texture(seed: int) -> Floats:
    """A square of waves; the frames of a video have the same one. Do not change it."""
    size = 512
    texture = Canvas(size, size, seed).noise(320, 15, 4, gain=0.55, stretch=3.0) - 0.5
    texture = (texture + texture[:, ::-1]) / 1.3  # mirrored, so that it repeats without a seam
    return texture + texture[::-1] * 0.4


def _waves(canvas: Canvas, depth: Floats, t: float) -> Floats:
    """Wave heights in perspective, from about -0.5 to 0.5."""
    texture = _wave_texture(canvas.seed)
    size = len(texture)
    distance = 1 / (depth + 0.035)
    u = (canvas.x - canvas.aspect / 2) * (distance * 0.23 + 0.9) * 150 + 90 * t * 0.2
    v = distance * 30 - depth * 190
    first = texture[np.int32(v - 26 * t) % size, np.int32(u + 10 * t) % size]
    second = texture[np.int32(v * 2.3 + 17 * t) % size, np.int32(u * 2.1 - 14 * t + 200) % size]
    waves = first * 0.62 + second * 0.5
    return blurred(np.asarray(waves, np.float32), max(1.0, canvas.height / 700))


def _boats(canvas: Canvas, wish: Wish, sun: Sun, horizon: float, t: float) -> None:
    random = canvas.random(330)
    count = int(random.integers(3, 6))
    away = -1.0 if sun.x > canvas.aspect / 2 else 1.0
    places = sorted(float(d) for d in random.uniform(0.012, 0.20, count))
    for number, depth in enumerate(places):
        x = canvas.aspect * (0.5 + away * random.uniform(-0.15, 0.36)) + random.uniform(-0.12, 0.12)
        size = 0.035 + depth * 0.85
        _boat(canvas, wish, float(x), horizon + depth, float(size), 340 + number, t)


def _boat(canvas: Canvas, wish: Wish, x: float, y: float, size: float, key: int, t: float) -> None:  # noqa: PLR0917 -- drawn once, in this order
    """A sailing boat and its reflection."""
    random = canvas.random(key)
    unit = canvas.height
    y += 0.002 * float(np.sin(t * 1.1 + key)) * (1 + size * 8)
    x += t * 0.006 * size * 4
    lean = 0.04 * float(np.sin(t * 0.8 + key * 2)) + random.uniform(-0.03, 0.03)
    way = random.choice((-1.0, 1.0))
    hull = [(-0.50, 0.10), (0.56, 0.13), (0.42, -0.03), (-0.40, -0.03)]
    mast = [(-0.012, 0.1), (0.012, 0.1), (0.006, 1.28), (-0.006, 1.28)]
    main = [(-0.03, 1.20), (-0.06, 0.22), (-0.50, 0.20), (-0.34, 0.5), (-0.17, 0.9)]
    jib = [(0.03, 1.05), (0.03, 0.24), (0.50, 0.17), (0.30, 0.46), (0.14, 0.8)]
    half = int(size * 1.7 * unit) + 3
    left, top = int(x * unit) - half, int(y * unit) - int(size * 1.45 * unit)
    bottom = int((y + size * 1.0) * unit)
    left_c, right_c = max(0, left), min(canvas.width, left + 2 * half)
    top_c, bottom_c = max(0, top), min(canvas.height, bottom)
    if right_c - left_c < 3 or bottom_c - top_c < 3:
        return

    def mask(shapes: list[Any], mirror: float) -> Floats:
        sheet = Image.new("L", ((right_c - left_c) * 3, (bottom_c - top_c) * 3))
        draw = ImageDraw.Draw(sheet)
        for points in shapes:
            place = [
                (
                    (x + (way * px + lean * py) * size) * unit * 3 - left_c * 3,
                    (y - mirror * py * size) * unit * 3 - top_c * 3,
                )
                for px, py in points
            ]
            draw.polygon(place, fill=255)
        return np.asarray(sheet.reduce(3), np.float32) / 255

    palette = wish.palette
    part = canvas.image[top_c:bottom_c, left_c:right_c]

    def lay(colour: Any, cover: Floats) -> None:
        part.__iadd__((np.asarray(colour, np.float32) - part) * cover[..., None])

    dark = mix(palette.near, palette.far, 0.12)
    sail = mix(mix(palette.light, palette.sky[3], 0.4), palette.far, 0.30 + 0.25 * palette.night)
    ripple = canvas.noise(key + 50, 70, 2, stretch=5)[top_c:bottom_c, left_c:right_c]
    fade = np.clip(1 - (canvas.y[top_c:bottom_c] - y) / (size * 0.95), 0, 1) * (
        canvas.y[top_c:bottom_c] > y
    )
    broken = smooth(0.25, 0.6, ripple) * fade
    lay(
        mix(sail, palette.near, 0.45), blurred(mask([main, jib], -0.62), unit / 260) * broken * 0.55
    )
    lay(dark, blurred(mask([hull, mast], -0.62), unit / 330) * broken * 0.8)
    lay(sail, mask([main], 1) * 0.96)
    lay(mix(sail, palette.light, 0.3), mask([jib], 1) * 0.9)
    lay(dark, mask([hull, mast], 1))
