"""Mask nodes: create, edit, convert to and from images, and composite images."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from ..node_types import Masks, Pictures
from .images import scaled
from .node_base import Context, node


def as_pictures(mask: Masks) -> Pictures:
    grey = np.round(np.clip(mask, 0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=3)


def _fitted(mask: Masks, width: int, height: int) -> Masks:
    if mask.shape[1:3] == (height, width):
        return mask
    grey = (np.clip(mask, 0, 1) * 255).astype(np.uint8)
    return scaled(grey, width, height, "bilinear").astype(np.float32) / 255


@node("SAM3_Detect")
def detect(
    context: Context,
    *,
    image: Pictures,
    positive_coords: str = "",
    **_: Any,
) -> tuple[Masks, list[Any]]:
    """Select the colors at the points, or those that differ most from the picture's edge."""
    context.pace()
    picture = image[0, ..., :3].astype(np.float32)
    if positive_coords:
        points = [(point["y"], point["x"]) for point in json.loads(positive_coords)]
        distances = [np.abs(picture - picture[y, x]).max(-1) for y, x in points]
        chosen = np.min(distances, axis=0) < 40
    else:
        edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        chosen = np.abs(picture - np.median(edge, axis=0)).max(-1) > 60
    return chosen[None].astype(np.float32), []


def grown(mask: Masks, pixels: int, *, tapered: bool) -> Masks:
    """Grow by this many pixels, or shrink if negative; ``tapered`` cuts the corners."""
    if not pixels:
        return mask
    out = []
    for one in mask:
        image = Image.fromarray((np.clip(one, 0, 1) * 255).astype(np.uint8))
        remaining = min(abs(pixels), max(image.size))
        while remaining > 0:
            # Squares of up to 9 pixels at once; diamonds, for tapered corners, in single steps.
            step = 1 if tapered and remaining % 2 else min(remaining, 4)
            effect = ImageFilter.MaxFilter if pixels > 0 else ImageFilter.MinFilter
            image = image.filter(effect(2 * step + 1))
            remaining -= step
        out.append(np.asarray(image, np.float32) / 255)
    return np.stack(out)


@node("GrowMask")
def grow(
    _context: Context, *, mask: Masks, expand: int, tapered_corners: bool = True
) -> tuple[Masks]:
    return (grown(mask, expand, tapered=tapered_corners),)


@node("SolidMask")
def solid(_context: Context, *, value: float, width: int, height: int) -> tuple[Masks]:
    return (np.full((1, height, width), value, np.float32),)


@node("InvertMask")
def invert(_context: Context, *, mask: Masks) -> tuple[Masks]:
    return (1 - mask,)


@node("ThresholdMask")
def threshold(_context: Context, *, mask: Masks, value: float) -> tuple[Masks]:
    return ((mask > value).astype(np.float32),)


@node("CropMask")
def crop(
    _context: Context, *, mask: Masks, x: int, y: int, width: int, height: int
) -> tuple[Masks]:
    return (mask[:, y : y + height, x : x + width],)


@node("FeatherMask")
def feather(
    _context: Context, *, mask: Masks, left: int, top: int, right: int, bottom: int
) -> tuple[Masks]:
    """Fade out toward each side over this many pixels."""
    rows, columns = mask.shape[1:3]
    x, y = np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32)
    across, down = np.ones(columns, np.float32), np.ones(rows, np.float32)
    for here, width in ((x, left), (columns - 1 - x, right)):
        across *= np.clip((here + 1) / width, 0, 1) if width else 1
    for here, width in ((y, top), (rows - 1 - y, bottom)):
        down *= np.clip((here + 1) / width, 0, 1) if width else 1
    return (mask * across[None, None, :] * down[None, :, None],)


@node("MaskComposite")
def composite_masks(
    _context: Context, *, destination: Masks, source: Masks, x: int, y: int, operation: str
) -> tuple[Masks]:
    result = destination.copy()
    rows = min(result.shape[1] - y, source.shape[1])
    columns = min(result.shape[2] - x, source.shape[2])
    if rows > 0 and columns > 0:
        here, there = result[:, y : y + rows, x : x + columns], source[:1, :rows, :columns]
        match operation:
            case "multiply":
                new = here * there
            case "add":
                new = here + there
            case "subtract":
                new = here - there
            case "and":
                new = ((here > 0.5) & (there > 0.5)).astype(np.float32)
            case "or":
                new = ((here > 0.5) | (there > 0.5)).astype(np.float32)
            case _:
                new = ((here > 0.5) ^ (there > 0.5)).astype(np.float32)
        result[:, y : y + rows, x : x + columns] = new
    return (np.clip(result, 0, 1),)


# -- images and masks ------------------------------------------------------------------------


@node("MaskToImage")
def to_image(_context: Context, *, mask: Masks) -> tuple[Pictures]:
    return (as_pictures(mask),)


@node("ImageToMask")
def to_mask(_context: Context, *, image: Pictures, channel: str) -> tuple[Masks]:
    index = ("red", "green", "blue", "alpha").index(channel)
    if index >= image.shape[-1]:
        return (np.ones(image.shape[:3], np.float32),)
    return (image[..., index].astype(np.float32) / 255,)


@node("ImageColorToMask")
def colour_to_mask(_context: Context, *, image: Pictures, color: int) -> tuple[Masks]:
    rgb = np.array([color >> 16 & 255, color >> 8 & 255, color & 255], np.uint8)
    return ((image[..., :3] == rgb).all(axis=-1).astype(np.float32),)


@node("SplitImageWithAlpha")
def split_alpha(_context: Context, *, image: Pictures) -> tuple[Pictures, Masks]:
    if image.shape[-1] < 4:
        return image, np.zeros(image.shape[:3], np.float32)
    return image[..., :3], 1 - image[..., 3].astype(np.float32) / 255


@node("JoinImageWithAlpha")
def join_alpha(_context: Context, *, image: Pictures, alpha: Masks) -> tuple[Pictures]:
    """Use the mask as transparency."""
    height, width = image.shape[1:3]
    fitted = _fitted(alpha, width, height)[np.arange(len(image)) % len(alpha)]
    opaque = ((1 - np.clip(fitted, 0, 1)) * 255).astype(np.uint8)
    return (np.concatenate([image[..., :3], opaque[..., None]], axis=-1),)


@node("ImageCompositeMasked")
def composite(
    _context: Context,
    *,
    destination: Pictures,
    source: Pictures,
    x: int,
    y: int,
    resize_source: bool,
    mask: Masks | None = None,
    **_: Any,
) -> tuple[Pictures]:
    """Paste the source over the destination where the mask is set."""
    result = destination[..., :3].copy()
    height, width = result.shape[1:3]
    source = source[..., :3]
    if resize_source:
        source = scaled(source, width, height, "bilinear")
    rows, columns = min(height - y, source.shape[1]), min(width - x, source.shape[2])
    if rows <= 0 or columns <= 0:
        return (result,)
    cover = _fitted(mask, source.shape[2], source.shape[1]) if mask is not None else None
    for index in range(len(result)):
        part = result[index, y : y + rows, x : x + columns]
        new = source[index % len(source), :rows, :columns]
        if cover is None:
            part[:] = new
            continue
        weight = cover[index % len(cover), :rows, :columns, None]
        mixed = part + (new.astype(np.float32) - part) * weight + 0.5
        part[:] = np.where(weight <= 0, part, np.where(weight >= 1, new, mixed)).astype(np.uint8)
    return (result,)
