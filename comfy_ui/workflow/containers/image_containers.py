"""PNG (also animated), WebP, JPEG and AVIF.

After: PNG third edition §11.3 and the chunk ``comf`` that ComfyUI puts into animated ones; the WebP
container; Exif 2.32 on TIFF 6; JPEG APP1; HEIF (ISO/IEC 23008-12).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from .av_containers import boxes
from .byte_reader import MAX_TEXT_BYTES, BrokenFileError, ByteSource, Fields, as_text


def png(source: ByteSource) -> Fields:
    """Yield all text chunks, Exif, and the ``comf`` chunks of an animated file."""
    source.seek(8)
    while True:
        length, kind = struct.unpack(">I4s", source.take(8))
        if kind in (b"tEXt", b"zTXt", b"iTXt", b"comf", b"eXIf"):
            yield from _png_chunk(kind, source.take(length))
            source.skip(4)
        elif kind == b"IEND":
            return
        else:
            source.skip(length + 4)


def _png_chunk(kind: bytes, data: bytes) -> Fields:
    if kind == b"eXIf":
        yield from _exif(data)
        return
    name, _, rest = data.partition(b"\0")
    key = name.decode("latin-1")
    if kind == b"tEXt":
        yield key, rest.decode("latin-1")
    elif kind == b"comf":
        yield key, as_text(rest)
    elif kind == b"zTXt":
        yield key, _unpack(rest[1:]).decode("latin-1")
    else:
        packed, rest = rest[:1] == b"\1", rest[2:]
        rest = rest.partition(b"\0")[2].partition(b"\0")[2]  # language, translated keyword
        yield key, as_text(_unpack(rest) if packed else rest)


def _unpack(data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(data, MAX_TEXT_BYTES)
    if unpacker.unconsumed_tail:
        raise BrokenFileError("text that unpacks to too much")
    return text


def webp(source: ByteSource) -> Fields:
    """Yield the fields of the Exif chunk."""
    source.seek(12)
    while True:
        kind, length = struct.unpack("<4sI", source.take(8))
        if kind == b"EXIF":
            yield from _exif(source.take(length))
            return
        source.skip(length + length % 2)


def jpeg(source: ByteSource) -> Fields:
    """Yield the fields of the Exif segments before the image data."""
    source.seek(2)
    while True:
        marker, kind, length = struct.unpack(">BBH", source.take(4))
        if marker != 0xFF or kind == 0xDA or length < 2:  # 0xDA: image data begins
            return
        data = source.take(length - 2)
        if kind == 0xE1 and data.startswith(b"Exif\0\0"):
            yield from _exif(data)


_EXIF_POINTER, _USER_COMMENT = 0x8769, 0x9286
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 7: 1}


def _exif(data: bytes) -> Fields:
    data = data.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return
    todo = [struct.unpack_from(order + "I", data, 4)[0]]
    for _ in range(4):  # the main and the Exif directory; the bound ends loops
        if not todo:
            return
        for tag, value in _tiff_directory(data, todo.pop(), order):
            if tag == _EXIF_POINTER and len(value) == 4:
                todo.append(struct.unpack(order + "I", value)[0])
            elif tag == _USER_COMMENT:
                yield "usercomment", _user_comment(value, order)
            else:
                key, colon, text = as_text(value.rstrip(b"\0")).partition(":")
                if colon and key.isidentifier():
                    yield key, text


def _tiff_directory(data: bytes, offset: int, order: str) -> Iterator[tuple[int, bytes]]:
    remaining = len(data)
    (count,) = struct.unpack_from(order + "H", data, offset)
    for index in range(count):
        at = offset + 2 + 12 * index
        tag, kind, items = struct.unpack_from(order + "HHI", data, at)
        size = _TIFF_SIZES.get(kind, 0) * items
        start = at + 8 if size <= 4 else struct.unpack_from(order + "I", data, at + 8)[0]
        remaining -= size
        if remaining < 0:
            return  # values do not overlap, so together they cannot exceed the data
        if size and start + size <= len(data):
            yield tag, data[start : start + size]


def _user_comment(value: bytes, order: str) -> str:
    code, rest = value[:8], value[8:]
    if code == b"UNICODE\0":
        # Writers disagree on the byte order. In Latin text every other byte is zero.
        big = rest[::2].count(0) > rest[1::2].count(0) or (order == ">" and 0 not in rest)
        return rest.decode("utf-16-be" if big else "utf-16-le", "replace").strip("\0\ufeff")
    return as_text(rest if code in (b"ASCII\0\0\0", bytes(8)) else value).strip("\0")


def avif(source: ByteSource) -> Fields:
    """Yield the fields of the Exif items."""
    for kind, start, stop in boxes(source, source.size):
        if kind == b"meta":
            source.seek(start + 4)
            parts = {name: (a, b) for name, a, b in boxes(source, stop)}
            for at, size in _avif_exif(source, parts):
                source.seek(at)
                data = source.take(size)
                (skip,) = struct.unpack_from(">I", data)  # up to the TIFF header
                yield from _exif(data[4 + skip :])
            return


def _avif_exif(
    source: ByteSource, parts: dict[bytes, tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """Locate the Exif items in the file: box ``iinf`` names them, ``iloc`` has their offsets."""
    if b"iinf" not in parts or b"iloc" not in parts:
        return
    start, stop = parts[b"iinf"]
    source.seek(start + (6 if source.take_at(start, 1) == b"\0" else 8))
    exif_items = set()
    for kind, inner, end in boxes(source, stop):
        data = source.take(min(end - inner, 16))
        if kind == b"infe" and data[8:12] == b"Exif" and data[:1] == b"\2":
            exif_items.add(int.from_bytes(data[4:6], "big"))
    start, stop = parts[b"iloc"]
    data = source.take_at(start, stop - start)
    version, sizes = data[0], struct.unpack_from(">H", data, 4)[0]
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version else 0
    at = 8
    for _ in range(struct.unpack_from(">H", data, 6)[0]):
        item = struct.unpack_from(">H", data, at)[0]
        at += 2 + (2 if version else 0) + 2
        base = int.from_bytes(data[at : at + base_size], "big")
        at += base_size
        (extents,) = struct.unpack_from(">H", data, at)
        first = at + 2 + index_size
        second = first + offset_size
        offset = int.from_bytes(data[first:second], "big")
        length = int.from_bytes(data[second : second + length_size], "big")
        at += 2 + extents * (index_size + offset_size + length_size)
        if item in exif_items:
            yield base + offset, length
