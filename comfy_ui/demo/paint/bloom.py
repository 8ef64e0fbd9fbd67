"""Flowers: a meadow against the light, near blossoms sharp, far ones soft."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from .canvas import Canvas, Colour, blurred, mix, ramp, smooth
from .prompt_words import Wish
from .sky import Sun


def flowers(canvas: Canvas, wish: Wish, t: float) -> None:
    """Paint a blurred ground, discs of light, stems and leaves, then blossoms from far to near."""
    palette = wish.palette
    random = canvas.random(600)
    green = mix(mix((0.20, 0.36, 0.22), palette.far, 0.4), palette.near, 0.15)
    x, y = canvas.aspect * random.choice((0.28, 0.72)), random.uniform(0.08, 0.2)
    sun = Sun(float(x), float(y), 0.05, moon=False)
    canvas.image[:] = ramp(
        (
            palette.sky[2],
            palette.sky[3],
            mix(palette.sky[3], green, 0.5),
            green,
            mix(green, palette.near, 0.6),
        ),
        canvas.y + 0 * canvas.x,
    )
    wash = canvas.noise(601, 2.2, 3)
    canvas.blend(mix(palette.accent, palette.sky[3], 0.35), smooth(0.5, 0.9, wash) * 0.42)
    canvas.blend(
        mix(palette.near, green, 0.5),
        smooth(0.52, 0.95, canvas.noise(602, 1.8, 3)) * 0.5 * canvas.y,
    )
    canvas.glow(palette.light, np.exp(-canvas.radial(sun.x, sun.y) * 2.2) * 0.62)
    _discs(canvas, wish, t)
    petals = _petals(wish)
    for rank in range(4):
        depth = rank / 3
        _stems(canvas, mix(green, palette.near, 0.25 + 0.4 * depth), 620 + rank, depth, t)
        count = (16, 9, 5, 3)[rank]
        for number in range(int(count * (0.55 + 0.45 * canvas.aspect))):
            _blossom(
                canvas,
                petals[(number + rank) % len(petals)],
                palette.light,
                640 + rank * 40 + number,
                depth,
                t,
            )


def _petals(wish: Wish) -> list[Colour]:
    palette = wish.palette
    first = palette.accent
    return [
        first,
        mix(first, palette.light, 0.45),
        mix(first, palette.sky[1], 0.4),
        mix(palette.light, first, 0.18),
    ]


def _discs(canvas: Canvas, wish: Wish, t: float) -> None:
    """Paint lights out of focus."""
    random = canvas.random(610)
    palette = wish.palette
    for _ in range(26):
        x, y = random.random() * canvas.aspect, random.random() * 0.85
        radius = random.uniform(0.015, 0.06)
        x += 0.006 * float(np.sin(t * 0.7 + x * 9))
        rows = (
            int(np.clip((y - radius) * canvas.height - 2, 0, canvas.height - 2)),
            int(np.clip((y + radius) * canvas.height + 3, 2, canvas.height)),
        )
        distance = canvas.radial(x, y, rows)
        disc = smooth(radius, radius * 0.88, distance) * (
            0.55 + 0.45 * np.clip(distance / radius, 0, 1) ** 3
        )
        tone = mix(palette.light, palette.accent, random.uniform(0, 0.5))
        canvas.glow(tone, disc * random.uniform(0.05, 0.20), rows[0])


def _stems(canvas: Canvas, colour: Colour, key: int, depth: float, t: float) -> None:
    random = canvas.random(key)
    unit = canvas.height
    sheet = Image.new("L", (canvas.width, canvas.height))
    draw = ImageDraw.Draw(sheet)
    count = int((120 - 70 * depth) * canvas.aspect)
    for _ in range(count):
        x, tall = random.random() * canvas.aspect, random.uniform(0.18, 0.5) * (0.75 + 0.5 * depth)
        lean = random.normal(0, 0.05) + 0.012 * float(np.sin(t * 1.2 + x * 4))
        wide = random.uniform(0.0012, 0.004) * (0.6 + 1.3 * depth)
        points_left, points_right = [], []
        for part in np.linspace(0, 1, 7):
            px = x + lean * part**1.7 * 1.6
            py = 1.02 - tall * part
            half = wide * (1 - part) ** 0.7 + 0.0002
            points_left.append(((px - half) * unit, py * unit))
            points_right.append(((px + half) * unit, py * unit))
        draw.polygon([*points_left, *reversed(points_right)], fill=int(random.uniform(120, 255)))
    soft = blurred(np.asarray(sheet, np.float32) / 255, unit * (0.010 * (1 - depth) ** 1.5) + 0.8)
    canvas.blend(colour, np.clip(soft * 1.1, 0, 1) * (0.55 + 0.35 * depth))


def _blossom(  # noqa: PLR0917 -- drawn once, in this order
    canvas: Canvas, colour: Colour, light: Colour, key: int, depth: float, t: float
) -> None:
    """Paint rings of petals around a center, seen slightly from the side."""
    random = canvas.random(key)
    unit = canvas.height
    radius = (0.022 + 0.085 * depth**1.5) * random.uniform(0.75, 1.2)
    x = random.uniform(0.03, 0.97) * canvas.aspect + 0.010 * float(np.sin(t * 1.2 + key))
    y = 0.90 - random.uniform(0.08, 0.36) - 0.12 * (1 - depth) + 0.10 * depth
    half = int(radius * unit * 1.3) + 4
    r0, r1 = max(0, int(y * unit) - half), min(canvas.height, int(y * unit) + half)
    c0, c1 = max(0, int(x * unit) - half), min(canvas.width, int(x * unit) + half)
    if r1 - r0 < 4 or c1 - c0 < 4:
        return
    tilt = random.uniform(0.62, 0.95)
    turn = random.uniform(-0.4, 0.4)
    dx, dy = (canvas.x[:, c0:c1] - x) / radius, (canvas.y[r0:r1] - y) / radius
    u = dx * np.cos(turn) + dy * np.sin(turn)
    v = (dy * np.cos(turn) - dx * np.sin(turn)) / tilt
    r, angle = np.sqrt(u * u + v * v), np.arctan2(v, u)
    part = canvas.image[r0:r1, c0:c1]
    soft = max(1.4 / (radius * unit), 0.30 * (1 - depth) ** 1.6)
    count = int(random.integers(5, 9))
    rings = 3 if depth > 0.5 else 2
    for ring in range(rings):
        size = 1 - 0.27 * ring
        phase = random.random() * 6.28
        wobble = 0.05 * np.sin(angle * 3 + phase)
        petal = np.abs(np.cos((angle * count + phase) / 2))
        edge = size * (0.60 + 0.40 * petal**0.55 + wobble)
        cover = smooth(0.0, soft, edge - r)
        vein = 0.5 + 0.5 * np.cos(angle * count * 7 + phase)
        inner = np.clip(r / (edge + 1e-3), 0, 1)
        shade = 0.52 + 0.55 * inner**1.3 + 0.04 * vein - 0.24 * (1 - petal) ** 3
        shade *= 1.06 - 0.20 * v
        tone = mix(colour, light, 0.10 + 0.16 * ring)
        body = np.asarray(tone, np.float32) * np.asarray(shade, np.float32)[..., None]
        rim = smooth(0.80, 1.0, inner) * 0.20
        body += (np.asarray(light, np.float32) - body) * np.asarray(rim, np.float32)[..., None]
        part += (body - part) * np.asarray(cover * (0.75 + 0.25 * depth), np.float32)[..., None]
    heart = smooth(0.25, 0.14, r + 0.02 * np.sin(angle * 11))
    grain = 0.8 + 0.3 * np.sin(angle * 17 + r * 90) * np.cos(r * 60)
    gold = (
        np.asarray(mix((0.93, 0.72, 0.25), light, 0.15), np.float32)
        * np.asarray(grain, np.float32)[..., None]
    )
    part += (gold - part) * np.asarray(heart * 0.95, np.float32)[..., None]
