"""The tree id of Git, against ids that Git itself has computed."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from comfy_ui.engine.installing.git_tree import BlobHash, GitTree
from comfy_ui.engine.installing.unpack import unpack

FILES = {
    "main.py": b"print(1)\n",
    "a/one.txt": b"x",
    "a.b/empty": b"",
    "a.txt": b"y",
    "c/d/run.sh": b"#!/bin/sh\n",
}
TREE = "14cf5a1ec705f3ec24a3dcf663a66420280c6b41"  # git add --all && git write-tree
EXECUTABLE = "c/d/run.sh"


def test_blob_hash_in_pieces_equals_the_id_of_git() -> None:
    blob = BlobHash(9)
    blob.update(b"print")
    blob.update(b"(1)\n")
    assert blob.digest().hex() == "b917a726c93f902e43291d9009d6488385133b67"


def test_git_tree_does_not_depend_on_the_order_of_files() -> None:
    for names in (list(FILES), sorted(FILES, reverse=True)):
        tree = GitTree()
        for name in names:
            blob = BlobHash(len(FILES[name]))
            blob.update(FILES[name])
            tree.add(PurePosixPath(name), blob.digest(), executable=name == EXECUTABLE)
        assert tree.id == TREE


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("top", ["", "ComfyUI-1/"])
def test_unpack_returns_the_tree_id_of_any_packing(tmp_path: Path, kind: str, top: str) -> None:
    archive = tmp_path / f"a.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
            for name, content in reversed(FILES.items()):
                entry = zipfile.ZipInfo(f"{top}{name}")
                entry.external_attr = 0o100755 << 16 if name == EXECUTABLE else 0
                zipped.writestr(entry, content)
    else:
        folder = tmp_path / "files"
        for name, content in FILES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        with tarfile.open(archive, "w") as packed:
            for name in FILES:
                entry = packed.gettarinfo(folder / name, f"{top}{name}")
                entry.mode = 0o775 if name == EXECUTABLE else 0o664
                with (folder / name).open("rb") as file:
                    packed.addfile(entry, file)
    assert unpack(archive, tmp_path / "out", lambda _: None) == TREE


def test_unpack_of_changed_content_has_another_tree_id(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for name, content in {**FILES, "a.txt": b"z"}.items():
            zipped.writestr(name, content)
    assert unpack(archive, tmp_path / "out", lambda _: None) != TREE
