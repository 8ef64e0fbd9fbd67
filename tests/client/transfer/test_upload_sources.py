"""Uploads prepared from any source: one file part with a name and a hash."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from comfy_ui.client.transfer.upload_sources import PreparedUpload, is_file, prepare_upload
from comfy_ui.errors import ValidationError

PNG = b"\x89PNG\r\n\x1a\nrest"


def test_prepare_upload_path_keeps_name_and_streams_file(tmp_path: Path) -> None:
    path = tmp_path / "Kätzchen.png"
    path.write_bytes(PNG)
    prepared = prepare_upload(path)
    assert prepared.part.filename == "Kätzchen.png"
    assert prepared.part.source == path
    assert prepared.part.content_type == "image/png"
    assert prepared.digest == prepare_upload(PNG).digest


@pytest.mark.parametrize(
    ("content", "suffix"),
    [
        (PNG, ".png"),
        (b"\xff\xd8\xff\xe0", ".jpg"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", ".webp"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", ".wav"),
        (b"\x00\x00\x00 ftypisom", ".mp4"),
        (b"fLaC\x00", ".flac"),
        (b"who knows", ".bin"),
    ],
)
def test_prepare_upload_bytes_are_named_by_digest_and_type(content: bytes, suffix: str) -> None:
    prepared = prepare_upload(content)
    assert prepared.part.filename == f"comfy-ui-{prepared.digest[:16]}{suffix}"


def test_prepare_upload_open_file_keeps_base_name(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF")
    with path.open("rb") as file:
        assert prepare_upload(file).part.filename == "a.wav"
    assert prepare_upload(io.BytesIO(PNG), filename="../b.png").part.filename == "b.png"


def test_prepare_upload_empty_missing_or_text_source_raises_validation_error(
    tmp_path: Path,
) -> None:
    empty = tmp_path / "empty.png"
    empty.write_bytes(b"")
    for source in (tmp_path / "absent.png", tmp_path, empty, b"", io.BytesIO()):
        with pytest.raises(ValidationError):
            prepare_upload(source)
    (tmp_path / "a.png").write_bytes(PNG)
    with (tmp_path / "a.png").open() as text, pytest.raises(ValidationError, match="binary"):
        prepare_upload(text)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_prepare_upload_mutable_bytes_are_taken_as_they_are_now(kind: Any) -> None:
    content = kind(bytearray(PNG))
    assert is_file(content)
    prepared = prepare_upload(content)
    content[0] = 0
    assert prepared.part.source == PNG


def _pixels_of(prepared: PreparedUpload) -> np.ndarray:
    assert isinstance(prepared.part.source, bytes)
    return np.asarray(Image.open(io.BytesIO(prepared.part.source), formats=["PNG"]))


@pytest.mark.parametrize(
    "source",
    [
        Image.new("RGB", (4, 3), (255, 0, 128)),
        np.full((3, 4, 3), (255, 0, 128), np.uint8),
        np.full((1, 3, 4, 3), (1.2, -0.5, 128 / 255)),
    ],
    ids=["pillow", "uint8", "batch of floats"],
)
def test_prepare_upload_image_in_memory_becomes_a_png(source: Any) -> None:
    prepared = prepare_upload(source)
    assert prepared.part.filename.endswith(".png")
    assert _pixels_of(prepared).shape == (3, 4, 3)
    assert (_pixels_of(prepared) == (255, 0, 128)).all()


def test_prepare_upload_gray_array_and_mask_keep_their_pixels() -> None:
    mask = np.array([[True, False], [False, True]])
    assert (_pixels_of(prepare_upload(mask)) == mask * 255).all()
    assert (_pixels_of(prepare_upload(mask[:, :, None] * 0.5)) == mask * 128).all()


@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (3, 8, 8), (8, 8, 2)])
def test_prepare_upload_array_that_is_no_image_raises(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match="is no image"):
        prepare_upload(np.zeros(shape))


def test_is_file_number_of_numpy_is_none() -> None:
    assert not is_file(np.int64(8))
    assert not is_file(np.float32(8))
    assert not is_file("a.png")
    assert is_file(np.zeros((2, 2)))
