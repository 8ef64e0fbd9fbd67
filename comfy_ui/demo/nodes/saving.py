"""Output nodes: files with ComfyUI's names and metadata."""

from __future__ import annotations

import random
import string
from typing import Any

from PIL import Image, PngImagePlugin

from ..files import Kind
from .base import Context, Shown, node
from .things import Pictures

_LETTERS = string.ascii_lowercase


def to_image(picture: Any) -> Image.Image:
    return Image.fromarray(picture)


def _png_info(context: Context) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    for key, text in context.metadata.items():
        info.add_text(key, text)
    return info


def _save_images(context: Context, images: Pictures, prefix: str, kind: Kind, level: int) -> Shown:
    entries = []
    for picture in images:
        height, width = picture.shape[:2]
        named = prefix.replace("%width%", str(width)).replace("%height%", str(height))
        saved = context.folders.next(named, ".png", kind=kind)
        to_image(picture).save(saved.path, pnginfo=_png_info(context), compress_level=level)
        entries.append(saved.entry())
    return Shown({"images": entries}, (images,))


@node("SaveImage")
def save_image(context: Context, *, images: Pictures, filename_prefix: str) -> Shown:
    return _save_images(context, images, filename_prefix, "output", 4)


@node("PreviewImage")
def preview_image(context: Context, *, images: Pictures) -> Shown:
    suffix = "".join(random.choices(_LETTERS, k=5))
    return _save_images(context, images, f"ComfyUI_temp_{suffix}", "temp", 1)
