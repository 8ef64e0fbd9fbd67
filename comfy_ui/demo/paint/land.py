"""Landscapes: mountains in haze, dunes, forests."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from .canvas import Canvas, Colour, Floats, blurred, mix, moved, ramp, smooth
from .prompt_words import Wish
from .sky import Sun, paint_sky, paint_stars, place_sun


def mountains(canvas: Canvas, wish: Wish, t: float) -> None:
    """Ridges behind ridges, paler with distance, mist in the valleys, trees on the nearest."""
    random = canvas.random(40)
    horizon = random.uniform(0.56, 0.66)
    sun = place_sun(canvas, wish, horizon - 0.05)
    paint_sky(canvas, wish, sun, horizon, t)
    palette = wish.palette
    slopes = _relief(canvas, sun, 41, 3.4)
    # Mirrored and negated, the same slopes serve every second ridge, lit from the same side.
    reliefs = (slopes, -slopes[:, ::-1])
    layers = 5
    haze = mix(mix(palette.sky[3], palette.light, 0.2), palette.far, 0.22)
    snow = wish.has("snow") or wish.moods[0] == "winter"
    for index in range(layers):
        depth = index / (layers - 1)  # 0 far, 1 near
        rough = canvas.curve(
            50 + index, 1.5 + 0.9 * depth, 7, gain=0.5, shift=0.2 + t * 0.006 * (1 + 5 * depth)
        )
        peaks = 1 - np.abs(2 * rough - 1) if index < 3 else rough
        height = (0.34, 0.27, 0.22, 0.17, 0.15)[index]
        base = horizon + 0.02 + (0.0, 0.045, 0.11, 0.2, 0.32)[index]
        line = (base - height * (peaks**1.25 - 0.12)).astype(np.float32)
        colour = mix(palette.far, palette.near, depth**1.15)
        colour = mix(colour, haze, 0.50 * (1 - depth) ** 1.2)
        _ridge(
            canvas,
            line,
            colour,
            haze,
            reliefs[index % 2],
            depth,
            glow=palette.light,
            snow=snow and index < 4,
        )
        if index < layers - 1 and "mist" not in wish.unwanted:
            strength = 0.75 if wish.has("mist") else 0.42
            _mist(
                canvas,
                haze,
                base,
                0.055 + 0.05 * depth,
                strength * (1 - 0.4 * depth),
                60 + index,
                t,
            )
        if index == 3 or (index == 4 and wish.scene != "desert"):
            dense = wish.has("pines") or wish.moods[0] in ("forest", "winter", "storm")
            _pines(canvas, line, colour, 70 + index, size=0.035 + 0.055 * (index - 3), dense=dense)


def _relief(canvas: Canvas, sun: Sun, key: int, scale: float) -> Floats:
    """Light and shade of gullied slopes, from -1 to 1, lit from the sun's side."""
    ground = canvas.noise(key, scale, 6, gain=0.52, stretch=0.62)
    ground = 1 - np.abs(2 * ground - 1)
    step = max(1, canvas.height // 110)
    way = step if sun.x > canvas.aspect / 2 else -step
    slope = ground - moved(ground, -way, step // 2)
    relief: Floats = np.clip(blurred(slope, canvas.height / 500) * 5.0, -1, 1)
    return relief


def _ridge(  # noqa: PLR0917 -- drawn once, in this order
    canvas: Canvas,
    line: Floats,
    colour: Colour,
    haze: Colour,
    relief: Floats,
    depth: float,
    *,
    glow: Colour,
    snow: bool,
) -> None:
    mask, top = canvas.below(line, 1.4)
    below = canvas.y[top:] - line[None, :]
    shade = relief[top:] * np.exp(-below * (6.0 - 4.0 * depth)) * (0.85 - 0.35 * depth)
    warm = np.asarray(mix(colour, glow, 0.55), np.float32)
    cool = np.asarray(mix(colour, (0.10, 0.12, 0.25), 0.30), np.float32)
    lit = np.clip(shade, 0, 1)[..., None] * 0.62
    dim = np.clip(-shade, 0, 1)[..., None] * 0.55
    body = np.asarray(colour, np.float32) * (1 - lit - dim) + warm * lit + cool * dim
    # Valleys fill with air: toward its foot a far ridge takes the color of the haze.
    foot = smooth(0.0, 0.26 + 0.34 * depth, below)[..., None] * (0.80 - 0.72 * depth)
    body += (np.asarray(haze, np.float32) - body) * foot
    if snow:
        white = smooth(0.16, 0.0, below + shade * 0.07) * (0.78 - 0.4 * depth)
        tone = np.asarray(mix((0.95, 0.97, 1.0), haze, 0.30), np.float32)
        body += (tone * (0.90 + 0.22 * shade[..., None]) - body) * white[..., None]
    canvas.blend(body, mask, top)


def _mist(  # noqa: PLR0917 -- drawn once, in this order
    canvas: Canvas,
    colour: Colour,
    base: float,
    thickness: float,
    strength: float,
    key: int,
    t: float,
) -> None:
    top = int(np.clip((base - thickness) * canvas.height, 0, canvas.height - 2))
    bottom = int(np.clip((base + thickness * 2.4) * canvas.height, top + 1, canvas.height))
    y = canvas.y[top:bottom]
    drift = canvas.noise(key, 4, 3, stretch=4, shift=0.2 + t * 0.035, rows=(top, bottom))
    band = np.exp(-(((y - base - thickness * 0.5) / thickness) ** 2))
    canvas.blend(colour, band * strength * (0.35 + 0.9 * drift).clip(0, 1), top)


def _pines(
    canvas: Canvas, line: Floats, colour: Colour, key: int, *, size: float, dense: bool
) -> None:
    """Conifers along a ridge, drawn at double size and shrunk for soft edges."""
    random = canvas.random(key)
    stands = canvas.curve(key + 5, 2.2, 2)
    count = int(canvas.aspect / size * (5.0 if dense else 2.6))
    top = max(0, int((line.min() - size * 1.9) * canvas.height))
    bottom = min(canvas.height, int((line.max() + size * 0.3) * canvas.height) + 2)
    if bottom - top < 3:
        return
    sheet = Image.new("L", (canvas.width * 2, (bottom - top) * 2))
    draw = ImageDraw.Draw(sheet)
    for _ in range(count):
        x = random.random() * canvas.aspect
        column = min(canvas.width - 1, int(x * canvas.height))
        tall = size * random.uniform(0.45, 1.25) * (0.45 + stands[column])
        ragged = random.uniform(0.5, 1.3, 40)
        if stands[column] < (0.22 if dense else 0.48):
            continue
        _pine(draw, x, float(line[column]) + size * 0.12, tall, canvas.height * 2, top * 2, ragged)
    mask = np.asarray(sheet.reduce(2), np.float32) / 255
    canvas.blend(mix(colour, (0, 0, 0), 0.22), mask, top)


def _pine(  # noqa: PLR0917 -- drawn once, in this order
    draw: ImageDraw.ImageDraw,
    x: float,
    foot: float,
    tall: float,
    unit: int,
    top: int,
    ragged: np.ndarray[Any, Any],
) -> None:
    """A conifer with drooping branches; ``ragged`` are about forty numbers around 1."""
    tiers = int(np.clip(tall * unit / 14, 5, 18))
    wide = tall * 0.19 * float(ragged[0])
    left, right = [], []
    for tier in range(tiers):
        part = tier / tiers
        low = foot - tall * (0.06 + 0.92 * part)
        high = foot - tall * (0.06 + 0.92 * (part + 0.62 / tiers))
        reach = wide * (1 - part) ** 0.85 + 0.004 * tall
        a, b = float(ragged[2 * tier % 38 + 1]), float(ragged[2 * tier % 38 + 2])
        left += [(x - reach * a, low + 0.012 * tall), (x - reach * 0.34, high)]
        right += [(x + reach * b, low + 0.012 * tall), (x + reach * 0.34, high)]
    points = [*left, (x, foot - tall), *reversed(right)]
    draw.polygon([(px * unit, py * unit - top) for px, py in points], fill=255)
    trunk = tall * 0.014
    draw.rectangle(
        (
            (x - trunk) * unit,
            (foot - tall * 0.12) * unit - top,
            (x + trunk) * unit,
            foot * unit - top,
        ),
        fill=255,
    )


def desert(canvas: Canvas, wish: Wish, t: float) -> None:
    """Dunes: a lit and a shaded flank each, and ripples in the nearest."""
    random = canvas.random(80)
    horizon = random.uniform(0.50, 0.58)
    sun = place_sun(canvas, wish, horizon)
    paint_sky(canvas, wish, sun, horizon, t)
    palette = wish.palette
    haze = mix(palette.sky[3], palette.light, 0.3)
    layers = 5
    side = 1.0 if sun.x < canvas.aspect / 2 else -1.0
    for index in range(layers):
        depth = index / (layers - 1)
        wave = canvas.curve(
            81 + index,
            0.75 + 0.5 * (1 - depth),
            2,
            gain=0.33,
            shift=0.2 + t * 0.005 * (1 + 4 * depth),
        )
        base = horizon + (0.015, 0.06, 0.14, 0.26, 0.42)[index]
        line = (base - (0.05 + 0.19 * depth) * (wave - 0.35)).astype(np.float32)
        mask, top = canvas.below(line, 1.6)
        below = canvas.y[top:] - line[None, :]
        lit = mix(mix(palette.far, palette.light, 0.32), haze, 0.55 * (1 - depth))
        dark = mix(mix(palette.far, palette.near, 0.72), haze, 0.5 * (1 - depth))
        # A saw-tooth over warped ground: gentle on one side, a sharp crest, shade behind it.
        warp = canvas.noise(90 + index, 1.1, 3, stretch=1.5, shift=0.2, rows=(top, canvas.height))
        bend = 0.16 * np.sin(canvas.x * 4.3 + 2.2 * np.sin(below * 5 + index * 1.7) + index)
        bend = bend + 0.05 * np.sin(canvas.x * 11 + below * 14 + index * 2.1)
        warp = warp + np.asarray(bend, np.float32)
        phase = (canvas.x * side * 0.75 + below * (1.1 + 1.6 * (1 - depth)) + warp * 1.25) * (
            1.15 + 0.7 * (1 - depth)
        )
        saw = phase + index * 0.37
        saw = saw - np.floor(saw)
        flank = smooth(0.40, 1.0, saw) * smooth(1.0, 0.985, saw)
        flank *= 0.72 + 0.28 * np.exp(-below * 4)
        ripple = 0.0
        if index >= 2:
            scale = 55 + 60 * (1 - depth)
            ripple = np.sin((below * 1.7 + canvas.x * 0.22 * side + warp * 0.55) * scale * 2.2)
            ripple = ripple * 0.028 * smooth(0.02, 0.2, below) * depth * (1 - flank)
        colour = (
            np.asarray(lit, np.float32)
            + (np.asarray(dark, np.float32) - np.asarray(lit, np.float32)) * flank[..., None]
        )
        colour *= 1 + (np.asarray(ripple)[..., None] if index >= 2 else 0)
        colour *= (1.06 - 0.28 * np.clip(below / 0.6, 0, 1))[..., None]
        canvas.blend(colour, mask, top)
        if index < 3:
            _mist(canvas, haze, base + 0.02, 0.03, 0.35 * (1 - depth), 110 + index, t)


def forest(canvas: Canvas, wish: Wish, t: float) -> None:
    """Conifers rising out of mist, rank behind rank, with light falling through them."""
    palette = wish.palette
    random = canvas.random(120)
    side = random.choice((0.34, 0.64))
    x, y = canvas.aspect * side + random.uniform(-0.05, 0.05), random.uniform(0.16, 0.26)
    sun = Sun(float(x), float(y), 0.045, moon=palette.night > 0.6)
    distance = canvas.radial(sun.x, sun.y)
    air = mix(palette.sky[3], palette.light, 0.25)
    dim = mix(palette.sky[1], palette.far, 0.3)
    canvas.image[:] = ramp((air, mix(air, palette.sky[2], 0.75), dim), distance * 0.85)
    canvas.glow(palette.light, np.exp(-distance * 4.2) * 0.6)
    if palette.night > 0.6:
        paint_stars(canvas, palette, canvas.height // 2, amount=0.5, t=t)
    layers = 6
    for index in range(layers):
        depth = index / (layers - 1)
        colour = mix(mix(palette.far, air, 0.72 * (1 - depth) ** 1.1), palette.near, depth**1.25)
        hill = canvas.curve(121 + index, 0.8, 3, shift=0.2 + t * 0.004 * (1 + 6 * depth)) - 0.5
        line = (0.50 + 0.13 * index * (0.62 + 0.13 * index) + hill * 0.20).astype(np.float32)
        size = 0.20 + 0.34 * depth**1.3
        _pines(canvas, line, colour, 130 + index, size=size, dense=True)
        mask, top = canvas.below(line, 2)
        canvas.blend(mix(colour, air, 0.10 * (1 - depth)), mask, top)
        if index < layers - 1 and "mist" not in wish.unwanted:
            base = float(line.mean()) + 0.01
            veil = 0.95 if wish.has("mist") else 0.7
            _mist(canvas, air, base, 0.11 + 0.03 * index, veil * (1 - 0.62 * depth), 140 + index, t)
    if "shafts" not in wish.unwanted and palette.night < 0.7:
        _shafts(canvas, sun, palette.light, 0.30 if wish.has("shafts") else 0.19, t)
    if wish.has("fireflies") or palette.night > 0.6:
        sparks(canvas, palette.accent, 150, t)


def _shafts(canvas: Canvas, sun: Sun, light: Colour, strength: float, t: float) -> None:
    """Beams: noise over the angle to the sun, fading with distance."""
    angle = np.arctan2(canvas.y - sun.y + 0.25, canvas.x - sun.x)
    table: Floats = canvas.random(145).random(96).astype(np.float32)
    table = np.convolve(np.tile(table, 3), np.ones(3) / 3, "same")[96:192]
    at = (angle / (2 * np.pi) + 0.5) * 95 + np.float32(0.3 * np.sin(t * 0.5))
    beams = np.interp(at.ravel(), np.arange(96), table).reshape(at.shape).astype(np.float32)
    fade = np.exp(-canvas.radial(sun.x, sun.y) * 1.3) * smooth(-0.05, 0.25, canvas.y - sun.y + 0.1)
    canvas.glow(light, smooth(0.42, 0.85, beams) * fade * strength * 1.6)


def sparks(canvas: Canvas, colour: Colour, key: int, t: float, count: int = 46) -> None:
    """Fireflies: soft points that wander and pulse."""
    random = canvas.random(key)
    light = np.zeros((canvas.height, canvas.width), np.float32)
    for _ in range(count):
        x, y = random.random() * canvas.aspect, random.uniform(0.35, 0.95)
        phase, power = random.random() * 6.28, random.uniform(0.3, 1.0)
        x += 0.02 * np.sin(t * 0.9 + phase)
        y += 0.015 * np.cos(t * 0.7 + phase * 2)
        column, row = int(x * canvas.height), int(y * canvas.height)
        if 0 <= column < canvas.width and 0 <= row < canvas.height:
            light[row, column] += power * (0.65 + 0.35 * np.sin(t * 2 + phase))
    size = canvas.height / 330
    soft = (blurred(light, size * 2) * 14 + blurred(light, size * 7) * 45) * min(1.0, size / 3) ** 2
    canvas.glow(mix(colour, (1, 1, 0.85), 0.4), np.clip(soft, 0, 1))
