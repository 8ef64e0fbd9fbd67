"""Output nodes: files with ComfyUI's names and metadata."""

from __future__ import annotations

import io
import json
import random
import re
import string
import time
from typing import Any

from PIL import Image, PngImagePlugin

from .. import media
from ..engine_folders import Kind
from ..node_types import Latent, Pictures, Video
from .node_base import Context, NodeError, OutputResult, node

# ComfyUI's EXIF tags for WebP metadata: the prompt, then each key, counting down.
_EXIF_PROMPT = 0x0110
_CODECS = {"mp4": "libx264", "webm": "libvpx-vp9", "mkv": "libx264"}
_WEBM_CODECS = {"vp9": "libvpx-vp9", "av1": "libsvtav1"}


def random_suffix() -> str:
    return "".join(random.choices(string.ascii_lowercase, k=5))


def _png_info(context: Context) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    for key, text in context.metadata.items():
        info.add_text(key, text)
    return info


def _expanded(prefix: str, pictures: Pictures | None = None) -> str:
    """Expand the placeholders that the server itself replaces."""
    if "%" not in prefix:
        return prefix
    if pictures is not None:
        height, width = pictures.shape[1:3]
        prefix = prefix.replace("%width%", str(width)).replace("%height%", str(height))
    now = time.localtime()
    for name, code in (
        ("%year%", "%Y"),
        ("%month%", "%m"),
        ("%day%", "%d"),
        ("%hour%", "%H"),
        ("%minute%", "%M"),
        ("%second%", "%S"),
    ):
        prefix = prefix.replace(name, time.strftime(code, now))
    return prefix


def _save_images(
    context: Context, images: Pictures, prefix: str, kind: Kind, level: int
) -> OutputResult:
    level = 1 if context.is_hasty else level  # two thirds of the time, a fifth more bytes
    entries = []
    for number, picture in enumerate(images):
        context.check()
        named = _expanded(prefix, images).replace("%batch_num%", str(number))
        saved = context.folders.next(named, ".png", kind=kind)
        Image.fromarray(picture).save(saved.path, pnginfo=_png_info(context), compress_level=level)
        entries.append(saved.entry())
    return OutputResult({"images": entries}, (images,))


@node("SaveImage")
def save_image(context: Context, *, images: Pictures, filename_prefix: str) -> OutputResult:
    return _save_images(context, images, filename_prefix, "output", 4)


@node("SaveImageAdvanced")
def save_image_advanced(
    context: Context, *, images: Pictures, filename_prefix: str, **_: Any
) -> OutputResult:
    """Save as PNG, regardless of the requested format."""
    return _save_images(context, images, filename_prefix, "output", 4)


@node("PreviewImage")
def preview_image(context: Context, *, images: Pictures) -> OutputResult:
    return _preview(context, images)


def _preview(context: Context, images: Pictures) -> OutputResult:
    return _save_images(context, images, f"ComfyUI_temp_{random_suffix()}", "temp", 1)


@node("MaskPreview")
def preview_mask(context: Context, *, mask: Any) -> OutputResult:
    from .masks import as_pictures

    return _preview(context, as_pictures(mask))


@node("ImageCompare")
def compare(
    context: Context, *, image_a: Any = None, image_b: Any = None, **_: Any
) -> OutputResult:
    ui = {}
    for name, images in (("a_images", image_a), ("b_images", image_b)):
        previews = _preview(context, images).ui["images"] if images is not None else []
        ui[name] = previews
    return OutputResult(ui)


@node("SaveImageWebsocket")
def save_to_socket(context: Context, *, images: Pictures) -> OutputResult:
    """Send each image to the client as a PNG frame, without a file."""
    for number, picture in enumerate(images):
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "PNG")
        context.picture(number, len(images), buffer.getvalue())
    return OutputResult({})


@node("SaveAnimatedWEBP")
def save_webp(
    context: Context,
    *,
    images: Pictures,
    filename_prefix: str,
    fps: float,
    lossless: bool,
    quality: int,
    method: str,
    **_: Any,
) -> OutputResult:
    frames = [Image.fromarray(picture) for picture in images]
    exif = frames[0].getexif()
    texts = context.metadata
    exif[_EXIF_PROMPT] = f"prompt:{texts.pop('prompt')}"
    for offset, (key, text) in enumerate(texts.items(), start=1):
        exif[_EXIF_PROMPT - offset] = f"{key}:{text}"
    saved = context.folders.next(filename_prefix, ".webp")
    frames[0].save(
        saved.path,
        save_all=True,
        duration=int(1000 / fps),
        append_images=frames[1:],
        exif=exif,
        lossless=lossless,
        quality=quality,
        method={"fastest": 0, "default": 4, "slowest": 6}.get(method, 4),
    )
    return OutputResult({"images": [saved.entry()], "animated": [True]})


@node("SaveAnimatedPNG")
def save_apng(
    context: Context,
    *,
    images: Pictures,
    filename_prefix: str,
    fps: float,
    compress_level: int,
    **_: Any,
) -> OutputResult:
    info = PngImagePlugin.PngInfo()
    for key, text in context.metadata.items():
        data = key.encode("latin-1", "strict") + b"\0" + text.encode("latin-1", "strict")
        info.add(b"comf", data, after_idat=True)
    frames = [Image.fromarray(picture) for picture in images]
    saved = context.folders.next(filename_prefix, ".png")
    frames[0].save(
        saved.path,
        pnginfo=info,
        compress_level=compress_level,
        save_all=True,
        duration=int(1000 / fps),
        append_images=frames[1:],
    )
    return OutputResult({"images": [saved.entry()], "animated": [True]})


@node("SaveVideo")
def save_video(
    context: Context,
    *,
    video: Video,
    filename_prefix: str,
    format: str = "auto",  # noqa: A002 -- the input's name
    codec: str = "auto",
    more: dict[str, Any] | None = None,
    **_: Any,
) -> OutputResult:
    """Save a video; a loaded one keeps its tags, with this run's added."""
    container = "mp4" if format == "auto" else format
    if container not in _CODECS:
        raise NodeError(f"'{format}' is not a valid VideoContainer")
    codec_name = (more or {}).get("format.codec", codec)
    encoder = {"av1": "libsvtav1", "h264": "libx264", "vp9": "libvpx-vp9"}.get(
        codec_name, _CODECS[container]
    )
    saved = context.folders.next(_expanded(filename_prefix, video.frames), f".{container}")
    media.write_video(saved.path, video, tags=video.tags | context.metadata, codec=encoder)
    return OutputResult({"images": [saved.entry()], "animated": [True]}, (video,))


@node("SaveWEBM")
def save_webm(
    context: Context,
    *,
    images: Pictures,
    filename_prefix: str,
    codec: str,
    fps: float,
    crf: float,
) -> OutputResult:
    saved = context.folders.next(filename_prefix, ".webm")
    encoder = _WEBM_CODECS[codec]
    video = Video(images, fps)
    media.write_video(saved.path, video, tags=context.metadata, codec=encoder, crf=crf)
    return OutputResult({"images": [saved.entry()], "animated": [True]})


@node("SaveLatent")
def save_latent(context: Context, *, samples: Latent, filename_prefix: str) -> OutputResult:
    """Save a safetensors file of the latent's shape, with its images' coarse brightness."""
    import numpy as np

    pictures = samples.filled()[:, ::8, ::8, :3].astype(np.float32) / 127.5 - 1
    tensor = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))
    shape = [*tensor.shape[:1], 3, *tensor.shape[2:]]
    header = {
        "__metadata__": context.metadata,
        "latent_tensor": {"dtype": "F32", "shape": shape, "data_offsets": [0, tensor.nbytes]},
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    saved = context.folders.next(filename_prefix, ".latent")
    saved.path.write_bytes(len(text).to_bytes(8, "little") + text + tensor.tobytes())
    return OutputResult({"latents": [saved.entry()]})


@node("PreviewAny")
def preview_any(_context: Context, *, source: Any = None, **_: Any) -> OutputResult:
    if isinstance(source, str | int | float | bool):
        text = str(source)
    elif source is None:
        text = "None"
    else:
        text = re.sub(r"\s+", " ", repr(source))[:2000]
    return OutputResult({"text": [text]}, (text,))


@node("SaveText")
def save_text(
    context: Context, *, text: str, filename_prefix: str = "text", **_: Any
) -> OutputResult:
    saved = context.folders.next(filename_prefix, ".txt")
    saved.path.write_text(text, encoding="utf-8")
    return OutputResult({"text": [text], "files": [saved.entry()]}, (text,))
