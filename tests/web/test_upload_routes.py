from __future__ import annotations

import asyncio
import io
import struct
import wave
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from comfy_ui.client import ComfyWSClient
from comfy_ui.errors import ValidationError
from comfy_ui.library.uploads import UploadStore
from comfy_ui.storage.file_stores.file_store import FolderFileStore
from comfy_ui.web.auth.access import Access, AccessMode
from comfy_ui.web.http.upload_routes import UploadRoutes
from tests.web.support import picture_bytes, preset


def make(folder: Path | None = None) -> UploadRoutes:
    inputs: Any = (
        UploadStore(FolderFileStore(folder)) if folder else SimpleNamespace(put=lambda *_: None)
    )

    async def keep_upload(name: str, content: bytes, _: str) -> None:
        inputs.put(name, content)

    services: Any = SimpleNamespace(
        library=SimpleNamespace(uploads=inputs, keep_upload=keep_upload)
    )
    return UploadRoutes(services, Access(AccessMode.SHARED, b"secret"))


def accept(
    uploads: UploadRoutes, content: bytes, *, role: str = "image", user_id: str = "anna"
) -> str:
    return asyncio.run(uploads.accept(content, role, user_id))


def decompression_bomb() -> bytes:
    """A PNG whose header declares 30,000 × 30,000 pixels."""
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"x") + chunk(b"IEND", b"")
    )


def wav_bytes() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(8000)
        writer.writeframes(b"\0\0" * 800)
    return file.getvalue()


@pytest.mark.parametrize(("kind", "suffix"), [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp")])
def test_accept_names_images_by_their_format(kind: str, suffix: str) -> None:
    assert accept(make(), picture_bytes(kind)).endswith(f".{suffix}")


@pytest.mark.parametrize("content", [b"", b"hello", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"<svg/>"])
def test_accept_undecodable_image_is_refused(content: bytes) -> None:
    with pytest.raises(ValidationError, match="image cannot be used"):
        accept(make(), content)


def test_accept_bmp_image_is_refused() -> None:
    with pytest.raises(ValidationError, match="image cannot be used"):
        accept(make(), picture_bytes("BMP"))


def test_accept_truncated_image_is_refused() -> None:
    with pytest.raises(ValidationError, match="image cannot be used"):
        accept(make(), picture_bytes("PNG", side=200)[:-60])


def test_accept_image_with_too_many_pixels_is_refused() -> None:
    with pytest.raises(ValidationError):
        accept(make(), decompression_bomb())


def test_accept_audio_for_an_audio_param() -> None:
    assert accept(make(), wav_bytes(), role="audio").endswith(".wav")
    with pytest.raises(ValidationError, match="recording cannot be used"):
        accept(make(), b"hello", role="video")


def test_check_upload_of_another_user_is_refused() -> None:
    uploads = make()
    name = accept(uploads, picture_bytes("PNG"))
    uploads.check(preset(), {"image": name}, "anna")
    with pytest.raises(ValidationError, match="not an upload of yours"):
        uploads.check(preset(), {"image": name}, "bob")


@pytest.mark.parametrize(
    "name",
    [
        "example.png",
        "/etc/passwd",
        "../output/other.png",
        "ui-" + "0" * 24 + "-" + "0" * 24 + ".png",
        "x/ui-" + "0" * 24 + "-" + "0" * 24 + ".png",
        "a.png [output]",
    ],
)
def test_check_unsigned_file_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="not an upload of yours"):
        make().check(preset(), {"image": name}, "anna")


def test_check_changed_signed_name_is_refused() -> None:
    uploads = make()
    name = accept(uploads, picture_bytes("PNG"))
    for changed in (name + " [output]", "sub/" + name, name.replace("ui-", "ui-0"), name.upper()):
        with pytest.raises(ValidationError):
            uploads.check(preset(), {"image": changed}, "anna")


def test_check_values_without_files_pass() -> None:
    make().check(preset(), {"steps": 3, "image": ""}, "anna")


def test_check_mask_of_another_size_is_refused_with_both_sizes() -> None:
    uploads = make()
    masked = preset(
        mask={
            "role": "mask",
            "targets": [{"node": "5", "input": "image"}],
            "default": None,
            "optional": True,
        },
        params=("image", "mask"),
    )
    picture = accept(uploads, picture_bytes("PNG"))
    small = accept(uploads, picture_bytes("PNG", side=2), role="mask")
    same = accept(uploads, picture_bytes("PNG"), role="mask")
    assert uploads.check(masked, {"image": picture, "mask": same}, "anna") == {picture, same}
    with pytest.raises(ValidationError, match="2 × 2 pixels and the image 4 × 4"):
        uploads.check(masked, {"image": picture, "mask": small}, "anna")


def test_check_default_file_of_the_preset_is_allowed() -> None:
    named = preset(image={"default": "example.png"})
    assert make().check(named, {"image": "example.png"}, "anna") == {"example.png"}


async def test_paint_mask_becomes_the_alpha_channel(tmp_path: Path) -> None:
    uploads = make(tmp_path)
    name = await uploads.accept(picture_bytes("JPEG"), "image", "anna")
    mask = Image.new("L", (4, 4), 0)
    mask.putpixel((1, 2), 255)
    painted = io.BytesIO()
    mask.save(painted, "PNG")
    masked = await uploads.paint(name, "anna", mask=painted.getvalue())
    with Image.open(io.BytesIO(await uploads.read(masked, "anna"))) as picture:
        assert picture.getchannel("A").getpixel((1, 2)) == 0
        assert picture.getchannel("A").getpixel((0, 0)) == 255
        assert picture.getpixel((1, 2))[2] > 90  # teal is still there
    with pytest.raises(ValidationError, match="2 × 2 pixels and the image 4 × 4"):
        await uploads.paint(name, "anna", mask=picture_bytes("PNG", side=2))
    with pytest.raises(ValidationError, match="not an upload of yours"):
        await uploads.paint(name, "eve", mask=painted.getvalue())


async def test_layer_returns_the_opaque_picture_and_the_painted_mask(tmp_path: Path) -> None:
    uploads = make(tmp_path)
    name = await uploads.accept(picture_bytes("JPEG"), "image", "anna")
    mask = Image.new("L", (4, 4), 0)
    mask.putpixel((1, 2), 255)
    painted = io.BytesIO()
    mask.save(painted, "PNG")
    masked = await uploads.paint(name, "anna", mask=painted.getvalue())
    with Image.open(io.BytesIO(await uploads.layer(masked, "picture", "anna"))) as picture:
        assert picture.mode == "RGB"
        assert picture.getpixel((1, 2))[2] > 90
    with Image.open(io.BytesIO(await uploads.layer(masked, "mask", "anna"))) as layer:
        assert layer.getpixel((1, 2)) == (255, 255)
        assert layer.getpixel((0, 0)) == (255, 0)
    with Image.open(io.BytesIO(await uploads.layer(name, "mask", "anna"))) as layer:
        assert layer.getchannel("A").getextrema() == (0, 0)
    with pytest.raises(ValidationError, match="not an upload of yours"):
        await uploads.layer(masked, "mask", "eve")


async def test_item_of_an_upload_survives_painting_and_cannot_be_changed(tmp_path: Path) -> None:
    uploads = make(tmp_path)
    plain = await uploads.accept(picture_bytes("PNG"), "image", "anna")
    name = await uploads.accept(picture_bytes("PNG"), "image", "anna", item=1764381000000000)
    assert uploads.item(plain) is None
    assert uploads.item("photo.png") is None
    assert uploads.item(name) == 1764381000000000
    masked = await uploads.paint(name, "anna", mask=picture_bytes("PNG"))
    assert uploads.item(masked) == 1764381000000000
    with pytest.raises(ValidationError, match="not an upload of yours"):
        await uploads.read(name.replace("of17", "of18"), "anna")


async def test_read_upload_missing_locally_is_read_from_comfyui(
    engine: Any, tmp_path: Path
) -> None:
    uploads = make(tmp_path)
    name = await uploads.accept(picture_bytes("PNG"), "image", "anna")
    async with ComfyWSClient(url=engine.url) as client:
        await client.upload_image(picture_bytes("PNG"), filename=name)
        (tmp_path / "inputs" / name).unlink()
        uploads._services.client = client
        assert await uploads.read(name, "anna") == picture_bytes("PNG")


async def test_paint_puts_the_sketch_below_a_soft_mask_and_keeps_the_strokes(
    tmp_path: Path,
) -> None:
    uploads = make(tmp_path)
    name = await uploads.accept(picture_bytes("PNG", side=64), "image", "anna")
    mask, sketch = Image.new("L", (64, 64), 0), Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    mask.paste(255, (32, 0, 64, 64))
    sketch.paste((255, 0, 0, 255), (0, 0, 16, 64))
    layers = {"mask": png(mask), "sketch": png(sketch), "feather": 4, "strokes": '{"ops": []}'}
    painted = await uploads.paint(name, "anna", **layers)
    with Image.open(io.BytesIO(await uploads.read(painted, "anna"))) as picture:
        assert picture.getpixel((2, 2))[:3] == (255, 0, 0)
        alpha = picture.getchannel("A")
        assert [alpha.getpixel((x, 9)) for x in (5, 60)] == [255, 0]
        assert 40 < alpha.getpixel((32, 9)) < 200
    assert await uploads.strokes(painted, "anna") == '{"ops": []}'
    assert await uploads.strokes(name, "anna") == ""
    with pytest.raises(ValidationError, match="not an upload of yours"):
        await uploads.strokes(painted, "eve")
    separate = await uploads.accept_mask(png(mask), 4, "anna")
    with Image.open(io.BytesIO(await uploads.read(separate, "anna"))) as picture:
        assert (picture.mode, picture.getpixel((60, 9))) == ("L", 255)


def png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()
