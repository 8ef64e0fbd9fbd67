"""The contract of file stores, over a folder and over S3."""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from comfy_ui.storage.file_stores.file_store import ABANDONED_S, FileStore, FolderFileStore
from comfy_ui.storage.file_stores.s3_file_store import S3FileStore
from tests.storage.s3_server import BUCKET, S3Server, s3_server

OpenStore = Callable[[], FileStore]
"""Opens the same store again, as another process does."""

CONTENT = b"content"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
KEY = f"files/{DIGEST[:2]}/{DIGEST}.png"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(params=["folder", "s3"])
def open_store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> OpenStore:
    number = itertools.count()

    def opened() -> FileStore:
        store: FileStore = FolderFileStore(tmp_path / "files", shared=True)
        if request.param == "s3":
            url = f"s3://{BUCKET}/{tmp_path.name}"
            store = S3FileStore(url, tmp_path / f"copies{next(number)}", cache_bytes=10**9)
        store.prepare()
        return store

    if request.param == "s3":
        for name, value in request.getfixturevalue("s3").environment.items():
            monkeypatch.setenv(name, value)
    return opened


def write(store: FileStore, key: str, content: bytes, *, refresh: bool = True) -> None:
    path = store.folder / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    store.save(key, refresh=refresh)


def test_save_makes_file_readable_for_other_processes(open_store: OpenStore) -> None:
    one, other = open_store(), open_store()
    assert not other.exists(KEY)
    write(one, KEY, CONTENT)
    assert other.exists(KEY)
    assert other.local(KEY).read_bytes() == CONTENT
    assert other.local(KEY) == other.folder / KEY


def test_save_same_content_from_two_processes_keeps_it(open_store: OpenStore) -> None:
    for store in (open_store(), open_store()):
        write(store, KEY, CONTENT)
    assert open_store().local(KEY).read_bytes() == CONTENT
    assert [*open_store().list("files/")] == [KEY]


def test_save_empty_file_is_kept(open_store: OpenStore) -> None:
    write(open_store(), "inputs/empty.png", b"")
    assert open_store().local("inputs/empty.png").read_bytes() == b""


def test_local_of_unknown_file_is_a_path_without_a_file(open_store: OpenStore) -> None:
    store = open_store()
    assert not store.local(KEY).exists()
    assert not store.exists(KEY)
    with pytest.raises(FileNotFoundError):
        store.modified_at(KEY)


def test_delete_removes_file_for_all_and_accepts_a_missing_one(open_store: OpenStore) -> None:
    store = open_store()
    write(store, KEY, CONTENT)
    store.delete(KEY)
    store.delete(KEY)
    assert not store.local(KEY).exists()
    assert not open_store().exists(KEY)


def test_list_returns_keys_of_prefix_with_times(open_store: OpenStore) -> None:
    store = open_store()
    keys = {"thumbs/ab/abc.webp", "thumbs/ab/abc.strip.webp", "thumbs/ab/abd.webp", KEY}
    for key in keys:
        write(store, key, b"x")
    listed = open_store().list("thumbs/ab/abc.")
    assert set(listed) == {"thumbs/ab/abc.webp", "thumbs/ab/abc.strip.webp"}
    assert all(abs(time.time() - at) < 60 for at in listed.values())
    assert set(store.list("files/")) == {KEY}
    assert store.list("inputs/") == {}


def test_touch_says_whether_the_store_has_the_file(open_store: OpenStore) -> None:
    store = open_store()
    assert not store.touch(KEY)
    write(store, KEY, CONTENT)
    assert store.touch(KEY)
    assert abs(time.time() - store.modified_at(KEY)) < 60
    assert open_store().local(KEY).read_bytes() == CONTENT


def test_prepare_keeps_downloads_of_other_processes(open_store: OpenStore) -> None:
    store = open_store()
    growing, abandoned = store.folder / "incoming" / "a", store.folder / "incoming" / "b"
    for path in (growing, abandoned):
        path.write_bytes(b"half")
    os.utime(abandoned, (1.0, time.time() - ABANDONED_S - 60))
    store.prepare()
    assert growing.exists()
    assert not abandoned.exists()


def test_prepare_of_own_folder_removes_all_incomplete_downloads(tmp_path: Path) -> None:
    store = FolderFileStore(tmp_path)
    store.prepare()
    (tmp_path / "incoming" / "half").write_bytes(b"x")
    store.prepare()
    assert not [*(tmp_path / "incoming").iterdir()]
