"""Result files: originals with unchanged bytes, thumbnails, posters and ZIP archives."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import time
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from comfy_ui.client.transfer.files import DownloadTarget
from comfy_ui.client.transport.request import ApiResponse
from comfy_ui.library import result_files
from comfy_ui.library.result_decoding import THUMBNAIL_SIDE
from comfy_ui.library.result_files import ResultFiles, zip_chunks
from comfy_ui.protocol.outputs import Kind, OutputFile
from comfy_ui.storage.file_stores.file_store import FolderFileStore
from comfy_ui.storage.records import StoredFile
from comfy_ui.worker_processes.process_pool import Limits
from tests.test_pictures import many_scans


@pytest.fixture
def files(tmp_path: Path) -> ResultFiles:
    store = FolderFileStore(tmp_path)
    store.prepare()
    return ResultFiles(store)


def _adopt(files: ResultFiles, content: bytes, filename: str, kind: Kind) -> StoredFile:
    arrived = files.incoming()
    arrived.write_bytes(content)
    return files.adopt(arrived, OutputFile(filename, node="9", kind=kind))


def _png(size: tuple[int, int] = (1200, 800), mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.new(mode, size).save(out, "PNG")
    return out.getvalue()


def test_adopt_stores_original_bytes_under_content_name(files: ResultFiles, tmp_path: Path) -> None:
    content = _png() + b"trailing bytes that a decoder would drop"
    stored = _adopt(files, content, "ComfyUI_00001_.png", "image")
    assert (tmp_path / stored.path).read_bytes() == content
    assert stored.filename == "ComfyUI_00001_.png"
    assert stored.media_type == "image/png"
    assert (stored.width, stored.height, stored.size_bytes) == (1200, 800, len(content))
    assert not list((tmp_path / "incoming").iterdir())


def _download(files: ResultFiles, content: bytes) -> DownloadTarget:
    target = files.download_target(2**20)
    target.begin(ApiResponse(200, {"content-length": str(len(content))}, b"", "GET /view"))
    target.write(content)
    return target


def test_place_stores_a_download_that_no_file_held_before(
    files: ResultFiles, tmp_path: Path
) -> None:
    content = _png()
    download = _download(files, content)
    assert not list((tmp_path / "incoming").iterdir())
    path = files.place(download.finish(), OutputFile("a.png", kind="image"))
    assert path.read_bytes() == content
    assert not list((tmp_path / "incoming").iterdir())


def test_place_full_disk_leaves_no_file(
    files: ResultFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="space"):
        files.place(_download(files, b"content").finish(), OutputFile("a.png", kind="image"))
    assert not list((tmp_path / "incoming").iterdir())


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "I;16", "1"])
def test_adopt_image_of_any_mode_gets_small_thumbnail(
    files: ResultFiles, tmp_path: Path, mode: str
) -> None:
    stored = _adopt(files, _png(mode=mode), "a.png", "image")
    assert stored.thumbnail
    with Image.open(tmp_path / stored.thumbnail) as small:
        assert small.format == "WEBP"
        assert max(small.size) == THUMBNAIL_SIDE


def test_adopt_video_gets_first_frame_as_poster(files: ResultFiles, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width, stream.height = 64, 48
        for _ in range(4):
            frame = av.VideoFrame.from_image(Image.new("RGB", (64, 48), "red"))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    stored = _adopt(files, out.getvalue(), "clip.mp4", "video")
    assert (stored.width, stored.height) == (64, 48)
    assert stored.thumbnail
    with Image.open(tmp_path / stored.thumbnail) as poster:
        red, green, blue = poster.convert("RGB").getpixel((30, 20))
        assert red > 150 > max(green, blue)


@pytest.mark.parametrize(
    ("content", "name", "kind"),
    [
        (b"no picture at all", "a.png", "image"),
        (_png()[:200], "cut.png", "image"),
        (b"", "empty.png", "image"),
        (b"no video", "a.mp4", "video"),
        (b"RIFF", "a.wav", "audio"),
        (b"glTF", "a.glb", "3d"),
    ],
)
def test_adopt_undecodable_file_is_kept_without_thumbnail(
    files: ResultFiles, tmp_path: Path, content: bytes, name: str, kind: Kind
) -> None:
    stored = _adopt(files, content, name, kind)
    assert (tmp_path / stored.path).read_bytes() == content
    assert stored.thumbnail is None


def test_adopt_file_that_decodes_for_minutes_is_kept_without_thumbnail(
    files: ResultFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_files, "_DECODING", Limits(wall_s=0.3))
    content, began = many_scans(20_000, 1_000), time.monotonic()
    stored = _adopt(files, content, "slow.jpg", "image")
    assert time.monotonic() - began < 10
    assert stored.thumbnail is None
    assert (files.folder / stored.path).read_bytes() == content


def test_adopt_hostile_filename_stays_in_folder(files: ResultFiles, tmp_path: Path) -> None:
    for name in ("../../etc/passwd", "/abs/olute.png", "..\\win.png", "a.p/n;g", "", ".."):
        stored = _adopt(files, name.encode(), name, "file")
        assert (tmp_path / stored.path).resolve().is_relative_to(tmp_path / "files")
        assert "/" not in stored.filename
        assert stored.filename


def test_adopt_equal_bytes_are_stored_once(files: ResultFiles, tmp_path: Path) -> None:
    one, two = (_adopt(files, _png(), f"{n}.png", "image") for n in "ab")
    assert one.path == two.path
    assert len([p for p in (tmp_path / "files").rglob("*") if p.is_file()]) == 1


def test_remove_keeps_young_file_and_deletes_old_one_with_thumbnail(
    files: ResultFiles, tmp_path: Path
) -> None:
    stored = _adopt(files, _png(), "a.png", "image")
    files.remove([stored.path])
    assert (tmp_path / stored.path).exists()
    os.utime(tmp_path / stored.path, (0, 0))
    files.remove([stored.path, "files/aa/gone.png"])
    assert not (tmp_path / stored.path).exists()
    assert not (tmp_path / str(stored.thumbnail)).exists()


def test_zip_chunks_streams_original_bytes_under_distinct_names(
    tmp_path: Path,
) -> None:
    contents = {"a.png": os.urandom(3 << 20), "b.png": os.urandom(10), "c": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    entries = [("x.png", tmp_path / name, {"prompt": name}) for name in contents]
    pieces = list(zip_chunks([*entries, ("gone.png", tmp_path / "gone.png", {})]))
    assert max(map(len, pieces)) < 2 << 20
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
        assert archive.testzip() is None
        *names, metadata = archive.namelist()
        assert names == ["x.png", "x (2).png", "x (3).png"]
        assert [archive.read(name) for name in names] == [*contents.values()]
        assert metadata == "comfy-ui.json"
        assert json.loads(archive.read(metadata)) == [
            {"file": name, "sha256": hashlib.sha256(contents[own]).hexdigest(), "prompt": own}
            for name, own in zip(names, contents, strict=True)
        ]
