from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from comfy_ui.client import ComfyWSClient
from comfy_ui.demo import DemoServer
from comfy_ui.errors import StorageError
from comfy_ui.jobs.job_service import open_jobs
from comfy_ui.jobs.workers.server import with_upload_names
from comfy_ui.library.uploads import KEPT_S, UploadStore
from comfy_ui.storage.file_stores.file_store import FolderFileStore
from comfy_ui.storage.records import JobRequest

NAME = "ui-0a-4x4-9f.png"


def graph(*names: object) -> dict[str, dict[str, object]]:
    return {
        str(n): {"class_type": "LoadImage", "inputs": {"image": name}}
        for n, name in enumerate(names)
    }


def test_upload_store_put_file_is_found_by_graphs_that_use_it(tmp_path: Path) -> None:
    inputs = UploadStore(FolderFileStore(tmp_path))
    inputs.put(NAME, b"bytes")
    path = inputs.path(NAME)
    assert path is not None
    assert path.read_bytes() == b"bytes"
    assert inputs.used_by(graph(NAME, "other.png", NAME, 7, ["0", 0])) == [NAME]
    assert [p.name for p in path.parent.iterdir()] == [NAME]


@pytest.mark.parametrize("name", ["../comfy_ui.db", "a/b.png", "", ".part", "x", "nul\0.png"])
def test_upload_store_foreign_name_has_no_path(tmp_path: Path, name: str) -> None:
    (tmp_path / "comfy_ui.db").write_bytes(b"x")
    inputs = UploadStore(FolderFileStore(tmp_path / "data"))
    assert inputs.path(name) is None
    assert inputs.used_by(graph(name)) == []


def test_upload_store_malformed_graph_uses_no_upload(tmp_path: Path) -> None:
    broken: dict[str, dict[str, object]] = {"1": None, "2": {}}  # type: ignore[dict-item]
    assert UploadStore(FolderFileStore(tmp_path)).used_by(broken) == []


def test_upload_store_put_with_blocked_folder_raises_storage_error(tmp_path: Path) -> None:
    (tmp_path / "inputs").write_bytes(b"in the way")
    with pytest.raises(StorageError, match="could not be stored"):
        UploadStore(FolderFileStore(tmp_path)).put(NAME, b"x")


def test_upload_store_purge_deletes_uploads_unused_for_long(tmp_path: Path) -> None:
    inputs = UploadStore(FolderFileStore(tmp_path))
    inputs.purge()  # nothing there yet
    for name in ("old.png", "used.png"):
        inputs.put(name, b"x")
        long_ago = time.time() - KEPT_S - 60
        os.utime(tmp_path / "inputs" / name, (long_ago, long_ago))
    inputs.used_by(graph("used.png"))
    inputs.purge()
    assert inputs.path("old.png") is None
    assert inputs.path("used.png") is not None


def test_with_upload_names_replaces_names_by_those_of_server() -> None:
    original = graph(NAME, "other.png")
    assert with_upload_names(original, {NAME: NAME}) == original
    assert with_upload_names(original, {NAME: "ui-1 (1).png"}) == graph("ui-1 (1).png", "other.png")


async def test_upload_is_kept_while_a_job_waits_for_it(
    client: ComfyWSClient, server: DemoServer, tmp_path: Path
) -> None:
    await asyncio.to_thread(server.kill)
    async with open_jobs(client=client, data_dir=tmp_path) as service:
        for name in (NAME, "ui-0b-4x4-9f.png"):
            await service.library.keep_upload(name, b"x", "ann")
        for names in ((), (), (NAME,)):  # the server holds two, the third waits
            await service.submit(JobRequest(user_id="ann", preset="p", graph=graph(*names)))
    for name in service.library.uploads.names():
        os.utime(tmp_path / "inputs" / name, (1.0, 1.0))  # it has waited for long
    async with open_jobs(client=client, data_dir=tmp_path) as service:
        async with asyncio.timeout(10):
            while len(service.library.uploads.names()) > 1:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert service.library.uploads.names() == {NAME}
        await service.cancel_all("ann")


async def test_upload_store_purge_continues_after_undeletable_or_missing_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    inputs = UploadStore(FolderFileStore(tmp_path))
    for name in ("a.png", "b.png", "c.png"):
        inputs.put(name, b"x")
        os.utime(tmp_path / "inputs" / name, (1.0, 1.0))
    real = Path.unlink

    def unlink(path: Path, *, missing_ok: bool = False) -> None:
        if path.name == "a.png":
            raise PermissionError(13, "Permission denied", str(path))
        real(path, missing_ok=missing_ok)

    listed = [*(tmp_path / "inputs").iterdir(), tmp_path / "inputs" / "gone.part"]
    monkeypatch.setattr(Path, "rglob", lambda *_: iter(listed))
    monkeypatch.setattr(Path, "unlink", unlink)
    inputs.purge()
    monkeypatch.undo()
    assert inputs.names() == {"a.png"}
    assert "a.png" in caplog.text
