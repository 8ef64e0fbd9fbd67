"""A server's node list as the terminal keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_ui.cli.object_info_cache import keep, kept

RAW = {"Ä": {"input": {"a": [1, 2]}}, "B": {"output": ["IMAGE"]}, "C": None}


def test_what_is_kept_comes_back_class_by_class(tmp_path: Path) -> None:
    path = tmp_path / "new" / "list"
    keep(path, RAW)
    found = kept(path)
    assert found is not None
    assert dict(found) == RAW
    assert list(found) == list(RAW)
    assert "B" in found
    assert "D" not in found
    assert [entry.name for entry in path.parent.iterdir()] == ["list"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"{}\n", b'{"A": 1}\nx', b'{"A": [0, 9]}\n{}', b"[]"]
)
def test_a_broken_file_counts_as_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "list"
    assert kept(path) is None
    path.write_bytes(content)
    assert kept(path) is None


def test_a_disk_that_refuses_is_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    keep(tmp_path / "file" / "list", RAW)
    assert kept(tmp_path / "file" / "list") is None
