"""Downloads: complete, under safe names, and without overwriting other files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from comfy_ui.client.transfer.files import DownloadTarget, safe_name
from comfy_ui.errors import ComfyUIConnectionError, StorageError
from tests.client.support import answer


@pytest.mark.parametrize(
    ("given_name", "safe"),
    [
        ("a.png", "a.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\evil.exe", "evil.exe"),
        ("/abs/x.png", "x.png"),
        ("..", "file"),
        ("", "file"),
        (".hidden", "hidden"),
        ("con.png", "file_con.png"),
        ("a\x00b?.png", "a_b_.png"),
        ("Fütter 猫.png", "Fütter 猫.png"),
        ("trailing. ", "trailing"),
        ("photo\u202egnp.exe", "photognp.exe"),
        ("a\u2066\u2069\u200e\u200f\u061c\u200b\ufeff\u00ad\U000e0061\u0085b.png", "ab.png"),
        ("\u202e.hidden", "hidden"),
        ("\u202econ.png", "file_con.png"),
        ("👩\u200d🎨 نمی\u200cدانم.png", "👩\u200d🎨 نمی\u200cدانم.png"),
    ],
)
def test_safe_name_returns_plain_file_name(given_name: str, safe: str) -> None:
    assert safe_name(given_name) == safe


@given(st.text())
def test_safe_name_any_text_stays_in_folder_and_within_length(name: str) -> None:
    safe = safe_name(name)
    assert safe
    assert safe not in (".", "..")
    assert Path(safe).name == safe
    assert len(safe.encode()) <= 200


def arrived(content: bytes, folder: Path | None) -> DownloadTarget:
    download = DownloadTarget(folder=folder)
    assert download.begin(answer(headers={"content-length": str(len(content))}))
    download.write(content)
    return download


def test_move_into_existing_name_gets_number_and_same_bytes_are_kept_once(tmp_path: Path) -> None:
    first = arrived(b"one", tmp_path).move_into(tmp_path, "a.png")
    second = arrived(b"two", tmp_path).move_into(tmp_path, "a.png")
    again = arrived(b"one", tmp_path)
    third = again.move_into(tmp_path, "a.png")
    again.discard()
    assert [path.name for path in (first, second, third)] == ["a.png", "a (1).png", "a.png"]
    assert (first.read_bytes(), second.read_bytes()) == (b"one", b"two")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a (1).png", "a.png"]


def test_move_to_replaces_file_at_exact_path(tmp_path: Path) -> None:
    path = tmp_path / "keep.png"
    path.write_bytes(b"old")
    download = arrived(b"new", tmp_path)
    assert path.read_bytes() == b"old"
    download.move_to(path)
    assert path.read_bytes() == b"new"


def test_download_target_empty_body_creates_empty_file(tmp_path: Path) -> None:
    download = DownloadTarget(folder=tmp_path)
    download.begin(answer(headers={"content-length": "0"}))
    download.check()
    assert download.move_into(tmp_path, "empty.txt").read_bytes() == b""


def test_download_target_discard_leaves_no_file(tmp_path: Path) -> None:
    arrived(b"half", tmp_path).discard()
    assert list(tmp_path.iterdir()) == []


def test_f20_download_target_short_body_raises_connection_error() -> None:
    download = DownloadTarget()
    download.begin(answer(headers={"content-length": "10"}))
    download.write(b"four")
    with pytest.raises(ComfyUIConnectionError, match="4 of 10"):
        download.check()


def test_download_target_same_etag_resumes_with_range() -> None:
    download = DownloadTarget()
    download.begin(answer(headers={"content-length": "6", "etag": '"v1"'}))
    download.write(b"abc")
    assert download.resume_headers == {"range": "bytes=3-", "if-range": '"v1"'}
    assert download.begin(answer(status=206, headers={"content-range": "bytes 3-5/6"}))
    download.write(b"def")
    download.check()
    assert download.content() == b"abcdef"


def test_download_target_changed_etag_restarts() -> None:
    download = DownloadTarget()
    download.begin(answer(headers={"content-length": "6", "etag": '"v1"'}))
    download.write(b"abc")
    assert download.begin(answer(headers={"content-length": "2", "etag": '"v2"'}))
    download.write(b"xy")
    download.check()
    assert download.content() == b"xy"


def test_download_target_weak_etag_does_not_resume() -> None:
    download = DownloadTarget()
    download.begin(answer(headers={"content-length": "6", "etag": 'W/"v1"'}))
    download.write(b"abc")
    assert download.resume_headers == {}


def test_download_target_range_at_wrong_offset_is_refused() -> None:
    download = DownloadTarget()
    download.begin(answer(headers={"content-length": "6", "etag": '"v1"'}))
    download.write(b"abc")
    assert not download.begin(answer(status=206, headers={"content-range": "bytes 1-5/6"}))


def test_download_target_unwritable_folder_raises_storage_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    download = DownloadTarget(folder=blocked)
    download.begin(answer())
    with pytest.raises(StorageError):
        download.write(b"x")
    download.discard()
