"""Results arrive whole, under safe names, and overwrite nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from comfy_ui.client.files import DownloadTarget, safe_name
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
    ],
)
def test_a_servers_name_becomes_a_plain_file_name(given_name: str, safe: str) -> None:
    assert safe_name(given_name) == safe


@given(st.text())
def test_no_name_leaves_its_folder_or_is_too_long(name: str) -> None:
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


def test_a_taken_name_gets_a_number_and_the_same_bytes_are_kept_once(tmp_path: Path) -> None:
    first = arrived(b"one", tmp_path).move_into(tmp_path, "a.png")
    second = arrived(b"two", tmp_path).move_into(tmp_path, "a.png")
    again = arrived(b"one", tmp_path)
    third = again.move_into(tmp_path, "a.png")
    again.discard()
    assert [path.name for path in (first, second, third)] == ["a.png", "a (1).png", "a.png"]
    assert (first.read_bytes(), second.read_bytes()) == (b"one", b"two")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a (1).png", "a.png"]


def test_an_exact_path_is_replaced_at_once(tmp_path: Path) -> None:
    path = tmp_path / "keep.png"
    path.write_bytes(b"old")
    download = arrived(b"new", tmp_path)
    assert path.read_bytes() == b"old"
    download.move_to(path)
    assert path.read_bytes() == b"new"


def test_an_empty_file_is_a_file(tmp_path: Path) -> None:
    download = DownloadTarget(folder=tmp_path)
    download.begin(answer(headers={"content-length": "0"}))
    download.check()
    assert download.move_into(tmp_path, "empty.txt").read_bytes() == b""


def test_a_dropped_download_leaves_nothing_behind(tmp_path: Path) -> None:
    arrived(b"half", tmp_path).discard()
    assert list(tmp_path.iterdir()) == []


def test_f20_a_short_body_is_not_taken_for_the_file() -> None:
    download = DownloadTarget()
    download.begin(answer(headers={"content-length": "10"}))
    download.write(b"four")
    with pytest.raises(ComfyUIConnectionError, match="4 of 10"):
        download.check()


def test_a_cut_download_goes_on_where_it_stopped_if_the_file_is_the_same() -> None:
    download = DownloadTarget()
    download.begin(answer(headers={"content-length": "6", "etag": '"v1"'}))
    download.write(b"abc")
    assert download.resume_headers == {"range": "bytes=3-", "if-range": '"v1"'}
    assert download.begin(answer(status=206, headers={"content-range": "bytes 3-5/6"}))
    download.write(b"def")
    download.check()
    assert download.content() == b"abcdef"


def test_a_file_that_changed_meanwhile_is_fetched_from_its_beginning() -> None:
    download = DownloadTarget()
    download.begin(answer(headers={"content-length": "6", "etag": '"v1"'}))
    download.write(b"abc")
    assert download.begin(answer(headers={"content-length": "2", "etag": '"v2"'}))
    download.write(b"xy")
    download.check()
    assert download.content() == b"xy"


def test_without_a_strong_etag_nothing_is_resumed() -> None:
    download = DownloadTarget()
    download.begin(answer(headers={"content-length": "6", "etag": 'W/"v1"'}))
    download.write(b"abc")
    assert download.resume_headers == {}


def test_a_range_that_begins_elsewhere_is_refused() -> None:
    download = DownloadTarget()
    download.begin(answer(headers={"content-length": "6", "etag": '"v1"'}))
    download.write(b"abc")
    assert not download.begin(answer(status=206, headers={"content-range": "bytes 1-5/6"}))


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    download = DownloadTarget(folder=blocked)
    download.begin(answer())
    with pytest.raises(StorageError):
        download.write(b"x")
    download.discard()
