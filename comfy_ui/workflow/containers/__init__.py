"""Read the text fields of image, video and audio files from headers and chunks alone.

No pixel, frame or sample is ever decoded, so decompression bombs cost no more than other files.
Reads are bounded in bytes and count; a truncated or broken file gives the fields before the break.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import BinaryIO

from . import av_containers, image_containers
from .byte_reader import MAX_TEXT_BYTES, BrokenFileError, ByteSource, Fields

__all__ = ["MAX_TEXT_BYTES", "read_fields"]


def read_fields(file: BinaryIO) -> dict[str, str] | None:
    """Return the text fields of a file by lower-case key, or None if the format is not supported.

    An Exif field that ComfyUI writes as ``key:value`` has that key, a user comment has
    ``usercomment``.
    """
    head = file.read(16)
    source = ByteSource(file)
    reader = next((read for test, read in _FORMATS if test(head)), None)
    if reader is None:
        return None
    fields: dict[str, str] = {}
    total = 0
    try:
        for key, text in reader(source):
            total += len(text)
            if total > MAX_TEXT_BYTES:
                break
            fields.setdefault(key.lower(), text)
    except (BrokenFileError, struct.error, zlib.error, OSError, IndexError):
        pass  # keep the fields before the break
    return fields


_FORMATS: tuple[tuple[Callable[[bytes], bool], Callable[[ByteSource], Fields]], ...] = (
    (lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"), image_containers.png),
    (lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP", image_containers.webp),
    (lambda head: head.startswith(b"\xff\xd8\xff"), image_containers.jpeg),
    (
        lambda head: head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis", b"mif1", b"heic"),
        image_containers.avif,
    ),
    (lambda head: head[4:8] in (b"ftyp", b"moov", b"wide", b"mdat"), av_containers.mp4),
    (lambda head: head.startswith(b"\x1a\x45\xdf\xa3"), av_containers.matroska),
    (lambda head: head.startswith(b"fLaC"), av_containers.flac),
    (lambda head: head.startswith(b"OggS"), av_containers.ogg),
    (lambda head: head.startswith(b"ID3"), av_containers.id3),
    # An MP3 without a tag in front has nothing to read.
    (lambda head: head[:1] == b"\xff" and head[1:2] >= b"\xe0", lambda _: iter(())),
)
