from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.web.components import preset_form
from comfy_ui.web.tabs.create.own_presets import OwnPresets, own_defaults
from comfy_ui.workflow.presets.preset_store import Preset
from tests.web.web_app import WebApp, open_web_app


@pytest.fixture
async def web_app(tmp_path: Path) -> AsyncIterator[WebApp]:
    async with open_web_app(tmp_path / "data") as web_app:
        yield web_app


def preset(web_app: WebApp, preset_id: str) -> Preset:
    return web_app.services.catalog.entry(preset_id).preset


async def test_own_presets_keep_favorites_of_each_user(web_app: WebApp) -> None:
    routes = OwnPresets(web_app.services, web_app.access)
    ann, _ = web_app.browser(routes)
    bob, _ = web_app.browser(routes)
    async with ann, bob:
        for name in ("sdxl", "sd15"):
            await ann.post("/presets/favorite", json={"name": name, "marked": True})
        await ann.post("/presets/favorite", json={"name": "sdxl", "marked": False})
        assert (await ann.get("/presets/own")).json()["favorites"] == ["sd15"]
        assert (await bob.get("/presets/own")).json()["favorites"] == []
        unknown = await ann.post("/presets/favorite", json={"name": "no", "marked": True})
        assert unknown.status_code == 422


async def test_own_presets_save_what_differs_and_forget_it(web_app: WebApp) -> None:
    routes = OwnPresets(web_app.services, web_app.access)
    browser, user_id = web_app.browser(routes)
    sd15 = preset(web_app, "sd15")
    steps = sd15.by_role("steps")
    assert steps is not None
    typed = {"steps": 33, "cfg": sd15.param("cfg").default, "seed": 5, "height": 768, "x": 1}  # type: ignore[union-attr]

    async def save(values: dict[str, Any]) -> bool:
        answer = await browser.post("/presets/defaults", json={"preset": "sd15", "values": values})
        return bool(answer.json()["defaults"])

    async with browser:
        assert await save(typed)
        defaults = await own_defaults(web_app.services, user_id, sd15)
        assert defaults == {"steps": 33, "height": 768, "width": sd15.param("width").default}  # type: ignore[union-attr]
        state = (await browser.get("/presets/own", params={"preset": "sd15"})).json()
        assert state["defaults"] is True
        assert not await save({"steps": steps.default})
        assert await own_defaults(web_app.services, user_id, sd15) == {}


async def test_carry_leaves_own_defaults_with_their_preset(web_app: WebApp) -> None:
    old, new = preset(web_app, "sd15"), preset(web_app, "sdxl")
    values = {"steps": 33, "cfg": 3.5}
    assert preset_form.carry(old, values, new, defaults={"steps": 33}) == {"cfg": 3.5}
    assert preset_form.carry(old, values, new) == values
