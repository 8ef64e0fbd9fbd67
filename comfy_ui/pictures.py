"""Open untrusted images: a short list of formats, a limit of pixels and of JPEG scans.

Pillow would otherwise try all its formats, among them EPS, for which it runs Ghostscript with the
file's PostScript.
"""

from __future__ import annotations

import io
import warnings
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from .errors import ValidationError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "MAX_PIXELS",
    "RESULT_FORMATS",
    "UPLOAD_FORMATS",
    "load_formats",
    "open_picture",
    "open_result",
    "unusable",
]

UPLOAD_FORMATS: Final = ("PNG", "JPEG", "WEBP")
"""The formats of users' files."""
RESULT_FORMATS: Final = (*UPLOAD_FORMATS, "GIF", "AVIF", "BMP", "TIFF")
"""The formats that ComfyUI's nodes save."""
_PLUGINS: Final = ("Png", "Jpeg", "WebP", "Gif", "Avif", "Bmp", "Tiff")
MAX_PIXELS: Final = 64_000_000
"""The limit of users' files."""
_MAX_SCANS: Final = 100  # encoders write about ten; each costs a pass over all pixels
_START_OF_SCAN: Final = b"\xff\xda"


def open_picture(content: bytes, most_pixels: int = MAX_PIXELS) -> Image:
    """Open a user's image without decoding it.

    Raises:
        ValidationError: not a PNG, JPEG or WebP file, or it is too large to decode.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # limited below
            picture = Image.open(io.BytesIO(content), formats=UPLOAD_FORMATS)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise unusable() from error
    if picture.width * picture.height > most_pixels:
        raise ValidationError(
            f"{picture.width} × {picture.height} pixels are too many.",
            hint="Make the image smaller first.",
        )
    if picture.format == "JPEG" and content.count(_START_OF_SCAN) > _MAX_SCANS:
        raise ValidationError(
            f"This JPEG has more than {_MAX_SCANS} scans.", hint="Save the image again."
        )
    return picture


def open_result(source: Path | BinaryIO) -> Image:
    """Open an image that a server or this app made, without decoding it.

    Raises:
        OSError: it cannot be read, or has another format.
    """
    from PIL import Image

    return Image.open(source, formats=RESULT_FORMATS)


def load_formats() -> None:
    """Import Pillow's modules of these formats, before the first image needs them.

    Pillow itself would import those of all formats then, half a second in which no other thread
    gets far.
    """
    for plugin in _PLUGINS:
        with suppress(ImportError):  # old versions of Pillow have no AVIF
            import_module(f"PIL.{plugin}ImagePlugin")


def unusable() -> ValidationError:
    """Return the error for a file that is not an image of these formats."""
    return ValidationError("This image cannot be used.", hint="Upload a PNG, JPEG or WebP file.")
