"""The command line's cache of a server's object_info."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_ui.cli.object_info_cache import keep, kept

RAW = {"Ä": {"input": {"a": [1, 2]}}, "B": {"output": ["IMAGE"]}, "C": None}


def test_object_info_cache_returns_the_stored_classes(tmp_path: Path) -> None:
    path = tmp_path / "new" / "list"
    keep(path, RAW)
    cached = kept(path)
    assert cached is not None
    assert dict(cached) == RAW
    assert list(cached) == list(RAW)
    assert "B" in cached
    assert "D" not in cached
    assert [entry.name for entry in path.parent.iterdir()] == ["list"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"{}\n", b'{"A": 1}\nx', b'{"A": [0, 9]}\n{}', b"[]"]
)
def test_object_info_cache_invalid_file_is_ignored(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "list"
    assert kept(path) is None
    path.write_bytes(content)
    assert kept(path) is None


def test_object_info_cache_unwritable_folder_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    keep(tmp_path / "file" / "list", RAW)
    assert kept(tmp_path / "file" / "list") is None
