"""Intermediate stages between noise and image, or two images, for previews and img2img."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .canvas import Floats, as_bytes, blurred

Picture = NDArray[np.uint8]
PREVIEW_SIZE = 512
GREY = np.asarray((0.30, 0.59, 0.11), np.float32)


def resized(picture: Picture, width: int, height: int) -> Picture:
    """Resize, and crop to the center if the proportions differ."""
    rows, columns = picture.shape[:2]
    if (columns, rows) == (width, height):
        return picture
    scale = max(width / columns, height / rows)
    across, down = width / scale, height / scale
    left, top = (columns - across) / 2, (rows - down) / 2
    image = Image.fromarray(np.ascontiguousarray(picture[..., :3]))
    box = (left, top, left + across, top + down)
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS, box=box))


def stage(sketch: Picture, part: float, seed: int, start: Picture | None = None) -> Image.Image:
    """Return a preview with ``part`` (0 to 1) of the noise removed.

    The longer side has 512 pixels. ``start`` is the input of img2img.
    """
    height, width = sketch.shape[:2]
    noise_level = float(np.clip(1 - part, 0, 1)) ** 1.25
    pixels: Floats = sketch.astype(np.float32) / 255
    if start is not None:
        old = resized(start, width, height).astype(np.float32) / 255
        pixels = old + (pixels - old) * min(1.0, part * 1.3)
    if noise_level > 0.01:
        pixels = blurred(pixels, 1 + noise_level * height / 9)
        random = np.random.default_rng([seed & 0xFFFFFFFF, round(part * 1000)])
        # A latent has an eighth of the size: its noise shows as soft colored blocks.
        rows, columns = max(4, height // 5), max(4, width // 5)
        grain = random.normal(0.5, 0.30, (rows, columns, 3))
        noise = np.clip(0.7 * grain + 0.3 * grain.mean(axis=2, keepdims=True), 0, 1)
        sheet = Image.fromarray((noise * 255).astype(np.uint8))
        soft = (
            np.asarray(sheet.resize((width, height), Image.Resampling.BILINEAR), np.float32) / 255
        )
        weight = noise_level * 0.92
        pixels = pixels * (1 - weight) + soft * weight
    image = Image.fromarray((np.clip(pixels, 0, 1) * 255).astype(np.uint8))
    scale = PREVIEW_SIZE / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return image.resize(size, Image.Resampling.BILINEAR)


def restyled(picture: Picture, painted: Picture, denoise: float) -> Picture:
    """Move an image toward the painted one: first its colors, finally its shapes."""
    height, width = painted.shape[:2]
    old = resized(picture, width, height).astype(np.float32) / 255
    new = painted.astype(np.float32) / 255
    colours = (old - old.mean((0, 1))) / (old.std((0, 1)) + 0.02) * new.std((0, 1)) + new.mean(
        (0, 1)
    )
    light = (old @ GREY)[..., None]
    toned = 0.55 * colours + 0.45 * (
        new.mean((0, 1)) * 0.35 + light * 0.75 * (0.6 + new.mean((0, 1)) * 0.8)
    )
    toned = toned + (blurred(new, height / 12) - 0.5) * 0.35
    part = float(np.clip(denoise, 0, 1))
    mixed = old + (toned - old) * min(1.0, part * 1.1)
    soft = blurred(mixed, 1 + height / 350 * part)
    mixed = soft + (mixed - soft) * (1 - 0.5 * part)
    shapes = float(np.clip((part - 0.72) / 0.28, 0, 1)) ** 1.5
    mixed = mixed + (new - mixed) * shapes
    return as_bytes(mixed)


def guided(painted: Picture, control: Picture, strength: float) -> Picture:
    """Add the lines or shapes of a control image to the painted image."""
    height, width = painted.shape[:2]
    lines = resized(control, width, height).astype(np.float32) / 255 @ GREY
    if lines.mean() > 0.5:
        lines = 1 - lines
    part = float(np.clip(strength, 0, 1))
    new = painted.astype(np.float32) / 255
    near = np.clip(blurred(lines, height / 90) * 1.6, 0, 1)[..., None]
    new = new * (1 - 0.42 * part * near)
    new += (
        (1 - new)
        * (np.clip(lines, 0, 1)[..., None] * 0.55 * part)
        * np.asarray((1, 0.95, 0.85), np.float32)
    )
    return as_bytes(new)


def colored_like(painted: Picture, style: Picture, strength: float) -> Picture:
    """Move the colors of the painted image toward those of another, channel by channel."""
    new = painted.astype(np.float32) / 255
    other = style[..., :3].astype(np.float32) / 255
    scale = (other.std((0, 1)) + 0.02) / (new.std((0, 1)) + 0.02)
    toned = (new - new.mean((0, 1))) * scale.clip(0.3, 2) + other.mean((0, 1))
    return as_bytes(new + (toned - new) * float(np.clip(strength, 0, 1)))


def animated(
    start: Picture, frames: int, painted: Picture | None = None, end: Picture | None = None
) -> Iterator[Picture]:
    """Animate a still image: slow camera, slight sway, and light of the painted mood."""
    height, width = start.shape[:2]
    source = Image.fromarray(np.ascontiguousarray(start[..., :3]))
    last = Image.fromarray(resized(end, width, height)) if end is not None else None
    x, y = np.arange(width, dtype=np.float32)[None, :], np.arange(height, dtype=np.float32)[:, None]
    for index in range(frames):
        part = index / max(1, frames - 1)
        eased = part * part * (3 - 2 * part)
        margin = 0.085 * eased
        left, top = width * margin * 0.9, height * margin * 0.7
        box = (left, top, width - width * margin * 1.1, height - height * margin * 1.3)
        frame = np.asarray(source.resize((width, height), Image.Resampling.BICUBIC, box=box))
        if index:
            reach = height * 0.004 * min(1.0, part * 4)
            sway = reach * np.sin(y / height * 17 + index * 0.28) * (0.3 + 0.7 * y / height)
            columns = np.clip(x + sway, 0, width - 1).astype(np.int32)
            frame = frame[np.arange(height)[:, None], columns]
        if painted is not None and index:
            light = blurred(painted[::8, ::8].astype(np.float32), 6)
            light = np.asarray(
                Image.fromarray(light.clip(0, 255).astype(np.uint8)).resize((width, height)),
                np.float32,
            )
            mixed = frame.astype(np.float32) * (1 - 0.16 * eased) + light * 0.16 * eased
            frame = mixed.astype(np.uint8)
        if last is not None:
            weight = float(np.clip((part - 0.35) / 0.65, 0, 1)) ** 2
            frame = np.asarray(Image.blend(Image.fromarray(frame), last, weight))
        yield frame
