"""Untrusted images: formats, pixels, scans."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from PIL import Image

from comfy_ui.errors import ValidationError
from comfy_ui.library.upload_decoding import decode_picture
from comfy_ui.pictures import open_picture
from comfy_ui.prompts.describe import scaled_down
from tests.web.support import picture_bytes


def many_scans(count: int, side: int = 64) -> bytes:
    """Return a progressive JPEG that repeats one of its scans, which is a few bytes long."""
    file = io.BytesIO()
    Image.new("L", (side, side), 128).save(file, "JPEG", progressive=True)
    first, *scans = file.getvalue().removesuffix(b"\xff\xd9").split(b"\xff\xda")
    scans = [b"\xff\xda" + scan for scan in scans]
    shortest = min(scans[1:], key=len)
    return b"".join([first, *scans, shortest * count, b"\xff\xd9"])


@pytest.mark.parametrize("read", [open_picture, decode_picture, scaled_down])
@pytest.mark.parametrize("kind", ["EPS", "GIF", "TIFF", "BMP"])
def test_user_image_of_another_format_is_refused(kind: str, read: object) -> None:
    with pytest.raises(ValidationError, match="image cannot be used"):
        read(picture_bytes(kind))  # type: ignore[operator]


def test_open_picture_too_many_pixels_are_refused_before_decoding() -> None:
    file = io.BytesIO()
    Image.new("1", (13_000, 13_000)).save(file, "PNG")
    with pytest.raises(ValidationError, match="13000 × 13000 pixels"):
        scaled_down(file.getvalue())


def test_scaled_down_more_pixels_than_the_page_sends_are_refused() -> None:
    with pytest.raises(ValidationError, match="2100 × 2100 pixels"):
        scaled_down(picture_bytes("PNG", side=2_100), 4 * 1024**2)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_scaled_down_every_mode_is_a_small_upright_jpeg(mode: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the image lies on its side
    file = io.BytesIO()
    kind = "JPEG" if mode == "CMYK" else "PNG"
    Image.new("L", (2_048, 1_024), 255).convert(mode).save(file, kind, exif=exif)
    with Image.open(io.BytesIO(scaled_down(file.getvalue()))) as small:
        assert (small.format, small.mode, small.size) == ("JPEG", "RGB", (512, 1_024))
        assert not small.getexif()


def test_scaled_down_transparent_parts_are_white() -> None:
    file = io.BytesIO()
    Image.new("RGBA", (2_000, 2_000), (255, 0, 0, 0)).save(file, "PNG")
    with Image.open(io.BytesIO(scaled_down(file.getvalue()))) as small:
        assert small.getpixel((500, 500)) == (255, 255, 255)


def test_open_picture_too_many_scans_are_refused() -> None:
    with pytest.raises(ValidationError, match="more than 100 scans"):
        open_picture(many_scans(8_000))
    with open_picture(many_scans(20)) as picture:
        picture.load()
        assert picture.size == (64, 64)


def test_load_formats_first_result_imports_no_other_format() -> None:
    code = (
        "import io, sys\n"
        "from comfy_ui.pictures import load_formats, open_result\n"
        "load_formats()\n"
        "from PIL import Image\n"
        "def init():\n"
        "    raise AssertionError('Pillow imports all formats')\n"
        "Image.init = init\n"
        "file = io.BytesIO()\n"
        "Image.new('RGB', (8, 8)).save(file, 'WEBP')\n"
        "file.seek(0)\n"
        "print(open_result(file).size)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout == "(8, 8)\n"
