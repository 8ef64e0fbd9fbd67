"""The panel of the model files: what it shows, what it changes, and for whom."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette

from comfy_ui.errors import MissingModel
from comfy_ui.models.download import ModelSources
from comfy_ui.models.download_queue import DownloadQueue
from comfy_ui.models.model_folders import ModelFolders
from comfy_ui.models.publishers import PublishedModel
from comfy_ui.settings import Settings
from comfy_ui.web.auth.access import Access, AccessMode
from comfy_ui.web.tabs import model_downloads, model_manager
from comfy_ui.web.tabs.model_downloads import ModelDownloads
from comfy_ui.web.tabs.model_manager import ModelManager, models_panel, published_panel
from comfy_ui.workflow.presets.preset_store import get_preset
from tests.safetensors import random_sd15_lora
from tests.web.support import Page

PRESET = get_preset("z_image_turbo")
MAIN = f"{PRESET.models[0].folder}/{PRESET.models[0].filename}"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A models folder with the files of a preset, a LoRA among the checkpoints, and a copy."""
    base = tmp_path / "models"
    for model in PRESET.models:
        path = base / model.folder / model.filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(model.filename.encode())
    random_sd15_lora(base / "checkpoints" / "ink.safetensors", rank=1)
    (base / "loras").mkdir()
    for name in ("one", "two"):
        (base / "vae" / f"{name}.safetensors").write_bytes(b"the same")
    return base


@pytest.fixture
async def services(base: Path) -> AsyncIterator[Any]:
    refreshed: list[int] = []

    async def refresh() -> None:
        refreshed.append(1)

    downloads = DownloadQueue(ModelSources(frozenset({"nowhere.invalid"})), pause_s=0.01)
    yield SimpleNamespace(
        settings=Settings(),
        downloads=downloads,
        connection=SimpleNamespace(model_folders=ModelFolders(base=base), refresh=refresh),
        catalog=SimpleNamespace(entries=[SimpleNamespace(preset=PRESET)]),
        refreshed=refreshed,
        changed_settings=SimpleNamespace(is_fixed=lambda _: False),
    )
    await downloads.aclose()


def browser(services: Any, mode: AccessMode = AccessMode.LOCAL) -> httpx.AsyncClient:
    access = Access(mode, b"secret")
    routes = [*ModelManager(services, access).routes(), *ModelDownloads(services, access).routes()]
    app = Starlette(routes=routes)
    app.auth = None  # type: ignore[attr-defined]
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://page")


def rows(page: Page) -> list[str]:
    return [tag["data-id"] for tag in page.all("li") if "data-id" in tag]


async def test_model_manager_by_user_is_refused_and_changes_nothing(
    services: Any, base: Path
) -> None:
    async with browser(services, AccessMode.SHARED) as page:
        answers = [
            await page.get("/model-files"),
            await page.post("/model-files/look-up", json={"address": "owner/name"}),
            await page.post("/model-files/delete", json={"id": MAIN, "confirmed": True}),
            await page.post("/model-files/restore", json={"id": MAIN}),
            await page.post("/model-files/move", json={"id": MAIN, "to": "loras"}),
            await page.post("/model-files/empty-trash", json={}),
            await page.post("/model-files/duplicates", json={}),
            await page.post("/model-files/stop-search", json={}),
        ]
    assert [answer.status_code for answer in answers] == [422] * 8
    assert (base / MAIN).exists()


async def test_model_manager_lists_files_with_their_users_and_wrong_folders(services: Any) -> None:
    async with browser(services) as page:
        shown = Page((await page.get("/model-files")).json()["html"])
    assert {MAIN, "checkpoints/ink.safetensors", "vae/one.safetensors"} <= {*rows(shown)}
    assert "Wrong folder" in shown.text
    assert PRESET.title in shown.text
    assert "Not used by a preset" in shown.text


async def test_model_manager_deletes_after_a_warning_and_restores(
    services: Any, base: Path
) -> None:
    async with browser(services) as page:
        answer = (await page.post("/model-files/delete", json={"id": MAIN})).json()
        assert answer == {"broken": [PRESET.title]}
        assert (base / MAIN).exists()
        one = {"id": MAIN, "confirmed": True}
        answer = (await page.post("/model-files/delete", json=one)).json()
        assert not (base / MAIN).exists()
        assert "Recently deleted" in Page(answer["html"]).text
        await page.post("/model-files/restore", json={"id": answer["deleted"]})
        assert (base / MAIN).exists()
    assert len(services.refreshed) == 2  # the readiness of presets depends on it


async def test_model_manager_unused_file_is_deleted_at_once_and_for_good(
    services: Any, base: Path
) -> None:
    async with browser(services) as page:
        await page.post("/model-files/delete", json={"id": "vae/one.safetensors"})
        answer = (await page.post("/model-files/empty-trash", json={})).json()
        assert "Recently deleted" not in Page(answer["html"]).text
        again = await page.post("/model-files/delete", json={"id": "vae/one.safetensors"})
    assert again.status_code == 422
    assert "no longer there" in again.json()["error"]
    assert not list(base.parent.rglob("one.safetensors"))


async def test_model_manager_moves_a_file_but_not_out_of_the_folders(
    services: Any, base: Path
) -> None:
    one = {"id": "checkpoints/ink.safetensors"}
    async with browser(services) as page:
        for to in ("..", "../..", "", "a/b"):
            refused = await page.post("/model-files/move", json={**one, "to": to})
            assert refused.status_code == 422, to
        await page.post("/model-files/move", json={**one, "to": "loras"})
    assert (base / "loras" / "ink.safetensors").exists()


@pytest.mark.parametrize("file_id", ["../secret.safetensors", "vae/../../x", "", "vae"])
async def test_model_manager_delete_of_an_unlisted_path_is_refused(
    services: Any, base: Path, file_id: str
) -> None:
    (base.parent / "secret.safetensors").write_bytes(b"x")
    async with browser(services) as page:
        answer = await page.post("/model-files/delete", json={"id": file_id, "confirmed": True})
    assert answer.status_code == 422
    assert (base.parent / "secret.safetensors").exists()


async def test_model_manager_finds_duplicates(services: Any) -> None:
    async with browser(services) as page:
        answer = (await page.post("/model-files/duplicates", json={})).json()
        while answer["active"]:
            answer = (await page.get("/model-files")).json()
        shown = Page(answer["html"]).text
        assert "The same content" in shown
        assert shown.count("vae/one.safetensors") + shown.count("vae/two.safetensors") >= 2
        answer = (await page.post("/model-files/delete", json={"id": "vae/two.safetensors"})).json()
        assert "The same content" not in Page(answer["html"]).text


async def test_model_manager_downloads_a_file_of_a_publisher_into_the_chosen_folder(
    services: Any, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = PublishedModel(
        "owner/name",
        (
            MissingModel("", "a.safetensors", "https://nowhere.invalid/a.safetensors", 5, "mit"),
            MissingModel("vae", "b.pth", "https://nowhere.invalid/b.pth", gated=True),
        ),
    )
    asked_for: list[str] = []

    async def answer(address: str, _: ModelSources) -> PublishedModel:
        asked_for.append(address)
        return published

    for module in (model_manager, model_downloads):
        monkeypatch.setattr(module, "look_up", answer)
    async with browser(services) as page:
        shown = Page(
            (await page.post("/model-files/look-up", json={"address": " owner/name "})).json()[
                "html"
            ]
        )
        buttons = [tag for tag in shown.all("button") if tag.get("data-do") == "fetch-models"]
        assert [tag["data-file"] for tag in buttons] == ["a.safetensors", "b.pth"]
        assert "save a token below first" in shown.text
        start = {"address": "owner/name", "file": "a.safetensors"}
        refused = await page.post("/downloads/start", json=start)
        assert "Nothing tells the folder" in refused.json()["error"]
        code = {"address": "owner/name", "file": "b.pth"}
        assert "can run code" in (await page.post("/downloads/start", json=code)).json()["error"]
        outside = await page.post("/downloads/start", json={**start, "folder": "../../x"})
        assert outside.status_code == 422
        await page.post("/downloads/start", json={**start, "folder": "loras"})
    (download,) = services.downloads.listed
    assert download.path == base / "loras" / "a.safetensors"
    assert {*asked_for} == {"owner/name"}


async def test_model_manager_look_up_of_another_host_is_refused(services: Any) -> None:
    async with browser(services) as page:
        answer = await page.post("/model-files/look-up", json={"address": "https://evil.invalid/x"})
        assert "neither at Hugging Face nor at Civitai" in answer.json()["error"]
        other = {"address": "https://civitai.com/models/1"}
        answer = await page.post("/model-files/look-up", json=other)
    assert "COMFY_UI_DOWNLOAD_HOSTS" in answer.json()["error"]


def test_models_panel_without_folders_names_the_setting() -> None:
    page = Page(models_panel([], ModelFolders(), []))
    assert "COMFY_UI_MODELS_DIR" in page.text
    assert not page.all("form")


def test_published_panel_escapes_names_and_says_when_the_token_is_used() -> None:
    model = MissingModel("vae", "<b>.safetensors", "https://a.invalid/x", gated=True)
    html = published_panel(PublishedModel("<i>", (model,)), "o/n", ["vae"], has_token=True)
    assert "<b>" not in html
    assert "<i>" not in html
    assert "Uses your Hugging Face token" in Page(html).text


async def test_model_manager_has_a_form_for_the_token_unless_it_is_set_elsewhere(
    services: Any,
) -> None:
    async with browser(services) as page:
        html = (await page.get("/model-files")).json()["html"]
        assert 'data-form="hub-token"' in html
        assert "forget-hub-token" not in html
        services.settings.change({"hf_token": SecretStr("hf_saved_on_the_page")})
        html = (await page.get("/model-files")).json()["html"]
        assert "forget-hub-token" in html
        assert "hf_saved_on_the_page" not in html
        services.changed_settings = SimpleNamespace(is_fixed=lambda name: name == "hf_token")
        assert "hub-token" not in (await page.get("/model-files")).json()["html"]
