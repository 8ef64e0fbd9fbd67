"""The page's lists of model files, their pictures and favorites."""

from __future__ import annotations

from pathlib import Path

from comfy_ui.models.model_facts_reader import ModelFactsReader
from comfy_ui.models.model_folders import ModelFolders
from comfy_ui.web.tabs.create.model_browser import ModelBrowser
from comfy_ui.worker_processes.process_pool import WORKERS
from tests.web.web_app import open_web_app

INK = "style/ink_wash_sdxl.safetensors"


async def test_model_browser_lists_facts_pictures_and_own_favorites(tmp_path: Path) -> None:
    async with open_web_app(tmp_path / "data") as web_app:
        services = web_app.services
        await services.catalog.refresh()
        services.model_facts = ModelFactsReader(lambda: services.client, ModelFolders)
        browser = ModelBrowser(services, web_app.access)
        ann, _ = web_app.browser(browser)
        bob, _ = web_app.browser(browser)
        change = {"folder": "loras", "name": INK, "marked": True}
        assert (await ann.post("/models/favorite", json=change)).json() == {"marked": True}
        answer = (await ann.get("/models", params={"folder": "loras"})).json()
        loras = {lora["name"]: lora for lora in answer["models"]}
        assert answer["complete"]
        assert loras[INK] == {
            "name": INK,
            "title": "Ink Wash",
            "family": "SDXL",
            "base": "sdxl_base_v1-0",
            "words": ["ink wash", "monochrome"],
            "weight": None,
            "size": None,
            "favorite": True,
        }
        of_bob = {
            lora["name"]: lora
            for lora in (await bob.get("/models", params={"folder": "loras"})).json()["models"]
        }
        assert not of_bob[INK]["favorite"]
        picture = await ann.get("/models/preview", params={"folder": "loras", "name": INK})
        assert picture.headers["content-type"] == "image/webp"
        without = next(name for name in loras if name.startswith("wan2.2"))
        picture = await ann.get("/models/preview", params={"folder": "loras", "name": without})
        assert (picture.status_code, picture.headers["content-type"]) == (200, "image/gif")
        for name in ("../secret", "gone.safetensors"):
            assert (await ann.get("/models/preview", params={"name": name})).status_code == 422
            change = {"folder": "loras", "name": name, "marked": True}
            assert (await ann.post("/models/favorite", json=change)).status_code == 422
        answer = (await ann.get("/models", params={"folder": "checkpoints"})).json()
        families = {one["name"]: one["family"] for one in answer["models"]}
        assert families["sd_xl_base_1.0.safetensors"] == "SDXL"
        assert families["svd_xt.safetensors"] == "SVD"
        answer = (await ann.get("/models", params={"folder": "text_encoders"})).json()
        assert {one["family"] for one in answer["models"]} == {""}
        assert (await ann.get("/models", params={"folder": "../x"})).json()["models"] == []
        await services.model_facts.aclose()
    WORKERS.close()
