"""Thumbnails of images and videos, and images in other formats.

Runs in a worker process: ComfyUI's files are untrusted, too.
"""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..pictures import open_result

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..protocol.outputs import Kind

__all__ = ["THUMBNAIL_SIDE", "encode_picture", "write_thumbnail"]

THUMBNAIL_SIDE: Final = 512
"""Longest side of a thumbnail, in pixels: sharp in a phone's two-column gallery."""

_MAX_PIXELS: Final = 128_000_000  # of a thumbnail's original: it takes a gigabyte to decode


def write_thumbnail(path: Path, thumbnail: Path, kind: Kind) -> tuple[int, int] | None:
    """Write the thumbnail of a file; return the size in pixels, or None if it has none.

    A decoder may raise anything.
    """
    if kind == "3d":
        from .mesh_rendering import mesh_image  # imports numpy, which the app may lack

        _write(mesh_image(path, THUMBNAIL_SIDE), thumbnail)
        return None
    image = _first_frame(path) if kind == "video" else open_result(path)
    if image is None:
        return None
    with image:
        size = image.size
        if not thumbnail.exists() and size[0] * size[1] <= _MAX_PIXELS:
            _write(image, thumbnail)
        return size


def encode_picture(path: Path, format_name: str, quality: int) -> bytes:
    """Return an image in another format: png, webp or jpeg. ``quality``: 0 to 100, not for png.

    A JPEG has no transparency: it is drawn over white. A decoder may raise anything.
    """
    from PIL import Image, ImageOps

    with open_result(path) as image:
        upright = ImageOps.exif_transpose(image)
        clear = "A" in upright.getbands() or "transparency" in upright.info
        upright = upright.convert("RGBA" if clear else "RGB")
    if clear and format_name == "jpeg":
        white = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(white, upright).convert("RGB")
    file = io.BytesIO()
    options = {} if format_name == "png" else {"quality": quality}
    upright.save(file, format_name.upper(), **options)
    return file.getvalue()


def _first_frame(path: Path) -> Image | None:
    if find_spec("av") is None:
        return None
    import av

    with av.open(str(path)) as container:
        frame: Any = next(container.decode(video=0), None)
        return frame.to_image() if frame else None


def _write(image: Image, thumbnail: Path) -> None:
    from PIL import ImageOps

    image.draft("RGB", (THUMBNAIL_SIDE, THUMBNAIL_SIDE))  # JPEG only: decodes at a smaller scale
    ImageOps.exif_transpose(image, in_place=True)
    mode = "RGBA" if "A" in image.getbands() or "transparency" in image.info else "RGB"
    small = image if image.mode == mode else image.convert(mode)
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    thumbnail.parent.mkdir(parents=True, exist_ok=True)
    partial = thumbnail.with_suffix(".part")
    # Half the time of the default method, 4, and no larger.
    small.save(partial, "WEBP", quality=80, method=2)
    partial.replace(thumbnail)
