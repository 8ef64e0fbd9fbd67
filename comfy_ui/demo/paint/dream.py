"""Space, and abstract silk: warped noise in the colors of the palette."""

from __future__ import annotations

import numpy as np
from PIL import Image

from .canvas import Canvas, Floats, blurred, mix, moved, ramp, smooth
from .prompt_words import Wish
from .sky import paint_stars


def _bent(canvas: Canvas, field: Floats, dx: Floats, dy: Floats) -> Floats:
    """A field read elsewhere: displaced by ``dx`` and ``dy`` heights, mirrored at the edges."""
    height, width = field.shape
    rows = np.arange(height, dtype=np.float32)[:, None] + dy * canvas.height
    columns = np.arange(width, dtype=np.float32)[None, :] + dx * canvas.height
    rows = np.abs(rows)
    columns = np.abs(columns)
    rows = np.minimum(rows, 2 * (height - 1) - rows).clip(0, height - 1)
    columns = np.minimum(columns, 2 * (width - 1) - columns).clip(0, width - 1)
    bent: Floats = field[rows.astype(np.int32), columns.astype(np.int32)]
    return bent


def space(canvas: Canvas, wish: Wish, t: float) -> None:
    """A nebula, stars before and behind it, perhaps a planet with a lit rim."""
    palette = wish.palette
    random = canvas.random(500)
    a = canvas.noise(501, 1.7, 4, shift=0.2 + t * 0.006)
    b = canvas.noise(502, 1.7, 4, shift=0.2, lift=0.2 + t * 0.006)
    cloud = canvas.noise(503, 2.2, 7, gain=0.56, shift=0.2 + t * 0.012)
    fine = _bent(canvas, cloud, (a - 0.5) * 0.75, (b - 0.5) * 0.75)
    dust = _bent(canvas, canvas.noise(504, 3.0, 6, gain=0.6), (b - 0.5) * 0.5, (a - 0.5) * 0.5)
    slope = random.uniform(-0.5, 0.5)
    middle = (canvas.y - 0.5) - slope * (canvas.x - canvas.aspect / 2)
    band = np.exp(-((middle / 0.36) ** 2))
    density = np.clip(fine * (0.45 + 0.85 * band) - 0.12, 0, 1)
    stops = (
        mix(palette.sky[0], (0, 0, 0), 0.55),
        palette.sky[0],
        palette.sky[1],
        mix(palette.sky[1], palette.sky[2], 0.6),
        palette.sky[2],
        mix(palette.sky[3], palette.accent, 0.3),
        mix(palette.light, palette.sky[3], 0.45),
    )
    canvas.image[:] = ramp(stops, density * (0.92 + 0.3 * cloud))
    warm = smooth(0.5, 0.85, a) * band
    canvas.glow(palette.accent, warm * density * 0.42)
    lanes = smooth(0.50, 0.72, dust) * band
    canvas.blend(mix(palette.near, palette.sky[0], 0.3), lanes * 0.62)
    core_x, core_y = canvas.aspect * random.uniform(0.3, 0.7), random.uniform(0.35, 0.6)
    core = np.exp(-canvas.radial(core_x, core_y) * 4.5)
    canvas.glow(palette.light, core * (0.15 + 0.7 * fine) * 0.6)
    if "stars" not in wish.unwanted:
        paint_stars(canvas, palette, canvas.height, amount=1.5, t=t)
        _bright_stars(canvas, wish)
    if wish.has("planet"):
        _planet(canvas, wish, t)


def _bright_stars(canvas: Canvas, wish: Wish) -> None:
    random = canvas.random(510)
    light = np.zeros((canvas.height, canvas.width), np.float32)
    for _ in range(7):
        x, y, power = random.random() * canvas.aspect, random.random(), random.uniform(0.35, 1.0)
        row, column = int(y * (canvas.height - 1)), int(x * (canvas.height - 1))
        reach = int(canvas.height * 0.028 * power)
        span = np.arange(-reach, reach + 1)
        fall = np.exp(-np.abs(span) / (reach * 0.24 + 0.5)).astype(np.float32) * power
        rows, columns = (
            np.clip(row + span, 0, canvas.height - 1),
            np.clip(column + span, 0, canvas.width - 1),
        )
        light[rows, min(column, canvas.width - 1)] += fall
        light[row, columns] += fall
    size = canvas.height / 1000
    soft = blurred(light, 1.3 * size) + blurred(light, 8 * size) * 1.6
    canvas.glow(mix(wish.palette.light, (0.9, 0.95, 1), 0.5), np.clip(soft, 0, 1))


def _planet(canvas: Canvas, wish: Wish, t: float) -> None:
    random = canvas.random(520)
    palette = wish.palette
    radius = random.uniform(0.16, 0.27)
    x = canvas.aspect * random.choice((0.27, 0.72))
    y = random.uniform(0.42, 0.66)
    distance = canvas.radial(x, y)
    inside = smooth(radius + 1.3 / canvas.height, radius - 1.3 / canvas.height, distance)
    nx, ny = (canvas.x - x) / radius, (canvas.y - y) / radius
    nz = np.sqrt(np.clip(1 - nx * nx - ny * ny, 0, 1))
    light = np.asarray((-0.62 if x > canvas.aspect / 2 else 0.62, -0.45, 0.42), np.float32)
    lit = np.clip(nx * light[0] + ny * light[1] + nz * light[2], 0, 1)
    swirl = canvas.noise(521, 3.0, 5, stretch=3.4, shift=0.2 + t * 0.02)
    bands = 0.5 + 0.5 * np.sin(ny * 9 + (swirl - 0.5) * 5.5)
    tone = ramp(
        (
            palette.far,
            mix(palette.accent, palette.far, 0.45),
            mix(palette.light, palette.accent, 0.25),
        ),
        bands * 0.75 + swirl * 0.25,
    )
    body = tone * (lit**0.85)[..., None] * 1.15
    rim = np.clip(1 - nz, 0, 1) ** 3 * smooth(0.0, 0.5, lit + 0.12)
    body += np.asarray(mix(palette.light, palette.sky[3], 0.4), np.float32) * rim[..., None] * 0.8
    canvas.blend(body, inside)
    halo = np.exp(-np.clip(distance - radius, 0, 1) * 26) * (1 - inside)
    facing = np.clip((nx * light[0] + ny * light[1]) / (np.abs(light[:2]).sum()), 0, 1)
    canvas.glow(mix(palette.sky[3], palette.light, 0.4), np.clip(halo * facing * 0.95, 0, 1))


def silk(canvas: Canvas, wish: Wish, t: float) -> None:
    """Folds of colored silk: a plane bent by sines again and again, lit as a relief."""
    palette = wish.palette
    random = canvas.random(550)
    # Smooth all over: computed on a coarser grid and enlarged.
    step = max(1, canvas.height // 420)
    x = canvas.x[:, ::step] * 1.15 + random.uniform(0, 9)
    y = canvas.y[::step] * 1.15 + random.uniform(0, 9)
    x, y = np.broadcast_arrays(x, y)
    phases = random.uniform(0, 6.28, (7, 2)).astype(np.float32)
    angle = random.uniform(0, 6.28)
    for order in range(1, 7):
        speed = t * (0.10 + 0.05 * order)
        wave = 1.55 * order**1.05
        bent_x = x + np.float32(0.62 / order) * np.sin(wave * y + phases[order, 0] + speed)
        y = y + np.float32(0.62 / order) * np.cos(wave * bent_x + phases[order, 1] - speed * 0.8)
        x = bent_x
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    folds = np.sin(along * 3.2 + 0.7 * np.sin(across * 2.2))
    colour_at = 0.5 + 0.5 * np.sin(along * 1.25 + across * 0.55 + phases[0, 0])
    relief = (folds * 0.55 + np.sin(across * 5.1 + along) * 0.18).astype(np.float32)
    colours = palette.all
    stops = (
        colours[0],
        colours[1],
        palette.sky[1],
        palette.sky[2],
        colours[-3],
        palette.accent,
        colours[2],
    )
    tint = _grown(canvas, np.asarray(colour_at, np.float32))
    height = _grown(canvas, relief)
    canvas.image[:] = ramp(stops, tint)
    pixel = max(1, canvas.height // 420)
    slope = (height - moved(height, pixel, pixel)) * (canvas.height / 420 / pixel)
    shade = np.clip(slope * 14, -1, 1)
    canvas.image *= (1 + np.where(shade > 0, shade * 0.42, shade * 0.62))[..., None]
    canvas.glow(mix(palette.light, (1, 1, 1), 0.35), smooth(0.30, 0.95, shade) * 0.5)
    canvas.glow(palette.light, smooth(0.55, 0.72, height) * 0.10)
    fall = canvas.radial(canvas.aspect * random.uniform(0.25, 0.75), 0.2)
    canvas.image *= (1.08 - 0.28 * np.clip(fall, 0, 1.4))[..., None]


def _grown(canvas: Canvas, values: Floats) -> Floats:
    size = (canvas.width, canvas.height)
    image = Image.fromarray(np.ascontiguousarray(values))
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC))
