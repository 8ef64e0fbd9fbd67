"""S3 that is away, refuses, or has lost a part of a file."""

from __future__ import annotations

import hashlib
import os
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError as PydanticValidationError

from comfy_ui.errors import StorageError
from comfy_ui.settings import Settings, load_settings
from comfy_ui.storage.file_stores.choose_file_store import choose_file_store
from comfy_ui.storage.file_stores.file_store import FolderFileStore
from comfy_ui.storage.file_stores.s3_file_store import S3FileStore
from tests.storage.s3_server import BUCKET, SECRET, S3Server, s3_server
from tests.storage.test_file_store_contract import CONTENT, KEY, write

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def server(running: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    return running


def opened(folder: Path, *, cache_bytes: int = 10**9, links: bool = False) -> S3FileStore:
    url = f"s3://{BUCKET}/{folder.parent.name}"
    store = S3FileStore(url, folder, cache_bytes=cache_bytes, links=links)
    store.prepare()
    return store


def of_content(content: bytes, suffix: str = ".png") -> str:
    digest = hashlib.sha256(content).hexdigest()
    return f"files/{digest[:2]}/{digest}{suffix}"


def test_save_while_server_is_away_can_be_repeated_and_copies_stay_readable(
    server: S3Server, tmp_path: Path
) -> None:
    store = opened(tmp_path / "a")
    write(store, KEY, CONTENT)
    other = of_content(b"other")
    server.stop()
    try:
        with pytest.raises(StorageError, match="does not answer") as raised:
            write(store, other, b"other")
        assert raised.value.retryable
        assert store.local(KEY).read_bytes() == CONTENT
        with pytest.raises(StorageError, match="does not answer"):
            store.local("thumbs/ab/unknown.webp")
    finally:
        server.start()
    store.save(other)
    assert opened(tmp_path / "b").local(other).read_bytes() == b"other"


@pytest.mark.parametrize(
    ("bucket", "changed", "reason"),
    [
        ("missing", {}, "there is no such bucket"),
        (BUCKET, {"AWS_SECRET_ACCESS_KEY": "wrong"}, "access was denied"),
        (BUCKET, {"AWS_ACCESS_KEY_ID": "wrong"}, "access was denied"),
        (BUCKET, {"AWS_PROFILE": "missing"}, "there are no credentials"),
        (BUCKET, {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}, "does not answer"),
    ],
)
def test_prepare_with_wrong_settings_says_what_is_wrong(
    server: S3Server, tmp_path: Path, bucket: str, changed: dict[str, str], reason: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changed.items():
            patch.setenv(name, value)
        store = S3FileStore(f"s3://{bucket}/x", tmp_path, cache_bytes=1)
        with pytest.raises(StorageError, match=reason) as raised:
            store.prepare()
    assert "COMFY_UI_FILES" in raised.value.hint
    assert SECRET not in str(raised.value)


def test_local_of_damaged_object_raises_and_leaves_no_copy(
    server: S3Server, tmp_path: Path
) -> None:
    store = opened(tmp_path / "a")
    write(store, KEY, CONTENT)
    (store.folder / KEY).unlink()
    server.object(f"{tmp_path.name}/{KEY}").write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(StorageError, match="damaged") as raised:
        store.local(KEY)
    assert not raised.value.retryable
    assert not (store.folder / KEY).exists()
    assert not [*(store.folder / "incoming").iterdir()]
    write(store, KEY, CONTENT)  # the same result again repairs it
    assert opened(tmp_path / "b").local(KEY).read_bytes() == CONTENT


def test_save_without_refresh_uploads_again_only_what_is_cut_short(
    server: S3Server, tmp_path: Path
) -> None:
    content = os.urandom(1000)
    key = of_content(content)
    store = opened(tmp_path / "a")
    cut = server.object(f"{tmp_path.name}/{key}")
    cut.parent.mkdir(parents=True)
    cut.write_bytes(content[:10])
    write(store, key, content, refresh=False)
    assert cut.read_bytes() == content
    written_at = cut.stat().st_mtime_ns
    write(store, key, content, refresh=False)
    assert cut.stat().st_mtime_ns == written_at


def test_save_large_file_in_parts(server: S3Server, tmp_path: Path) -> None:
    content = os.urandom(2**20) * 101
    key = of_content(content, ".mp4")
    write(opened(tmp_path / "a"), key, content)
    assert opened(tmp_path / "b").local(key).stat().st_size == len(content)


def test_local_called_by_many_threads_downloads_once(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(opened(tmp_path / "a"), KEY, CONTENT)
    store = opened(tmp_path / "b")
    downloads = []
    real = store._s3.get_file
    monkeypatch.setattr(
        store._s3, "get_file", lambda *paths: (downloads.append(paths), real(*paths))
    )
    with ThreadPoolExecutor(8) as threads:
        paths = [*threads.map(store.local, [KEY] * 16)]
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert len(downloads) == 1


def test_copies_beyond_the_limit_are_evicted_least_recently_used_first(
    server: S3Server, tmp_path: Path
) -> None:
    store = opened(tmp_path / "a", cache_bytes=2500)
    contents = [bytes([n]) * 1000 for n in range(4)]
    keys = [of_content(content) for content in contents]
    for age_s, key, content in zip((9000, 8000, 5, 0), keys, contents, strict=True):
        write(store, key, content)
        if age_s:
            used_at = time.time() - age_s
            os.utime(store.folder / key, (used_at, used_at))
    kept = [(store.folder / key).exists() for key in keys]
    assert kept == [False, False, True, True]
    assert [store.local(key).read_bytes() for key in keys] == contents


def test_link_opens_the_object_and_keeps_name_and_type(server: S3Server, tmp_path: Path) -> None:
    store = opened(tmp_path / "a", links=True)
    write(store, KEY, CONTENT)
    link = store.link(KEY, filename="ä b.png", media_type="image/png")
    assert link
    assert "response-content-type=image%2Fpng" in link
    assert "attachment%3B%20filename%2A%3DUTF-8%27%27%25C3%25A4%2520b.png" in link
    assert SECRET not in link
    with urllib.request.urlopen(link) as answer:
        assert answer.read() == CONTENT
    assert opened(tmp_path / "b").link(KEY, filename="a", media_type="image/png") is None


def test_choose_file_store_by_settings(server: S3Server, tmp_path: Path) -> None:
    def chosen(files: str | None) -> tuple[type, Path]:
        store = choose_file_store(load_settings(files=files), tmp_path)
        return type(store), store.folder

    assert chosen(None) == (FolderFileStore, tmp_path)
    assert chosen("/mnt/shared") == chosen("file:///mnt/shared")
    assert chosen("/mnt/shared") == (FolderFileStore, Path("/mnt/shared"))
    assert chosen(f"s3://{BUCKET}/x") == (S3FileStore, tmp_path / "file_copies")


@pytest.mark.parametrize("value", ["s3://", "s3://key:canary@bucket/x", "gs://bucket", "s3://B/"])
def test_settings_refuse_other_addresses_without_repeating_them(value: str) -> None:
    with pytest.raises(PydanticValidationError) as raised:
        Settings(files=value)
    assert "s3://BUCKET/PREFIX" in str(raised.value.errors(include_input=False))
