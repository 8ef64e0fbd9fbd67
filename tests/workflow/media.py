"""Media files with embedded settings, as ComfyUI and other programs write them."""

from __future__ import annotations

import io
import json
import struct
import zlib
from typing import Any

from PIL import Image, PngImagePlugin

GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "für"}},
}
WORKFLOW = {"nodes": [{"id": 1, "type": "EmptyImage"}], "links": [], "version": 0.4}
FORM = {"preset": "sdxl", "values": {"prompt": "ein Füchslein 🦊", "seed": 7}}
FIELDS = {
    "prompt": json.dumps(GRAPH),
    "workflow": json.dumps(WORKFLOW),
    "comfy_ui": json.dumps(FORM),
}
A1111 = (
    "a cat, <lora:fluffy:0.7> on a mat\nsecond line\nNegative prompt: blurry, bad\n"
    "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.5, Seed: 42, "
    "Size: 512x768, Model hash: abc, Model: dreamy, Denoising strength: 0.4, "
    'Lora hashes: "fluffy: 1, x: 2", Version: 1'
)


def image() -> Image.Image:
    return Image.new("RGB", (8, 8), "red")


def png(fields: dict[str, str] = FIELDS, *, packed: bool = False) -> bytes:
    info = PngImagePlugin.PngInfo()
    for key, text in fields.items():
        info.add_text(key, text, zip=packed)
    out = io.BytesIO()
    image().save(out, "PNG", pnginfo=info)
    return out.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", len(data), kind) + data + struct.pack(">I", zlib.crc32(kind + data))


def apng(fields: dict[str, str] = FIELDS) -> bytes:
    """Write private ``comf`` chunks after the image data, like SaveAnimatedPNG."""
    out = io.BytesIO()
    info = PngImagePlugin.PngInfo()
    for key, text in fields.items():
        info.add(b"comf", key.encode("latin-1") + b"\0" + text.encode("latin-1"), after_idat=True)
    image().save(out, "PNG", save_all=True, append_images=[image().rotate(90)], pnginfo=info)
    return out.getvalue()


def exif(fields: dict[str, str] = FIELDS, comment: bytes | None = None) -> Image.Exif:
    """Write ``key:value`` tags from 0x0110 down, like SaveAnimatedWEBP, and A1111's comment."""
    exif_tags = Image.Exif()
    for tag, (key, text) in zip(range(0x0110, 0x0100, -1), fields.items(), strict=False):
        exif_tags[tag] = f"{key}:{text}"
    if comment is not None:
        exif_tags.get_ifd(0x8769)[0x9286] = comment
    return exif_tags


def encode_image(form: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image().save(out, form, **options)
    return out.getvalue()


def encode_av(container: str, codec: str, fields: dict[str, str] = FIELDS, **options: Any) -> bytes:
    """Encode a short video or audio file with PyAV, which ComfyUI uses."""
    import av
    import numpy as np

    out = io.BytesIO()
    with av.open(out, "w", format=container, **options) as file:
        if codec in ("flac", "libopus", "libmp3lame", "libvorbis"):
            stream: Any = file.add_stream(codec, rate=48000)
            file.metadata.update(fields)
            if container in ("ogg", "opus"):
                stream.metadata.update(fields)
            frame: Any = av.AudioFrame.from_ndarray(
                np.zeros((1, 48000), dtype=np.int16), format="s16", layout="mono"
            )
            frame.rate = 48000
        else:
            file.metadata.update(fields)
            stream = file.add_stream(codec, rate=8)
            stream.width = stream.height = 64
            stream.pix_fmt = "yuv420p"
            frame = av.VideoFrame.from_ndarray(
                np.zeros((64, 64, 3), dtype=np.uint8), format="rgb24"
            )
        for packet in stream.encode(frame):
            file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)
    return out.getvalue()
