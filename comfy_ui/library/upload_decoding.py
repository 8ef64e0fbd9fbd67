"""Decode users' files, to check them and to paint over them. Runs in worker processes.

Every function blocks, and takes and returns bytes.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final, Literal

from ..errors import ValidationError
from ..pictures import open_picture, unusable

if TYPE_CHECKING:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

__all__ = [
    "MAX_STROKES",
    "decode_picture",
    "decode_recording",
    "mask_of_edit",
    "paint_picture",
    "picture_layer",
    "soft_mask",
    "strokes_of",
]

MAX_STROKES: Final = 1_000_000
"""Characters of the canvas's strokes in a PNG; Pillow reads no longer texts."""
_STROKES: Final = "comfy-ui-strokes"

_SUFFIXES: Final = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}
_ORIENTATION: Final = 0x0112  # EXIF orientation; ComfyUI and browsers rotate the image by it
_LYING: Final = (5, 6, 7, 8)


def decode_picture(content: bytes) -> tuple[str, tuple[int, int]]:
    """Decode an image; return the suffix of its format and its upright size.

    Raises:
        ValidationError: not a PNG, JPEG or WebP file, damaged, or too large.
    """
    with _opened(content) as picture:
        size = picture.size
        if picture.getexif().get(_ORIENTATION) in _LYING:
            size = size[::-1]
        return _SUFFIXES[str(picture.format)], size


def paint_picture(
    content: bytes,
    *,
    mask: bytes | None = None,
    sketch: bytes | None = None,
    feather: int = 0,
    strokes: str = "",
) -> bytes:
    """Paint over an image and return a PNG.

    Args:
        content: the image.
        mask: its white parts become transparent, where ComfyUI reads a mask; the colors stay.
        sketch: colors over the image, with transparency.
        feather: blurs the edges of the mask, as the standard deviation in pixels.
        strokes: the canvas's strokes as JSON, kept in the PNG, see :func:`strokes_of`.

    Raises:
        ValidationError: one of them is not a usable image, or their sizes differ.
    """
    from PIL import ImageChops, ImageOps, PngImagePlugin

    with _opened(content) as below:
        upright = ImageOps.exif_transpose(below).convert("RGB")
    if sketch is not None:
        with _opened(sketch) as above:
            colors = above.convert("RGBA")
        _require_size(colors, upright, "sketch")
        upright.paste(colors, mask=colors.getchannel("A"))
    if mask is not None:
        painted = _soft(mask, feather)
        _require_size(painted, upright, "mask")
        upright.putalpha(ImageChops.invert(painted))
    texts = PngImagePlugin.PngInfo()
    if strokes:
        texts.add_itxt(_STROKES, strokes, zip=True)
    return _png(upright, texts)


def soft_mask(mask: bytes, feather: int) -> bytes:
    """Return a mask with blurred edges as PNG. ``feather``: the standard deviation in pixels.

    Raises:
        ValidationError: not a usable image.
    """
    return _png(_soft(mask, feather))


def strokes_of(content: bytes) -> str:
    """Return the strokes that :func:`paint_picture` has kept in an image; empty if none.

    Raises:
        ValidationError: not a usable image.
    """
    with open_picture(content) as picture:
        return str(picture.info.get(_STROKES, ""))


def _soft(mask: bytes, feather: int) -> Image.Image:
    from PIL import ImageFilter

    with _opened(mask) as picture:
        painted = picture.convert("L")
    return painted.filter(ImageFilter.GaussianBlur(feather)) if feather else painted


def _require_size(layer: Image.Image, picture: Image.Image, name: str) -> None:
    if layer.size != picture.size:
        sizes = [f"{image.width} × {image.height}" for image in (layer, picture)]
        raise ValidationError(
            f"The {name} has {sizes[0]} pixels and the image {sizes[1]}: they must be the same."
        )


def mask_of_edit(mask: bytes) -> bytes:
    """Return the mask of an edit with the area to change in white, as PNG.

    OpenAI's clients send that area transparent, and some others white in an opaque image.

    Raises:
        ValidationError: not a usable image.
    """
    from PIL import ImageChops

    with _opened(mask) as picture:
        transparency = ImageChops.invert(picture.convert("RGBA").getchannel("A"))
        return _png(transparency if transparency.getbbox() else picture.convert("L"))


def picture_layer(content: bytes, layer: Literal["picture", "mask"]) -> bytes:
    """Return the opaque colors of an image, or its transparency in white, as PNG.

    Raises:
        ValidationError: not a usable image.
    """
    from PIL import Image, ImageChops, ImageOps

    with _opened(content) as picture:
        upright = ImageOps.exif_transpose(picture).convert("RGBA")
    if layer == "picture":
        return _png(upright.convert("RGB"))
    white = Image.new("L", upright.size, 255)
    return _png(Image.merge("LA", (white, ImageChops.invert(upright.getchannel("A")))))


def _opened(content: bytes) -> Image.Image:
    picture = open_picture(content)
    try:
        picture.load()
    except (OSError, ValueError, SyntaxError) as error:
        raise unusable() from error
    return picture


def _png(picture: Image.Image, texts: PngInfo | None = None) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1, pnginfo=texts)
    return file.getvalue()


def decode_recording(content: bytes) -> str:
    """Return the suffix of a video or audio file's format.

    Raises:
        ValidationError: not a recording of a known format.
    """
    import av

    suffixes = {"mov,mp4,m4a,3gp,3g2,mj2": "mp4", "matroska,webm": "webm", "ogg": "ogg"}
    try:
        with av.open(io.BytesIO(content), mode="r") as container:
            format_name = container.format.name
    except (av.FFmpegError, ValueError) as error:
        raise ValidationError(
            "This recording cannot be used.",
            hint="Upload an MP4, WebM, MP3, WAV, FLAC or Ogg file.",
        ) from error
    suffix = suffixes.get(format_name, format_name)
    if suffix not in {"mp4", "webm", "mp3", "wav", "flac", "ogg"}:
        raise ValidationError(f"Files of the kind '{format_name}' are not used here.")
    return suffix
