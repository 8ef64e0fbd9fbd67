"""Image nodes: create, load, scale, crop and join."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps, ImageSequence

from ...pictures import RESULT_FORMATS
from ..node_types import Masks, Pictures
from .node_base import Context, NodeError, node, reads

_METHODS = {
    "nearest-exact": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "area": Image.Resampling.BOX,
    "bicubic": Image.Resampling.BICUBIC,
    "bislerp": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_COLOURS = {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
}
MAX_PIXELS = 128_000_000  # of all images on one link; bounds memory for any graph


def scaled(
    pictures: Pictures, width: int, height: int, method: str, crop: str = "disabled"
) -> Pictures:
    """Resize; ``crop="center"`` keeps the proportions and crops the rest."""
    width, height = max(1, width), max(1, height)
    if width * height * len(pictures) > MAX_PIXELS:
        raise NodeError(f"{len(pictures)} × {width}×{height} is more than this engine holds.")
    rows, columns = pictures.shape[1:3]
    box = (0.0, 0.0, float(columns), float(rows))
    if crop == "center":
        scale = max(width / columns, height / rows)
        across, down = width / scale, height / scale
        left, top = (columns - across) / 2, (rows - down) / 2
        box = (left, top, left + across, top + down)
    out = np.empty((len(pictures), height, width, *pictures.shape[3:]), np.uint8)
    for index, picture in enumerate(pictures):
        out[index] = Image.fromarray(picture).resize((width, height), _METHODS[method], box=box)
    return out


def same_channels(first: Pictures, second: Pictures) -> tuple[Pictures, Pictures]:
    """Convert both to RGB unless both have alpha."""
    if first.shape[-1] != second.shape[-1]:
        return first[..., :3], second[..., :3]
    return first, second


@node("EmptyImage")
def empty(
    _context: Context, *, width: int, height: int, batch_size: int = 1, color: int = 0
) -> tuple[Pictures]:
    if width * height * batch_size > MAX_PIXELS:
        raise NodeError(f"{batch_size} × {width}×{height} is more than this engine holds.")
    rgb = np.array([color >> 16 & 255, color >> 8 & 255, color & 255], np.uint8)
    return (np.broadcast_to(rgb, (batch_size, height, width, 3)).copy(),)


# -- loading ---------------------------------------------------------------------------------


@node("LoadImage", **reads("image", "image"))
def load(context: Context, *, image: str, **_: Any) -> tuple[Pictures, Masks]:
    """Load all frames of the first one's size, with the transparency as mask."""
    path = context.folders.find(image)
    if path is None:
        raise NodeError(f"Invalid image file: {image}")
    pictures: list[NDArray[np.uint8]] = []
    masks: list[Masks] = []
    with Image.open(path, formats=RESULT_FORMATS) as file:
        for frame in ImageSequence.Iterator(file):
            upright = ImageOps.exif_transpose(frame)
            transparent = "A" in upright.getbands() or "transparency" in upright.info
            picture = np.asarray(upright.convert("RGB"))
            if pictures and picture.shape != pictures[0].shape:
                continue
            pictures.append(picture)
            if transparent:
                alpha = np.asarray(upright.convert("RGBA").getchannel("A"), np.float32)
                masks.append(1 - alpha / 255)
            else:
                masks.append(np.zeros(picture.shape[:2], np.float32))
    if not any(mask.any() for mask in masks):
        masks = [np.zeros((64, 64), np.float32)]  # as ComfyUI: no alpha, a small empty mask
    return np.stack(pictures), np.stack(masks)


@node("LoadImageMask", **reads("image", "image"))
def load_mask(context: Context, *, image: str, channel: str, **_: Any) -> tuple[Masks]:
    path = context.folders.find(image)
    if path is None:
        raise NodeError(f"Invalid image file: {image}")
    with Image.open(path, formats=RESULT_FORMATS) as file:
        upright = ImageOps.exif_transpose(file).convert("RGBA")
        values = np.asarray(upright.getchannel(channel[0].upper()), np.float32) / 255
    return ((1 - values if channel == "alpha" else values)[None],)


# -- size ------------------------------------------------------------------------------------


@node("ImageScale")
def scale(
    _context: Context,
    *,
    image: Pictures,
    upscale_method: str,
    width: int,
    height: int,
    crop: str = "disabled",
) -> tuple[Pictures]:
    """Scale to a size; a side of 0 keeps the proportions."""
    if not width and not height:
        return (image,)
    rows, columns = image.shape[1:3]
    width = width or round(columns * height / rows)
    height = height or round(rows * width / columns)
    return (scaled(image, width, height, upscale_method, crop),)


@node("ImageScaleBy")
def scale_by(
    _context: Context, *, image: Pictures, upscale_method: str, scale_by: float
) -> tuple[Pictures]:
    rows, columns = image.shape[1:3]
    return (scaled(image, round(columns * scale_by), round(rows * scale_by), upscale_method),)


@node("ImageScaleToTotalPixels")
def scale_to_pixels(
    _context: Context,
    *,
    image: Pictures,
    upscale_method: str,
    megapixels: float,
    resolution_steps: int = 1,
) -> tuple[Pictures]:
    rows, columns = image.shape[1:3]
    factor = (megapixels * 1024 * 1024 / (rows * columns)) ** 0.5
    width, height = (
        max(1, round(n * factor / resolution_steps)) * resolution_steps for n in (columns, rows)
    )
    return (scaled(image, width, height, upscale_method),)


@node("ImageScaleToMaxDimension")
def scale_to_largest(
    _context: Context, *, image: Pictures, upscale_method: str, largest_size: int
) -> tuple[Pictures]:
    rows, columns = image.shape[1:3]
    factor = largest_size / max(rows, columns)
    return (scaled(image, round(columns * factor), round(rows * factor), upscale_method),)


@node("FluxKontextImageScale")
def scale_for_kontext(_context: Context, *, image: Pictures) -> tuple[Pictures]:
    """Scale to about a megapixel, with sides in steps of 16."""
    rows, columns = image.shape[1:3]
    factor = (1024 * 1024 / (rows * columns)) ** 0.5
    width, height = (max(16, round(n * factor / 16) * 16) for n in (columns, rows))
    return (scaled(image, width, height, "lanczos", "center"),)


@node("ImageUpscaleWithModel")
def upscale(context: Context, *, upscale_model: Any, image: Pictures) -> tuple[Pictures]:
    """Enlarge four times; twice or once if the model's name says so."""
    name = upscale_model.name.lower()
    factor = next((n for n in (8, 4, 2, 1) if f"{n}x" in name or f"x{n}" in name), 4)
    rows, columns = image.shape[1:3]
    large = scaled(image, columns * factor, rows * factor, "lanczos")
    out = []
    for index, picture in enumerate(large):
        sharp = Image.fromarray(picture).filter(ImageFilter.UnsharpMask(2, 60, 2))
        out.append(np.asarray(sharp))
        context.step(index + 1, len(large))
    return (np.stack(out),)


@node("ResizeImageMaskNode")
def resize_any(
    _context: Context,
    *,
    input: Any,  # noqa: A002 -- the input's name
    resize_type: str,
    scale_method: str = "lanczos",
    more: dict[str, Any] | None = None,
    **_: Any,
) -> tuple[Any]:
    """Resize images or masks by the method that ``resize_type`` names."""
    options = {key.rpartition(".")[2]: value for key, value in (more or {}).items()}
    rows, columns = input.shape[1:3]
    crop = options.get("crop", "disabled")
    match resize_type:
        case "scale dimensions":
            width = options["width"] or round(columns * options["height"] / max(1, rows))
            height = options["height"] or round(rows * width / columns)
        case "match size":
            height, width = options["match"].shape[1:3]
        case "scale to multiple":
            step = max(1, int(options["multiple"]))
            width, height, crop = columns // step * step, rows // step * step, "center"
        case _:
            factor = _factor(resize_type, options, rows, columns)
            width, height = round(columns * factor), round(rows * factor)
    if input.ndim == 3:
        grey = (np.clip(input, 0, 1) * 255).astype(np.uint8)
        return (scaled(grey, width, height, scale_method, crop).astype(np.float32) / 255,)
    return (scaled(input, width, height, scale_method, crop),)


def _factor(resize_type: str, options: dict[str, Any], rows: int, columns: int) -> float:
    match resize_type:
        case "scale by multiplier":
            return float(options["multiplier"])
        case "scale longer dimension":
            return float(options["longer_size"] / max(rows, columns))
        case "scale shorter dimension":
            return float(options["shorter_size"] / min(rows, columns))
        case "scale width":
            return float(options["width"] / columns)
        case "scale height":
            return float(options["height"] / rows)
        case "scale total pixels":
            return float((options["megapixels"] * 1024 * 1024 / (rows * columns)) ** 0.5)
    raise NodeError(f"'{resize_type}' is not a resize type.")


@node("GetImageSize")
def size(_context: Context, *, image: Pictures) -> tuple[int, int, int]:
    return image.shape[2], image.shape[1], len(image)


@node("ImagePadForOutpaint")
def pad(
    _context: Context,
    *,
    image: Pictures,
    left: int,
    top: int,
    right: int,
    bottom: int,
    feathering: int,
) -> tuple[Pictures, Masks]:
    """Add gray borders, and a mask that is 1 there and fades into the image."""
    rows, columns = image.shape[1:3]
    sides = ((0, 0), (top, bottom), (left, right), (0, 0))
    wide = np.pad(image[..., :3], sides, constant_values=128)
    x, y = np.arange(columns)[None, :], np.arange(rows)[:, None]
    far = float(rows + columns)
    distance = np.full((rows, columns), far)
    for here, border in ((x, left), (columns - 1 - x, right), (y, top), (rows - 1 - y, bottom)):
        if border:
            distance = np.minimum(distance, here)
    inner = np.clip(1 - distance / feathering, 0, 1) ** 2 if feathering else np.zeros_like(distance)
    mask = np.pad(inner, sides[1:3], constant_values=1).astype(np.float32)
    return wide, mask[None]


@node("ResizeAndPadImage")
def fit(
    _context: Context,
    *,
    image: Pictures,
    target_width: int,
    target_height: int,
    padding_color: str,
    interpolation: str,
) -> tuple[Pictures]:
    rows, columns = image.shape[1:3]
    factor = min(target_width / columns, target_height / rows)
    small = scaled(image[..., :3], round(columns * factor), round(rows * factor), interpolation)
    out = np.full(
        (len(image), target_height, target_width, 3), _COLOURS[padding_color][0], np.uint8
    )
    top, left = (target_height - small.shape[1]) // 2, (target_width - small.shape[2]) // 2
    out[:, top : top + small.shape[1], left : left + small.shape[2]] = small
    return (out,)


@node("ImageCrop")
def crop(
    _context: Context, *, image: Pictures, width: int, height: int, x: int, y: int
) -> tuple[Pictures]:
    rows, columns = image.shape[1:3]
    x, y = min(x, columns - 1), min(y, rows - 1)
    return (image[:, y : y + height, x : x + width].copy(),)


@node("ImageFlip")
def flip(_context: Context, *, image: Pictures, flip_method: str) -> tuple[Pictures]:
    return (np.flip(image, 1 if flip_method.startswith("x") else 2).copy(),)


@node("ImageRotate")
def rotate(_context: Context, *, image: Pictures, rotation: str) -> tuple[Pictures]:
    turns = {"90 degrees": 3, "180 degrees": 2, "270 degrees": 1}.get(rotation, 0)
    return (np.rot90(image, turns, (1, 2)).copy(),)


# -- batches ---------------------------------------------------------------------------------


@node("ImageBatch")
def batch(_context: Context, *, image1: Pictures, image2: Pictures) -> tuple[Pictures]:
    return (_together([image1, image2]),)


@node("BatchImagesNode")
def batch_many(_context: Context, *, more: dict[str, Any]) -> tuple[Pictures]:
    return (_together(list(more.values())),)


def _together(parts: list[Pictures]) -> Pictures:
    """Join into one batch, all at the size of the first."""
    rows, columns = parts[0].shape[1:3]
    channels = min(part.shape[-1] for part in parts)
    fitted = [
        part
        if part.shape[1:3] == (rows, columns)
        else scaled(part, columns, rows, "bilinear", "center")
        for part in parts
    ]
    return np.concatenate([part[..., :channels] for part in fitted])


@node("RepeatImageBatch")
def repeat(_context: Context, *, image: Pictures, amount: int) -> tuple[Pictures]:
    if image[..., 0].size * amount > MAX_PIXELS:
        raise NodeError(f"{amount} copies are more than this engine holds.")
    return (np.tile(image, (amount, 1, 1, 1)),)


@node("ImageFromBatch")
def from_batch(
    _context: Context, *, image: Pictures, batch_index: int, length: int
) -> tuple[Pictures]:
    first = batch_index + len(image) if batch_index < 0 else batch_index
    first = min(max(0, first), len(image) - 1)
    return (image[first : first + length],)


@node("ImageStitch")
def stitch(
    _context: Context,
    *,
    image1: Pictures,
    direction: str,
    match_image_size: bool,
    spacing_width: int,
    spacing_color: str,
    image2: Pictures | None = None,
) -> tuple[Pictures]:
    """Join two images side by side or vertically; without a second one, return the first."""
    if image2 is None:
        return (image1,)
    first, second = same_channels(image1, image2)
    beside = direction in ("right", "left")
    axis = 2 if beside else 1
    rows, columns = first.shape[1:3]
    if match_image_size:
        factor = rows / second.shape[1] if beside else columns / second.shape[2]
        width, height = round(second.shape[2] * factor), round(second.shape[1] * factor)
        second = scaled(second, width, height, "lanczos")
    other = 1 if beside else 2
    most = max(first.shape[other], second.shape[other])
    count = max(len(first), len(second))
    parts = [_padded(repeated(part, count), other, most) for part in (first, second)]
    if direction in ("left", "up"):
        parts.reverse()
    if spacing_width:
        shape = list(parts[0].shape)
        shape[axis] = spacing_width
        gap = np.empty(shape, np.uint8)
        gap[..., :3] = _COLOURS[spacing_color]
        gap[..., 3:] = 255
        parts.insert(1, gap)
    return (np.concatenate(parts, axis=axis),)


def repeated(pictures: Pictures, count: int) -> Pictures:
    return pictures[np.arange(count) % len(pictures)]


def _padded(pictures: Pictures, axis: int, most: int) -> Pictures:
    missing = most - pictures.shape[axis]
    sides = [(0, 0)] * 4
    sides[axis] = (missing // 2, missing - missing // 2)
    return np.pad(pictures, sides)
