"""Which folder a model file goes to, and files that arrive one after the other."""

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
    with publishing(authority) as found:
        yield found


@pytest.fixture
async def downloads(publisher: Publisher) -> AsyncIterator[DownloadQueue]:
    made = DownloadQueue(ModelSources(frozenset({publisher.host})), pause_s=0.01)
    yield made
    await made.aclose()


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


async def test_files_arrive_one_after_the_other_and_a_bad_one_stops_nobody(
    publisher: Publisher, folders: ModelFolders
) -> None:
    arrived = []

    async def told() -> None:
        arrived.append(len(publisher.asked))

    downloads = DownloadQueue(ModelSources(frozenset({publisher.host})), arrived=told, pause_s=0.01)
    bad = model(publisher, "bad.safetensors", sha256="0" * 64)
    good = [model(publisher, name) for name in ("a.safetensors", "sub/b.safetensors")]
    downloads.start([good[0], bad, good[1]], folders)
    ended = await settled(downloads)
    assert [d.state for d in ended.values()] == ["done", "failed", "done"]
    assert ended["bad.safetensors"].error is not None
    assert "hash" in ended["bad.safetensors"].error.message
    assert size(folders.place(good[1])) == len(WEIGHTS)
    assert ended["a.safetensors"].share == 1.0
    assert arrived == [1, 3]


@pytest.mark.parametrize("trouble", [asyncio.CancelledError(), RuntimeError("a bug")])
async def test_who_is_told_of_a_file_and_fails_stops_nobody(
    publisher: Publisher, folders: ModelFolders, trouble: BaseException
) -> None:
    async def told() -> None:
        raise trouble  # the look at the server ends when its owner connects to another

    downloads = DownloadQueue(ModelSources(frozenset({publisher.host})), arrived=told, pause_s=0.01)
    downloads.start(
        [model(publisher, name) for name in ("a.safetensors", "b.safetensors")], folders
    )
    async with asyncio.timeout(20):
        await downloads.settle()
    assert not downloads.active
    assert all(size(download.path) == len(WEIGHTS) for download in downloads.listed)
    assert {d.state for d in downloads.listed} == {DownloadState.DONE}


async def test_a_stop_of_the_app_while_somebody_is_told_of_a_file_is_a_stop(
    publisher: Publisher, folders: ModelFolders
) -> None:
    telling = asyncio.Event()

    async def told() -> None:
        telling.set()
        await asyncio.sleep(60)

    downloads = DownloadQueue(ModelSources(frozenset({publisher.host})), arrived=told, pause_s=0.01)
    downloads.start([model(publisher, "a.safetensors")], folders)
    async with asyncio.timeout(20):
        await telling.wait()
        await downloads.aclose()


async def test_one_is_stopped_and_goes_on_where_it_was(
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


async def test_what_cannot_be_fetched_is_refused_before_anything_starts(
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
def test_no_name_leads_out_of_its_folder_or_brings_code(
    folders: ModelFolders, folder: str, filename: str
) -> None:
    with pytest.raises(ValidationError):
        folders.place(MissingModel(folder, filename, "https://huggingface.co/x"))
    assert not folders.takes(MissingModel(folder, filename, "https://huggingface.co/x"))


def test_what_a_shipped_preset_names_is_known_by_name_and_address() -> None:
    folders = ModelFolders(base=Path("models"))
    for needed in get_preset("sdxl").models:
        known = MissingModel(needed.folder, needed.filename, needed.url)
        assert folders.takes(known)
        assert folders.place(known) == Path("models") / needed.folder / needed.filename


class Here:
    """A server on this machine whose folders are those given."""

    url = "http://127.0.0.1:8188"

    def __init__(self, paths: dict[str, list[str]], listed: list[str]) -> None:
        self._paths, self._listed = paths, listed

    async def model_paths(self) -> dict[str, list[str]]:
        return self._paths

    async def models(self, folder: str) -> list[str]:
        return self._listed if folder == "checkpoints" else []


async def test_the_servers_own_folders_are_believed_on_this_machine(tmp_path: Path) -> None:
    here = str(tmp_path)
    server = Here({"checkpoints": ["/none/such", here], "vae": ["relative"]}, [])
    folders = await find_model_folders(server, None)  # type: ignore[arg-type]
    assert dict(folders.known) == {"checkpoints": tmp_path}


async def test_the_end_of_a_tunnel_is_not_taken_for_this_machine(tmp_path: Path) -> None:
    server = Here({"checkpoints": [str(tmp_path)]}, ["their.safetensors"])
    assert not await find_model_folders(server, None)  # type: ignore[arg-type]
    server.url = "http://192.168.1.7:8188"
    assert not await find_model_folders(server, None)  # type: ignore[arg-type]


async def test_the_embedded_engine_has_no_folders_and_a_setting_names_them(
    engine, tmp_path: Path
) -> None:
    async with ComfyWSClient(url=engine.url) as client:
        assert not await find_model_folders(client, None)
        assert (await find_model_folders(client, tmp_path)).base == tmp_path
