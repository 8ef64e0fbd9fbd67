"""comfy_ui/workflow/containers/"""

from __future__ import annotations

import io
import random
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable

import pytest

from comfy_ui.workflow.containers import MAX_TEXT_BYTES, read_fields
from tests.workflow import media

SAMPLES: dict[str, Callable[[], bytes]] = {
    "png": media.png,
    "png, packed": lambda: media.png(packed=True),
    "apng": media.apng,
    "webp": lambda: media.encode_image("WEBP", exif=media.exif()),
    "jpeg": lambda: media.encode_image("JPEG", exif=media.exif()),
    "avif": lambda: media.encode_image("AVIF", exif=media.exif()),
    "mp4": lambda: media.encode_av("mp4", "libx264", options={"movflags": "use_metadata_tags"}),
    "mov": lambda: media.encode_av("mov", "libx264", options={"movflags": "use_metadata_tags"}),
    "webm": lambda: media.encode_av("webm", "libvpx-vp9"),
    "mkv": lambda: media.encode_av("matroska", "libx264"),
    "flac": lambda: media.encode_av("flac", "flac"),
    "mp3": lambda: media.encode_av("mp3", "libmp3lame"),
    "opus": lambda: media.encode_av("ogg", "libopus"),
}


@pytest.fixture(scope="module", params=SAMPLES)
def sample(request: pytest.FixtureRequest) -> bytes:
    if request.param not in ("png", "png, packed", "apng", "webp", "jpeg", "avif"):
        pytest.importorskip("av")
    return SAMPLES[request.param]()


def test_read_fields_returns_written_fields(sample: bytes) -> None:
    fields = read_fields(io.BytesIO(sample))
    assert fields is not None
    assert {key: fields[key] for key in media.FIELDS} == media.FIELDS


def test_read_fields_truncated_file_returns_remaining_fields(sample: bytes) -> None:
    whole = read_fields(io.BytesIO(sample))
    assert whole is not None
    for end in {*range(200), *range(0, len(sample), max(1, len(sample) // 200))}:
        fields = read_fields(io.BytesIO(sample[:end]))
        assert fields is None or fields.items() <= whole.items()


def test_read_fields_mutated_file_does_not_raise_in_bounded_time(sample: bytes) -> None:
    rng = random.Random(8)
    started = time.perf_counter()
    for _ in range(400):
        data = bytearray(sample)
        for _ in range(rng.randrange(1, 8)):
            at = rng.randrange(min(len(data), 4000))
            match rng.randrange(4):
                case 0:
                    data[at] = rng.randrange(256)
                case 1:
                    data[at : at + 4] = rng.choice([b"\xff" * 4, b"\0" * 4, b"\x7f" + b"\xff" * 3])
                case 2:
                    del data[at : at + rng.randrange(1, 40)]
                case _:
                    data[at:at] = data[: rng.randrange(1, 60)]
        read_fields(io.BytesIO(bytes(data)))
    assert time.perf_counter() - started < 30


def test_read_fields_random_bytes_after_magic_number_do_not_raise() -> None:
    rng = random.Random(9)
    for name in ("png", "webp", "jpeg", "avif"):
        head = SAMPLES[name]()[:16]
        for size in range(0, 3000, 37):
            read_fields(io.BytesIO(head + rng.randbytes(size)))


@pytest.mark.parametrize("data", [b"", b"x", b"GIF89a" + bytes(20), b"\0" * 64, b"{}"])
def test_read_fields_unsupported_format_returns_none(data: bytes) -> None:
    assert read_fields(io.BytesIO(data)) is None


def png_of(*chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + media.chunk(b"IEND", b"")


def read_fields_within_limits(
    data: bytes, *, within_s: float = 5, within_bytes: int = 4 * MAX_TEXT_BYTES
) -> dict:
    tracemalloc.start()
    started = time.perf_counter()
    try:
        fields = read_fields(io.BytesIO(data))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - started < within_s
    assert peak < within_bytes
    return fields or {}


def test_read_fields_compressed_text_bomb_is_skipped() -> None:
    squeezer = zlib.compressobj(9)
    bomb = b"".join(squeezer.compress(bytes(2**20)) for _ in range(256)) + squeezer.flush()
    data = png_of(media.chunk(b"tEXt", b"prompt\0{}"), media.chunk(b"zTXt", b"workflow\0\0" + bomb))
    assert len(data) < 2**20
    assert read_fields_within_limits(data, within_s=20) == {"prompt": "{}"}


def test_read_fields_chunk_longer_than_file_is_not_allocated() -> None:
    data = png_of() + b"" + struct.pack(">I4s", 2**31 - 1, b"tEXt")
    read_fields_within_limits(data, within_bytes=2**20)
    read_fields_within_limits(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s", 2**31 - 1, b"tEXt"), within_bytes=2**20
    )


def test_read_fields_huge_image_size_is_not_decoded() -> None:
    header = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 16, 6, 0, 0, 0)
    data = png_of(media.chunk(b"IHDR", header), media.chunk(b"tEXt", b"prompt\0{}"))
    assert read_fields_within_limits(data, within_s=1, within_bytes=2**20) == {"prompt": "{}"}


@pytest.mark.slow
def test_read_fields_million_tiny_chunks_stop_early() -> None:
    read_fields_within_limits(png_of(*[media.chunk(b"abcd", b"")] * 300_000), within_s=20)
    read_fields_within_limits(
        b"fLaC" + struct.pack(">I", 0x84FFFFFF) + bytes(2**24 - 1), within_s=20
    )
    read_fields_within_limits(
        b"\0\0\0\x10ftypisom" + bytes(4) + struct.pack(">I4s", 8, b"free") * 500_000, within_s=20
    )


def test_read_fields_overlapping_exif_values_are_not_copied_repeatedly() -> None:
    text = bytes(60_000)
    entries = b"".join(struct.pack("<HHII", 0x010E, 2, len(text), 8) for _ in range(60_000))
    tiff = b"II*\0" + struct.pack("<I", 8 + len(text)) + text + struct.pack("<H", 60_000) + entries
    read_fields_within_limits(png_of(media.chunk(b"eXIf", tiff)), within_s=10)


def test_read_fields_cyclic_exif_directories_terminate() -> None:
    tiff = b"II*\0" + struct.pack("<IH", 8, 1) + struct.pack("<HHII", 0x8769, 4, 1, 8) + bytes(4)
    read_fields_within_limits(png_of(media.chunk(b"eXIf", tiff)), within_s=1)


def test_read_fields_mp3_without_tag_returns_no_fields() -> None:
    assert read_fields(io.BytesIO(b"\xff\xfb\x90\x00" + bytes(100))) == {}
