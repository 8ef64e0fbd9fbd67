"""The text fields in pictures, videos and sounds, read from headers and chunks alone.

No pixel, frame or sample is ever decoded, so a file that would unpack to gigabytes costs no more
than another. What is read is bounded in bytes and in parts; a file that is cut short or broken
gives what stands before the break.

Formats after: PNG third edition §11.3 and the APNG chunk ``comf`` of ComfyUI; WebP container and
Exif 2.32; JPEG APP1; HEIF (ISO/IEC 23008-12); QuickTime metadata; Matroska (RFC 9559); FLAC (RFC
9639); Ogg (RFC 3533) with Opus (RFC 7845); ID3v2.3 and v2.4.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

MAX_TEXT_BYTES = 32 * 1024 * 1024
"""How much text is read from one file, unpacked; large workflows have a few megabytes."""

_MAX_PARTS = 20_000  # chunks, boxes, pages, tags of one file
_MAX_DEPTH = 6  # of boxes within boxes


class BrokenFileError(ValueError):
    """The file ends early, or is not what it says it is."""


def read_fields(file: BinaryIO) -> dict[str, str] | None:
    """The text fields of a file by key, in lower case; None when the format is not one of ours.

    Exif fields that ComfyUI writes as ``key:value`` stand under that key, a user comment under
    ``usercomment``.
    """
    head = file.read(16)
    file.seek(0)
    reader = next((read for test, read in _FORMATS if test(head)), None)
    if reader is None:
        return None
    fields: dict[str, str] = {}
    total = 0
    try:
        for key, text in reader(file):
            total += len(text)
            if total > MAX_TEXT_BYTES:
                break
            fields.setdefault(key.lower(), text)
    except (BrokenFileError, struct.error, zlib.error, OSError, OverflowError):
        pass  # what was found before the break still counts
    return fields


_Fields = Iterator[tuple[str, str]]


def _take(file: BinaryIO, count: int) -> bytes:
    if not 0 <= count <= MAX_TEXT_BYTES:
        raise BrokenFileError(f"a part of {count} bytes")
    data = file.read(count)
    if len(data) != count:
        raise BrokenFileError("cut short")
    return data


def _text(data: bytes) -> str:
    """UTF-8 where it is that, else Latin-1, which can be any bytes."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


# Pictures


def _png(file: BinaryIO) -> _Fields:
    file.seek(8)
    for _ in range(_MAX_PARTS):
        length, kind = struct.unpack(">I4s", _take(file, 8))
        if kind in (b"tEXt", b"zTXt", b"iTXt", b"comf", b"eXIf"):
            yield from _png_chunk(kind, _take(file, length))
            file.seek(4, 1)
        elif kind == b"IEND":
            return
        else:
            file.seek(length + 4, 1)


def _png_chunk(kind: bytes, data: bytes) -> _Fields:
    if kind == b"eXIf":
        yield from _exif(data)
        return
    name, _, rest = data.partition(b"\0")
    key = name.decode("latin-1")
    if kind == b"tEXt":
        yield key, rest.decode("latin-1")
    elif kind == b"comf":
        yield key, _text(rest)
    elif kind == b"zTXt":
        yield key, _unpack(rest[1:]).decode("latin-1")
    else:
        packed, rest = rest[:1] == b"\1", rest[2:]
        rest = rest.partition(b"\0")[2].partition(b"\0")[2]  # language, translated keyword
        yield key, _text(_unpack(rest) if packed else rest)


def _unpack(data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(data, MAX_TEXT_BYTES)
    if unpacker.unconsumed_tail:
        raise BrokenFileError("text that unpacks to too much")
    return text


def _webp(file: BinaryIO) -> _Fields:
    file.seek(12)
    for _ in range(_MAX_PARTS):
        kind, length = struct.unpack("<4sI", _take(file, 8))
        if kind == b"EXIF":
            yield from _exif(_take(file, length))
            return
        file.seek(length + length % 2, 1)


def _jpeg(file: BinaryIO) -> _Fields:
    file.seek(2)
    for _ in range(_MAX_PARTS):
        marker, kind, length = struct.unpack(">BBH", _take(file, 4))
        if marker != 0xFF or kind == 0xDA or length < 2:  # 0xDA: the picture itself begins
            return
        data = _take(file, length - 2)
        if kind == 0xE1 and data.startswith(b"Exif\0\0"):
            yield from _exif(data)


_EXIF_POINTER, _USER_COMMENT = 0x8769, 0x9286
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 7: 1}


def _exif(data: bytes) -> _Fields:
    data = data.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return
    todo = [struct.unpack_from(order + "I", data, 4)[0]]
    for _ in range(4):  # the main directory, the Exif directory, and no circles
        if not todo:
            return
        for tag, value in _tiff_directory(data, todo.pop(), order):
            if tag == _EXIF_POINTER and len(value) == 4:
                todo.append(struct.unpack(order + "I", value)[0])
            elif tag == _USER_COMMENT:
                yield "usercomment", _user_comment(value, order)
            else:
                key, colon, text = _text(value.rstrip(b"\0")).partition(":")
                if colon and key.isidentifier():
                    yield key, text


def _tiff_directory(data: bytes, offset: int, order: str) -> Iterator[tuple[int, bytes]]:
    (count,) = struct.unpack_from(order + "H", data, offset)
    for index in range(count):
        at = offset + 2 + 12 * index
        tag, kind, items = struct.unpack_from(order + "HHI", data, at)
        size = _TIFF_SIZES.get(kind, 0) * items
        start = at + 8 if size <= 4 else struct.unpack_from(order + "I", data, at + 8)[0]
        if size and start + size <= len(data):
            yield tag, data[start : start + size]


def _user_comment(value: bytes, order: str) -> str:
    code, rest = value[:8], value[8:]
    if code == b"UNICODE\0":
        # Writers disagree on the byte order; half of the bytes of a Latin text are zero, on one
        # side or the other.
        big = rest[::2].count(0) > rest[1::2].count(0) or (order == ">" and 0 not in rest)
        return rest.decode("utf-16-be" if big else "utf-16-le", "replace").strip("\0\ufeff")
    return _text(rest if code in (b"ASCII\0\0\0", bytes(8)) else value).strip("\0")


# Boxes: MP4, MOV, and AVIF


def _boxes(file: BinaryIO, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of the content of each box from here to ``end``."""
    for _ in range(_MAX_PARTS):
        start = file.tell()
        if start + 8 > end:
            return
        size, kind = struct.unpack(">I4s", _take(file, 8))
        body = start + 8
        if size == 1:
            (size,) = struct.unpack(">Q", _take(file, 8))
            body += 8
        stop = end if size == 0 else start + size
        if not body <= stop <= end:
            raise BrokenFileError("a box that is larger than its place")
        yield kind, body, stop
        file.seek(stop)


def _end(file: BinaryIO) -> int:
    at = file.tell()
    end = file.seek(0, 2)
    file.seek(at)
    return end


def _mp4(file: BinaryIO) -> _Fields:
    for kind, start, stop in _boxes(file, _end(file)):
        if kind in (b"moov", b"meta"):
            yield from _mp4_inner(file, kind, start, stop, 0)


def _mp4_inner(file: BinaryIO, kind: bytes, start: int, stop: int, depth: int) -> _Fields:
    file.seek(start)
    if kind == b"meta":
        # QuickTime's box has no version field before its first child, ISO's has.
        file.seek(start + (0 if _take(file, 8)[4:] == b"hdlr" else 4))
    keys: list[str] = []
    for name, inner, end in _boxes(file, stop):
        if name == b"keys":
            keys = _mp4_keys(_take(file, end - inner))
        elif name == b"ilst":
            yield from _mp4_items(file, end, keys)
        elif name in (b"udta", b"meta") and depth < _MAX_DEPTH:
            yield from _mp4_inner(file, name, inner, end, depth + 1)


def _mp4_keys(data: bytes) -> list[str]:
    keys, at = [], 8  # after version and count
    while at + 8 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        if size < 8:
            break
        keys.append(_text(data[at + 8 : at + size]))
        at += size
    return keys


_ITUNES = {b"\xa9cmt": "comment", b"\xa9des": "description", b"desc": "description"}


def _mp4_items(file: BinaryIO, end: int, keys: list[str]) -> _Fields:
    for name, _, stop in _boxes(file, end):
        index = int.from_bytes(name, "big") - 1
        key = keys[index] if 0 <= index < len(keys) else _ITUNES.get(name)
        for kind, inner, last in _boxes(file, stop):
            if kind == b"data" and key is not None:
                yield key, _text(_take(file, last - inner)[8:])  # after type and locale


def _avif(file: BinaryIO) -> _Fields:
    for kind, start, stop in _boxes(file, _end(file)):
        if kind == b"meta":
            file.seek(start + 4)
            parts = {name: (a, b) for name, a, b in _boxes(file, stop)}
            for at, size in _avif_exif(file, parts):
                file.seek(at)
                data = _take(file, size)
                (skip,) = struct.unpack_from(">I", data)  # up to the TIFF header
                yield from _exif(data[4 + skip :])
            return


def _avif_exif(file: BinaryIO, parts: dict[bytes, tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Where the Exif items lie in the file: the boxes ``iinf`` say which, ``iloc`` where."""
    if b"iinf" not in parts or b"iloc" not in parts:
        return
    start, stop = parts[b"iinf"]
    file.seek(start + (6 if _take_at(file, start, 1) == b"\0" else 8))
    wanted = set()
    for kind, inner, end in _boxes(file, stop):
        data = _take(file, min(end - inner, 16))
        if kind == b"infe" and data[8:12] == b"Exif" and data[:1] == b"\2":
            wanted.add(int.from_bytes(data[4:6], "big"))
    start, stop = parts[b"iloc"]
    data = _take_at(file, start, stop - start)
    version, sizes = data[0], struct.unpack_from(">H", data, 4)[0]
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version else 0
    at = 8
    for _ in range(struct.unpack_from(">H", data, 6)[0]):
        item = struct.unpack_from(">H", data, at)[0]
        at += 2 + (2 if version else 0) + 2
        base = int.from_bytes(data[at : at + base_size], "big")
        at += base_size
        extents = struct.unpack_from(">H", data, at)[0]
        at += 2
        for _ in range(extents):
            at += index_size
            offset = int.from_bytes(data[at : at + offset_size], "big")
            length = int.from_bytes(data[at + offset_size : at + offset_size + length_size], "big")
            at += offset_size + length_size
            if item in wanted:
                yield base + offset, length


def _take_at(file: BinaryIO, start: int, count: int) -> bytes:
    file.seek(start)
    return _take(file, count)


# Matroska and WebM

_SEGMENT, _TAGS, _TAG, _SIMPLE, _NAME, _STRING = (
    0x18538067,
    0x1254C367,
    0x7373,
    0x67C8,
    0x45A3,
    0x4487,
)


def _matroska(file: BinaryIO) -> _Fields:
    for kind, start, stop in _elements(file, _end(file)):
        if kind == _SEGMENT:
            file.seek(start)
            for inner, at, end in _elements(file, stop):
                if inner == _TAGS:
                    file.seek(at)
                    yield from _matroska_tags(file, end, 0)


def _matroska_tags(file: BinaryIO, end: int, depth: int) -> _Fields:
    name = text = None
    for kind, start, stop in _elements(file, end):
        if kind in (_TAG, _SIMPLE) and depth < _MAX_DEPTH:
            file.seek(start)
            yield from _matroska_tags(file, stop, depth + 1)
        elif kind == _NAME:
            name = _text(_take(file, stop - start))
        elif kind == _STRING:
            text = _text(_take(file, stop - start))
    if name is not None and text is not None:
        yield name, text


def _elements(file: BinaryIO, end: int) -> Iterator[tuple[int, int, int]]:
    """Id, start and end of the content of each element from here to ``end``."""
    for _ in range(_MAX_PARTS):
        if file.tell() >= end:
            return
        kind, _ = _ebml_number(file)
        marked, width = _ebml_number(file)
        size = marked ^ 1 << 7 * width
        start = file.tell()
        unknown = size == (1 << 7 * width) - 1  # a live recording: the element goes to the end
        stop = end if unknown else start + size
        if stop > end:
            raise BrokenFileError("an element that is larger than its place")
        yield kind, start, stop
        file.seek(stop)


def _ebml_number(file: BinaryIO) -> tuple[int, int]:
    """A number of variable length with its length mark, and its width in bytes."""
    first = _take(file, 1)[0]
    width = 9 - first.bit_length()
    if width > 8:
        raise BrokenFileError("not EBML")
    return int.from_bytes(bytes([first]) + _take(file, width - 1), "big"), width


# Sounds


def _flac(file: BinaryIO) -> _Fields:
    file.seek(4)
    for _ in range(_MAX_PARTS):
        (header,) = struct.unpack(">I", _take(file, 4))
        length = header & 0xFFFFFF
        if header >> 24 & 0x7F == 4:
            yield from _vorbis_comments(_take(file, length))
        else:
            file.seek(length, 1)
        if header >> 31:
            return


def _vorbis_comments(data: bytes) -> _Fields:
    (vendor,) = struct.unpack_from("<I", data)
    (count,) = struct.unpack_from("<I", data, 4 + vendor)
    at = 8 + vendor
    for _ in range(min(count, _MAX_PARTS)):
        (size,) = struct.unpack_from("<I", data, at)
        key, _, text = _text(data[at + 4 : at + 4 + size]).partition("=")
        yield key, text
        at += 4 + size


def _ogg(file: BinaryIO) -> _Fields:
    packet = b""
    for _ in range(_MAX_PARTS):
        header = _take(file, 27)
        if header[:4] != b"OggS":
            return
        for size in (table := _take(file, header[26])):
            packet += _take(file, size)
            if size == 255:
                continue  # the packet goes on
            for magic in (b"OpusTags", b"\x03vorbis"):
                if packet.startswith(magic):
                    yield from _vorbis_comments(packet[len(magic) :])
                    return
            packet = b""
        if len(packet) > MAX_TEXT_BYTES or not table:
            return


def _id3(file: BinaryIO) -> _Fields:
    version, _, _, size = struct.unpack(">BBB4s", _take_at(file, 3, 7))
    end = 10 + _syncsafe(size)
    while file.tell() + 10 <= end:
        kind, raw, _ = struct.unpack(">4s4sH", _take(file, 10))
        length = _syncsafe(raw) if version >= 4 else int.from_bytes(raw, "big")
        if not kind.strip(b"\0") or file.tell() + length > end:
            return
        data = _take(file, length)
        if kind in (b"TXXX", b"COMM") and data:
            rest = data[1:] if kind == b"TXXX" else data[4:]  # a comment has a language before it
            text = rest.decode(
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


_FORMATS: tuple[tuple[Callable[[bytes], bool], Callable[[BinaryIO], _Fields]], ...] = (
    (lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"), _png),
    (lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP", _webp),
    (lambda head: head.startswith(b"\xff\xd8\xff"), _jpeg),
    (
        lambda head: head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis", b"mif1", b"heic"),
        _avif,
    ),
    (lambda head: head[4:8] in (b"ftyp", b"moov", b"wide", b"mdat"), _mp4),
    (lambda head: head.startswith(b"\x1a\x45\xdf\xa3"), _matroska),
    (lambda head: head.startswith(b"fLaC"), _flac),
    (lambda head: head.startswith(b"OggS"), _ogg),
    (lambda head: head.startswith(b"ID3"), _id3),
)
