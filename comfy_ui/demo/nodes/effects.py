"""Image nodes for colors and detail."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from ..node_types import Pictures
from ..paint.canvas import as_bytes
from .images import repeated, same_channels, scaled
from .node_base import Context, node


@node("ImageInvert")
def invert(_context: Context, *, image: Pictures) -> tuple[Pictures]:
    return (255 - image,)


@node("ImageBlend")
def blend(
    _context: Context, *, image1: Pictures, image2: Pictures, blend_factor: float, blend_mode: str
) -> tuple[Pictures]:
    first, second = same_channels(image1, image2)
    if second.shape[1:3] != first.shape[1:3]:
        second = scaled(second, first.shape[2], first.shape[1], "bicubic", "center")
    a = first.astype(np.float32) / 255
    b = repeated(second, len(first)).astype(np.float32) / 255
    match blend_mode:
        case "multiply":
            mixed = a * b
        case "screen":
            mixed = 1 - (1 - a) * (1 - b)
        case "overlay":
            mixed = np.where(a <= 0.5, 2 * a * b, 1 - 2 * (1 - a) * (1 - b))
        case "soft_light":
            mixed = (1 - 2 * b) * a * a + 2 * b * a
        case "difference":
            mixed = np.abs(a - b)
        case _:
            mixed = b
    return (as_bytes(a + (mixed - a) * blend_factor),)


def _filtered(pictures: Pictures, effect: ImageFilter.Filter) -> Pictures:
    return np.stack([np.asarray(Image.fromarray(p).filter(effect)) for p in pictures])


@node("ImageBlur")
def blur(_context: Context, *, image: Pictures, blur_radius: int, sigma: float) -> tuple[Pictures]:
    return (_filtered(image, ImageFilter.GaussianBlur(min(float(blur_radius), sigma))),)


@node("ImageSharpen")
def sharpen(
    _context: Context, *, image: Pictures, sharpen_radius: int, sigma: float, alpha: float
) -> tuple[Pictures]:
    radius = min(float(sharpen_radius), sigma)
    return (_filtered(image, ImageFilter.UnsharpMask(radius, round(alpha * 100), 0)),)


@node("ImageQuantize")
def quantize(_context: Context, *, image: Pictures, colors: int, dither: str) -> tuple[Pictures]:
    kind = Image.Dither.NONE if dither == "none" else Image.Dither.FLOYDSTEINBERG
    out = []
    for picture in image[..., :3]:
        few = Image.fromarray(np.ascontiguousarray(picture)).quantize(colors)
        again = Image.fromarray(np.ascontiguousarray(picture)).quantize(palette=few, dither=kind)
        out.append(np.asarray(again.convert("RGB")))
    return (np.stack(out),)


@node("ImageAddNoise")
def add_noise(_context: Context, *, image: Pictures, seed: int, strength: float) -> tuple[Pictures]:
    noise = np.random.default_rng(seed).normal(0, strength, image.shape)
    return (as_bytes(image / 255 + noise),)


@node("AdjustBrightness")
def brightness(_context: Context, *, images: Pictures, factor: float) -> tuple[Pictures]:
    return (as_bytes(images / 255 * factor),)


@node("AdjustContrast")
def contrast(_context: Context, *, images: Pictures, factor: float) -> tuple[Pictures]:
    return (as_bytes((images / 255 - 0.5) * factor + 0.5),)


@node("Canny")
def canny(
    _context: Context, *, image: Pictures, low_threshold: float, high_threshold: float
) -> tuple[Pictures]:
    """Draw white lines along strong changes of brightness."""
    del low_threshold
    out = []
    for picture in image[..., :3]:
        grey = Image.fromarray(np.ascontiguousarray(picture)).convert("L")
        soft = np.asarray(grey.filter(ImageFilter.GaussianBlur(1.4)), np.float32) / 255
        down, across = np.gradient(soft)
        strength = np.hypot(down, across)
        # A point is on a line if neither neighbor across the line is steeper.
        horizontal = np.abs(across) > np.abs(down)
        left, right = np.roll(strength, 1, 1), np.roll(strength, -1, 1)
        above, below = np.roll(strength, 1, 0), np.roll(strength, -1, 0)
        crest = np.where(
            horizontal,
            (strength >= left) & (strength >= right),
            (strength >= above) & (strength >= below),
        )
        line = crest & (strength > 0.02 + 0.05 * high_threshold)
        out.append(np.repeat((line * np.uint8(255))[..., None], 3, axis=2))
    return (np.stack(out).astype(np.uint8),)


@node("DA3Inference")
def geometry(context: Context, *, image: Pictures, **_: Any) -> tuple[Pictures]:
    context.pace()
    return (image,)


@node("DA3Render")
def depth(_context: Context, *, da3_geometry: Pictures, **_: Any) -> tuple[Pictures]:
    """Draw a depth map that is plausible for landscapes: what is low in the image is near."""
    out = []
    for picture in da3_geometry[..., :3]:
        grey = Image.fromarray(np.ascontiguousarray(picture)).convert("L")
        soft = np.asarray(grey.filter(ImageFilter.GaussianBlur(grey.width / 60)), np.float32) / 255
        near = np.linspace(0, 1, soft.shape[0], dtype=np.float32)[:, None]
        out.append(np.repeat((0.65 * near + 0.35 * soft)[..., None], 3, axis=2))
    return (as_bytes(np.stack(out)),)


@node("SeedVR2Preprocess")
def unchanged(_context: Context, *, resized_images: Pictures) -> tuple[Pictures]:
    return (resized_images[..., :3],)


@node("SeedVR2PostProcessing")
def restored(
    _context: Context, *, images: Pictures, original_resized_images: Pictures, **_: Any
) -> tuple[Pictures]:
    """Restore the alpha channel of the original, if it has one."""
    original = original_resized_images
    if original.shape[-1] < 4:
        return (images,)
    rows, columns = images.shape[1:3]
    alpha = scaled(original, columns, rows, "bilinear")[..., 3:]
    return (np.concatenate([images[..., :3], repeated(alpha, len(images))], axis=-1),)


@node("LTXVPreprocess")
def compressed(_context: Context, *, image: Pictures, img_compression: int) -> tuple[Pictures]:
    """Compress as JPEG and decode: video models expect images that look like frames."""
    if not img_compression:
        return (image,)
    out = []
    for picture in image[..., :3]:
        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(picture)).save(
            buffer, "JPEG", quality=max(5, 100 - img_compression)
        )
        out.append(np.asarray(Image.open(buffer, formats=["JPEG"]).convert("RGB")))
    return (np.stack(out),)
