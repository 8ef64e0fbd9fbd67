"""The folder of a model file, and the queue of downloads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trustme

from comfy_ui.client import ComfyWSClient
from comfy_ui.errors import MissingModel, ModelDownloadError, ValidationError
from comfy_ui.models.download import ModelSources
from comfy_ui.models.download_queue import DownloadQueue, DownloadState, ModelDownload
from comfy_ui.models.model_folders import ModelFolders, find_model_folders
from comfy_ui.workflow.presets.preset_store import get_preset
from tests.client.publisher import SHA256, WEIGHTS, Publisher, publishing


@pytest.fixture
def publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    with publishing(authority) as server:
        yield server


@pytest.fixture
async def downloads(publisher: Publisher) -> AsyncIterator[DownloadQueue]:
    queue = DownloadQueue(ModelSources(frozenset({publisher.host})), pause_s=0.01)
    yield queue
    await queue.aclose()


@pytest.fixture
def folders(tmp_path: Path) -> ModelFolders:
    return ModelFolders(base=tmp_path / "models")


def model(publisher: Publisher, name: str, **more: str) -> MissingModel:
    return MissingModel("vae", name, f"{publisher.url}/{name}", **{"sha256": SHA256, **more})


async def settled(downloads: DownloadQueue) -> dict[str, ModelDownload]:
    await downloads.settle()
    return {download.model.filename: download for download in downloads.listed}


def size(path: Path) -> int | None:
    return path.stat().st_size if path.exists() else None


async def test_download_queue_runs_in_order_and_continues_after_failure(
    publisher: Publisher, folders: ModelFolders
) -> None:
    arrived = []

    async def on_arrived() -> None:
        arrived.append(len(publisher.asked))

    downloads = DownloadQueue(
        ModelSources(frozenset({publisher.host})), arrived=on_arrived, pause_s=0.01
    )
    bad = model(publisher, "bad.safetensors", sha256="0" * 64)
    good = [model(publisher, name) for name in ("a.safetensors", "sub/b.safetensors")]
    downloads.start([good[0], bad, good[1]], folders)
    ended = await settled(downloads)
    assert [d.state for d in ended.values()] == ["done", "failed", "done"]
    assert ended["bad.safetensors"].error is not None
    assert "does not have the expected SHA-256" in ended["bad.safetensors"].error.message
    assert size(folders.place(good[1])) == len(WEIGHTS)
    assert ended["a.safetensors"].share == 1.0
    assert arrived == [1, 3]


@pytest.mark.parametrize("trouble", [asyncio.CancelledError(), RuntimeError("a bug")])
async def test_download_queue_failing_arrived_callback_stops_no_download(
    publisher: Publisher, folders: ModelFolders, trouble: BaseException
) -> None:
    async def on_arrived() -> None:
        raise trouble  # as when the admin connects to another server

    downloads = DownloadQueue(
        ModelSources(frozenset({publisher.host})), arrived=on_arrived, pause_s=0.01
    )
    downloads.start(
        [model(publisher, name) for name in ("a.safetensors", "b.safetensors")], folders
    )
    async with asyncio.timeout(20):
        await downloads.settle()
    assert not downloads.active
    assert all(size(download.path) == len(WEIGHTS) for download in downloads.listed)
    assert {d.state for d in downloads.listed} == {DownloadState.DONE}


async def test_download_queue_aclose_during_arrived_callback_stops(
    publisher: Publisher, folders: ModelFolders
) -> None:
    called = asyncio.Event()

    async def on_arrived() -> None:
        called.set()
        await asyncio.sleep(60)

    downloads = DownloadQueue(
        ModelSources(frozenset({publisher.host})), arrived=on_arrived, pause_s=0.01
    )
    downloads.start([model(publisher, "a.safetensors")], folders)
    async with asyncio.timeout(20):
        await called.wait()
        await downloads.aclose()


async def test_download_queue_cancelled_download_resumes_later(
    publisher: Publisher, downloads: DownloadQueue, folders: ModelFolders
) -> None:
    publisher.gate = threading.Event()
    first, second = model(publisher, "a.safetensors"), model(publisher, "b.safetensors")
    downloads.start([first, second], folders)
    while downloads.listed[0].received_bytes < 2 * 2**20:  # noqa: ASYNC110 -- as the page asks
        await asyncio.sleep(0.01)
    assert downloads.cancel("vae/b.safetensors")
    assert downloads.cancel("vae/a.safetensors")
    assert not downloads.cancel("vae/a.safetensors")
    publisher.gate.set()
    ended = await settled(downloads)
    assert {d.state for d in ended.values()} == {DownloadState.CANCELLED}
    downloads.start([first], folders)
    assert downloads.listed[-1].received_bytes == 2 * 2**20
    ended = await settled(downloads)
    assert ended["a.safetensors"].state is DownloadState.DONE
    assert publisher.asked[-1]["range"] == f"bytes={2 * 2**20}-"


async def test_download_queue_start_invalid_url_or_folder_raises_before_any_request(
    publisher: Publisher, downloads: DownloadQueue, folders: ModelFolders
) -> None:
    good = model(publisher, "a.safetensors")
    for url in (None, "https://elsewhere.example/a.safetensors", f"http://{publisher.host}/a"):
        with pytest.raises(ModelDownloadError):
            downloads.start([good, MissingModel("vae", "b.safetensors", url)], folders)
    with pytest.raises(ValidationError, match="not on this machine"):
        downloads.start([good], ModelFolders())
    assert downloads.listed == ()
    assert publisher.asked == []


@pytest.mark.parametrize(
    ("folder", "filename"),
    [
        ("vae", "../a.safetensors"),
        ("vae", "..\\..\\a.safetensors"),
        ("vae", "/etc/a.safetensors"),
        ("vae", ".hidden.safetensors"),
        ("vae", "a\0.safetensors"),
        ("vae", ""),
        ("..", "a.safetensors"),
        ("vae/../..", "a.safetensors"),
        ("", "a.safetensors"),
        ("vae", "a.pth"),
        ("vae", "a.py"),
        ("custom_nodes", "__init__.py"),
    ],
)
def test_model_folders_place_outside_folder_or_unsafe_type_raises(
    folders: ModelFolders, folder: str, filename: str
) -> None:
    with pytest.raises(ValidationError):
        folders.place(MissingModel(folder, filename, "https://huggingface.co/x"))
    assert not folders.takes(MissingModel(folder, filename, "https://huggingface.co/x"))


def test_model_folders_accept_models_of_shipped_presets() -> None:
    folders = ModelFolders(base=Path("models"))
    for needed in get_preset("sdxl").models:
        model_file = MissingModel(needed.folder, needed.filename, needed.url)
        assert folders.takes(model_file)
        assert folders.place(model_file) == Path("models") / needed.folder / needed.filename


class Here:
    """A server on this machine with the given folders."""

    url = "http://127.0.0.1:8188"

    def __init__(self, paths: dict[str, list[str]], listed: list[str]) -> None:
        self._paths, self._listed = paths, listed

    async def model_paths(self) -> dict[str, list[str]]:
        return self._paths

    async def models(self, folder: str) -> list[str]:
        return self._listed if folder == "checkpoints" else []


async def test_find_model_folders_accepts_existing_folders_of_local_server(tmp_path: Path) -> None:
    here = str(tmp_path)
    server = Here({"checkpoints": ["/none/such", here], "vae": ["relative"]}, [])
    folders = await find_model_folders(server, None)  # type: ignore[arg-type]
    assert dict(folders.known) == {"checkpoints": tmp_path}


async def test_find_model_folders_of_remote_server_is_empty(tmp_path: Path) -> None:
    server = Here({"checkpoints": [str(tmp_path)]}, ["their.safetensors"])
    assert not await find_model_folders(server, None)  # type: ignore[arg-type]
    server.url = "http://192.168.1.7:8188"
    assert not await find_model_folders(server, None)  # type: ignore[arg-type]


async def test_find_model_folders_of_demo_engine_needs_setting(engine, tmp_path: Path) -> None:
    async with ComfyWSClient(url=engine.url) as client:
        assert not await find_model_folders(client, None)
        assert (await find_model_folders(client, tmp_path)).base == tmp_path


async def test_download_queue_paused_download_lets_others_run_and_continues(
    publisher: Publisher, downloads: DownloadQueue, folders: ModelFolders
) -> None:
    publisher.gate = threading.Event()
    first, second = model(publisher, "a.safetensors"), model(publisher, "b.safetensors")
    downloads.start([first, second], folders)
    async with asyncio.timeout(30):
        while not downloads.listed[0].received_bytes:  # noqa: ASYNC110 -- no event for it
            await asyncio.sleep(0.01)
    assert downloads.pause(downloads.listed[0].id)
    assert not downloads.pause(downloads.listed[0].id)
    publisher.gate.set()
    publisher.gate = None
    ended = await settled(downloads)
    assert [d.state for d in ended.values()] == ["paused", "done"]
    assert size(folders.place(first)) is None
    assert downloads.resume(ended["a.safetensors"].id)
    assert not downloads.resume(ended["b.safetensors"].id)
    ended = await settled(downloads)
    assert ended["a.safetensors"].state == "done"
    assert size(folders.place(first)) == len(WEIGHTS)
    assert any(request.get("range") for request in publisher.asked)


async def test_download_queue_paused_download_can_be_cancelled(
    publisher: Publisher, downloads: DownloadQueue, folders: ModelFolders
) -> None:
    downloads.start([model(publisher, "a.safetensors")], folders)
    key = downloads.listed[0].id
    assert downloads.pause(key)
    assert downloads.cancel(key)
    assert not downloads.cancel(key)
    assert downloads.listed[0].state is DownloadState.CANCELLED
