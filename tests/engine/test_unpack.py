"""Unpacking archives that are damaged or hostile."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from comfy_ui.engine.installing.unpack import copy_folder, unpack
from comfy_ui.errors import EngineError


def zip_of(path: Path, names: list[str]) -> Path:
    with zipfile.ZipFile(path, "w") as zipped:
        for name in names:
            zipped.writestr(name, b"content")
    return path


def test_unpack_single_top_folder_is_left_out(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", ["ComfyUI-1/main.py", "ComfyUI-1/a/b.py", "other.txt"])
    sizes: list[int] = []
    unpack(archive, tmp_path / "out", sizes.append)
    files = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*"))
    assert files == ["a/b.py", "main.py"]
    assert sizes == [7, 7]


@pytest.mark.parametrize(
    "names",
    [
        ["main.py", "../outside.py"],
        ["main.py", "/absolute.py"],
        ["top/main.py", "top/../../outside.py"],
        ["main.py", "C:/windows.py"],
        ["main.py", "..\\outside.py"],
    ],
)
def test_unpack_path_that_leaves_the_folder_is_refused(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(EngineError, match="outside of its folder"):
        unpack(zip_of(tmp_path / "a.zip", names), tmp_path / "out", lambda _: None)
    assert not (tmp_path / "outside.py").exists()


def test_unpack_link_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as packed:
        entry = tarfile.TarInfo("main.py")
        entry.size = 1
        packed.addfile(entry, io.BytesIO(b"x"))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packed.addfile(link)
    unpack(path, tmp_path / "out", lambda _: None)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["main.py"]


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut short"])
def test_unpack_damaged_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    with pytest.raises(EngineError):
        unpack(path, tmp_path / "out", lambda _: None)


def test_unpack_archive_without_main_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no ComfyUI"):
        unpack(zip_of(tmp_path / "a.zip", ["a/b/main.py"]), tmp_path / "out", lambda _: None)


def test_copy_folder_without_main_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no ComfyUI"):
        copy_folder(tmp_path, tmp_path / "out", lambda _: None)
