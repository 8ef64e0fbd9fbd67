"""MP4 and MOV, Matroska and WebM, FLAC, Ogg (Opus, Vorbis), MP3.

After: ISO/IEC 14496-12 and QuickTime metadata; RFC 9559 (Matroska); RFC 9639 (FLAC); RFC 3533 and
RFC 7845 (Ogg, Opus); ID3v2.3 and v2.4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from .byte_reader import (
    MAX_DEPTH,
    MAX_TAGS,
    MAX_TEXT_BYTES,
    BrokenFileError,
    ByteSource,
    Fields,
    as_text,
)

# Boxes: MP4, MOV, and AVIF images


def boxes(source: ByteSource, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, content start and content end of each box up to ``end``."""
    while True:
        start = source.tell()
        if start + 8 > end:
            return
        size, kind = struct.unpack(">I4s", source.take(8))
        body = start + 8
        if size == 1:
            (size,) = struct.unpack(">Q", source.take(8))
            body += 8
        stop = end if size == 0 else start + size
        if not body <= stop <= end:
            raise BrokenFileError("a box that is larger than its parent")
        yield kind, body, stop
        source.seek(stop)


def mp4(source: ByteSource) -> Fields:
    """Yield the tags of ``moov/udta/meta`` and ``moov/meta``, by ``keys`` and ``ilst``."""
    for kind, start, stop in boxes(source, source.size):
        if kind in (b"moov", b"meta"):
            yield from _mp4_inner(source, kind, start, stop, 0)


def _mp4_inner(source: ByteSource, kind: bytes, start: int, stop: int, depth: int) -> Fields:
    source.seek(start)
    if kind == b"meta":
        # QuickTime's box has no version field before its first child, ISO's has.
        source.seek(start + (0 if source.take(8)[4:] == b"hdlr" else 4))
    keys: list[str] = []
    for name, inner, end in boxes(source, stop):
        if name == b"keys":
            keys = _mp4_keys(source.take(end - inner))
        elif name == b"ilst":
            yield from _mp4_items(source, end, keys)
        elif name in (b"udta", b"meta") and depth < MAX_DEPTH:
            yield from _mp4_inner(source, name, inner, end, depth + 1)


def _mp4_keys(data: bytes) -> list[str]:
    keys: list[str] = []
    at = 8  # after version and count
    while at + 8 <= len(data) and len(keys) < MAX_TAGS:
        (size,) = struct.unpack_from(">I", data, at)
        if size < 8:
            break
        keys.append(as_text(data[at + 8 : at + size]))
        at += size
    return keys


_ITUNES = {b"\xa9cmt": "comment", b"\xa9des": "description", b"desc": "description"}


def _mp4_items(source: ByteSource, end: int, keys: list[str]) -> Fields:
    for name, _, stop in boxes(source, end):
        index = int.from_bytes(name, "big") - 1
        key = keys[index] if 0 <= index < len(keys) else _ITUNES.get(name)
        for kind, inner, last in boxes(source, stop):
            if kind == b"data" and key is not None:
                yield key, as_text(source.take(last - inner)[8:])  # after type and locale


# Matroska and WebM

_SEGMENT, _TAGS = 0x18538067, 0x1254C367
_TAG, _SIMPLE, _NAME, _STRING = 0x7373, 0x67C8, 0x45A3, 0x4487


def matroska(source: ByteSource) -> Fields:
    """Yield the tags of all segments."""
    for kind, start, stop in _elements(source, source.size):
        if kind == _SEGMENT:
            source.seek(start)
            for inner, at, end in _elements(source, stop):
                if inner == _TAGS:
                    source.seek(at)
                    yield from _matroska_tags(source, end, 0)


def _matroska_tags(source: ByteSource, end: int, depth: int) -> Fields:
    name = text = None
    for kind, start, stop in _elements(source, end):
        if kind in (_TAG, _SIMPLE) and depth < MAX_DEPTH:
            source.seek(start)
            yield from _matroska_tags(source, stop, depth + 1)
        elif kind == _NAME:
            name = as_text(source.take(stop - start))
        elif kind == _STRING:
            text = as_text(source.take(stop - start))
    if name is not None and text is not None:
        yield name, text


def _elements(source: ByteSource, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield id, content start and content end of each element up to ``end``."""
    while True:
        if source.tell() >= end:
            return
        kind, _ = _ebml_number(source)
        marked, width = _ebml_number(source)
        size = marked ^ 1 << 7 * width
        start = source.tell()
        unknown = size == (1 << 7 * width) - 1  # a live recording: the element extends to the end
        stop = end if unknown else start + size
        if stop > end:
            raise BrokenFileError("an element that is larger than its parent")
        yield kind, start, stop
        source.seek(stop)


def _ebml_number(source: ByteSource) -> tuple[int, int]:
    """Read a variable-length number, keeping its length mark; return it and its width in bytes."""
    first = source.take(1)[0]
    width = 9 - first.bit_length()
    if width > 8:
        raise BrokenFileError("not EBML")
    return int.from_bytes(bytes([first]) + source.take(width - 1), "big"), width


# Audio


def flac(source: ByteSource) -> Fields:
    """Yield the Vorbis comments."""
    source.seek(4)
    while True:
        (header,) = struct.unpack(">I", source.take(4))
        length = header & 0xFFFFFF
        if header >> 24 & 0x7F == 4:
            yield from _vorbis_comments(source.take(length))
        else:
            source.skip(length)
        if header >> 31:
            return


def _vorbis_comments(data: bytes) -> Fields:
    (vendor,) = struct.unpack_from("<I", data)
    (count,) = struct.unpack_from("<I", data, 4 + vendor)
    at = 8 + vendor
    for _ in range(min(count, MAX_TAGS)):
        (size,) = struct.unpack_from("<I", data, at)
        key, _, text = as_text(data[at + 4 : at + 4 + size]).partition("=")
        yield key, text
        at += 4 + size


def ogg(source: ByteSource) -> Fields:
    """Yield the Vorbis comments of the first stream, Opus or Vorbis."""
    packet = bytearray()
    while len(packet) <= MAX_TEXT_BYTES:
        header = source.take(27)
        if header[:4] != b"OggS":
            return
        sizes = source.take(header[26])
        page, at = source.take(sum(sizes)), 0
        for size in sizes:
            packet += page[at : at + size]
            at += size
            if size == 255:
                continue  # the packet continues on the next page
            for magic in (b"OpusTags", b"\x03vorbis"):
                if packet.startswith(magic):
                    yield from _vorbis_comments(bytes(packet[len(magic) :]))
                    return
            packet.clear()


def id3(source: ByteSource) -> Fields:
    """Yield the user-defined texts (``TXXX``) and comments of an ID3v2 tag."""
    version, _, _, size = struct.unpack(">BBB4s", source.take_at(3, 7))
    end = 10 + _syncsafe(size)
    while source.tell() + 10 <= end:
        kind, raw, _ = struct.unpack(">4s4sH", source.take(10))
        length = _syncsafe(raw) if version >= 4 else int.from_bytes(raw, "big")
        if not kind.strip(b"\0") or source.tell() + length > end:
            return
        data = source.take(length)
        if kind in (b"TXXX", b"COMM") and data:
            content = (
                data[1:] if kind == b"TXXX" else data[4:]
            )  # a comment has a language before it
            text = content.decode(
                {0: "latin-1", 1: "utf-16", 2: "utf-16-be"}.get(data[0], "utf-8"), "replace"
            )
            key, _, value = text.partition("\0")
            yield key or "comment", value.strip("\0\ufeff")
        elif length == 0:
            return


def _syncsafe(data: bytes) -> int:
    value = 0
    for byte in data:
        value = value << 7 | byte & 0x7F
    return value
