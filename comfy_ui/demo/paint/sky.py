"""Skies: gradient, sun or moon, clouds lit from its side, stars, aurora."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .canvas import Canvas, blurred, mix, moved, ramp, smooth
from .palettes import Palette
from .prompt_words import Wish


@dataclass(frozen=True, slots=True)
class Sun:
    """The position and size of sun or moon; ``shown`` is False behind clouds."""

    x: float
    y: float
    radius: float
    moon: bool
    shown: bool = True


def place_sun(canvas: Canvas, wish: Wish, horizon: float) -> Sun:
    """Place the sun on a third of the width, higher by day than at dawn and dusk."""
    random = canvas.random(11)
    third = canvas.aspect * (0.33 if random.random() < 0.5 else 0.67)
    x = third + random.uniform(-0.08, 0.08) * canvas.aspect
    moon = wish.palette.night > 0.6 or (wish.has("moon") and not wish.has("sun"))
    low = {"sunset": 0.05, "dusk": 0.035, "dawn": 0.07, "golden": 0.13, "autumn": 0.15}
    height = 0.24 if moon else low.get(wish.moods[0], 0.2)
    height = min(height + random.uniform(-0.02, 0.04), horizon - 0.1)
    visible = moon or wish.moods[0] != "storm"
    radius = random.uniform(0.03, 0.042) if moon else random.uniform(0.032, 0.05)
    return Sun(float(x), float(horizon - height), float(radius), moon, visible)


def paint_sky(canvas: Canvas, wish: Wish, sun: Sun, horizon: float, t: float) -> None:
    """The whole sky, down to a little below the horizon."""
    palette = wish.palette
    rows = min(canvas.height, int((horizon + 0.06) * canvas.height) + 2)
    canvas.image[:] = ramp(palette.sky, (canvas.y / horizon) ** 0.9)
    _glow(canvas, palette, sun, rows)
    if palette.night > 0.3 or wish.has("stars"):
        paint_stars(canvas, palette, rows, amount=1.0 if wish.has("stars") else 0.6, t=t)
    if wish.has("aurora") or wish.moods[0] == "aurora":
        _aurora(canvas, palette, horizon, t)
    if sun.shown:
        _disc(canvas, palette, sun)
    if "clouds" not in wish.unwanted:
        cover = 0.62 if wish.has("clouds") else 0.47 + canvas.random(12).uniform(-0.08, 0.06)
        cover = 0.8 if wish.moods[0] == "storm" else cover * (0.75 if palette.night > 0.6 else 1)
        paint_clouds(canvas, palette, sun, horizon, cover, t)


def _glow(canvas: Canvas, palette: Palette, sun: Sun, rows: int) -> None:
    distance = canvas.radial(sun.x, sun.y, (0, rows))
    strength = 0.26 if sun.moon else 0.5
    halo = np.exp(-distance * (10.0 if sun.moon else 6.5)) * strength
    halo += np.exp(-distance * 1.9) * strength * 0.42
    canvas.glow(palette.light, halo)


def _disc(canvas: Canvas, palette: Palette, sun: Sun) -> None:
    rows = _rows(canvas, sun.y - sun.radius * 1.2, sun.y + sun.radius * 1.2)
    distance = canvas.radial(sun.x, sun.y, rows)
    mask = smooth(sun.radius + 1.2 / canvas.height, sun.radius - 1.2 / canvas.height, distance)
    colour = np.asarray(mix(palette.light, (1, 1, 1), 0.45), np.float32)
    if sun.moon:
        seas = canvas.noise(13, 26, 3, rows=rows)
        shade = 0.86 + 0.14 * smooth(0.35, 0.6, seas)
        canvas.blend(colour * shade[..., None], mask, rows[0])
    else:
        canvas.blend(colour, mask * 0.96, rows[0])


def _rows(canvas: Canvas, top: float, bottom: float) -> tuple[int, int]:
    first = int(np.clip(top * canvas.height, 0, canvas.height - 2))
    return first, int(np.clip(bottom * canvas.height + 1, first + 1, canvas.height))


def paint_stars(
    canvas: Canvas, palette: Palette, rows: int, *, amount: float = 1.0, t: float = 0.0
) -> None:
    """Few bright ones, many faint; they twinkle a little."""
    random = canvas.random(14)
    count = int(900 * amount * canvas.aspect * canvas.detail * min(1.0, canvas.height / 700))
    x = (random.random(count) * canvas.width).astype(int)
    y = (random.random(count) ** 1.3 * rows).astype(int)
    power = random.pareto(2.2, count).astype(np.float32) * 0.16 + 0.06
    twinkle = 1 + 0.3 * np.sin(t * 3 + random.random(count) * 6.28)
    fade = np.clip(1.1 - y / rows, 0, 1)
    light = np.zeros((rows, canvas.width), np.float32)
    np.maximum.at(light, (y, x), np.clip(power * twinkle * fade, 0, 1.4).astype(np.float32))
    size = max(1.0, canvas.height / 900)
    soft = blurred(light, size * 1.6) * 2.2 + blurred(light, size * 5) * 6 * (light.max() > 0)
    canvas.glow(mix(palette.light, (0.86, 0.91, 1.0), 0.6), np.clip(light + soft, 0, 1))


def paint_clouds(  # noqa: PLR0917 -- drawn once, in this order
    canvas: Canvas, palette: Palette, sun: Sun, horizon: float, cover: float, t: float
) -> None:
    """Fractal clouds, flatter toward the horizon, bright on the side of the light."""
    rows = (0, min(canvas.height, int(horizon * canvas.height) + 2))
    drift = 0.25 + t * 0.022
    high = canvas.noise(15, 2.1, 6, stretch=2.6, shift=drift, rows=rows, gain=0.55)
    low = canvas.noise(16, 5.0, 5, stretch=5.0, shift=drift * 1.15, rows=rows, gain=0.55)
    part = smooth(0.25, 1.0, canvas.y[: rows[1]] / horizon)
    density = high * (1 - part) + low * part
    threshold = 1 - cover
    mask = smooth(threshold - 0.05, threshold + 0.34, density)
    mask *= 1 - 0.5 * smooth(0.9, 1.02, canvas.y[: rows[1]] / horizon)
    # The difference to the density slightly nearer to the sun gives the lit side.
    dx = 0.016 * np.sign(sun.x - canvas.aspect / 2 or 1)
    step = max(1, int(abs(dx) * canvas.height))
    toward = moved(density, -step if sun.x > canvas.aspect / 2 else step, step // 2 + 1)
    lit = np.clip(0.5 + (density - toward) * 3.4, 0, 1)
    near = np.exp(-canvas.radial(sun.x, sun.y, rows) * 1.7)
    lit = np.clip(lit * (0.55 + 0.75 * near) + near * 0.25, 0, 1)
    shade = mix(palette.sky[1], palette.far, 0.45)
    bright = mix(palette.light, palette.sky[3], 0.42)
    if palette.night > 0.6:
        shade, bright = mix(shade, (0, 0, 0), 0.25), mix(bright, palette.sky[2], 0.55)
    colour = ramp((shade, mix(shade, bright, 0.5), bright), lit)
    canvas.blend(colour, mask * (0.82 - 0.25 * palette.night))


def _aurora(canvas: Canvas, palette: Palette, horizon: float, t: float) -> None:
    rows = int(horizon * canvas.height)
    y = canvas.y[:rows]
    for index, colour in enumerate((palette.accent, mix(palette.accent, (0.55, 0.4, 1.0), 0.6))):
        sway = canvas.curve(20 + index, 1.1, 3, shift=0.2 + t * 0.03)
        base = (0.30 + 0.20 * index) * horizon + (sway - 0.5) * 0.55 * horizon
        rays = 0.35 + 0.65 * canvas.curve(22 + index, 9, 3, shift=0.2 + t * 0.05) ** 1.5
        above = (base[None, :] + 0.12 - y) / (0.30 * horizon)
        light = np.clip(1 - above, 0, 1) ** 2 * smooth(-0.12, 0.12, above)
        canvas.glow(colour, np.clip(light * rays[None, :] * 0.8, 0, 1))
