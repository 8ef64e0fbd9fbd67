from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from comfy_ui.storage.records import Job, JobRequest, LibraryItem
from comfy_ui.web.http.upload_routes import UploadRoutes
from comfy_ui.web.tabs.create.generate import GenerateHandler
from comfy_ui.web.tabs.create.one_press import OnePress, one_press_ways
from comfy_ui.web.tabs.library_tab import LibraryTab
from tests.jobs.support import end_of
from tests.web.support import Page
from tests.web.web_app import WebApp, open_web_app

Visit = tuple[httpx.AsyncClient, str]


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[WebApp]:
    async with open_web_app(tmp_path / "data") as app:
        yield app


@pytest.fixture
async def visit(app: WebApp) -> AsyncIterator[Visit]:
    """A browser and its user."""
    uploads = UploadRoutes(app.services, app.access)
    generate = GenerateHandler(app.services, app.access, uploads)
    one_press = OnePress(app.services, app.access, uploads, generate)
    client, user_id = app.browser(one_press, LibraryTab(app.context))
    async with client:
        yield client, user_id


async def result(app: WebApp, user_id: str, preset: str = "sdxl", **values: Any) -> LibraryItem:
    values = {"prompt": "a fox", "seed": 42, "width": 256, "height": 256, "steps": 3, **values}
    job = await app.service.submit(JobRequest(user_id=user_id, preset=preset, values=values))
    return (await end_of(app.service, job)).items[0]


async def go_on(app: WebApp, visit: Visit, way: str, *items: LibraryItem, press: str = "p") -> Job:
    wanted = {"way": way, "items": [item.id for item in items], "press": press}
    answer = (await visit[0].post("/create/go-on", json=wanted)).json()
    assert answer["notice"] == ""
    return await app.service.job(answer["job"], visit[1])


async def test_one_press_variation_keeps_settings_and_records_its_parent(
    app: WebApp, visit: Visit
) -> None:
    parent = await result(app, visit[1])
    subtle = await go_on(app, visit, "subtle", parent)
    assert (subtle.preset, subtle.prompt, subtle.parent_id) == ("sdxl_img2img", "a fox", parent.id)
    assert subtle.values["strength"] == 0.35
    assert subtle.values["steps"] == 3
    assert subtle.seed != 42
    assert (await go_on(app, visit, "subtle", parent)).id == subtle.id  # the same press
    strong = await go_on(app, visit, "strong", parent, press="another")
    assert strong.values["strength"] == 0.7
    children = [(await end_of(app.service, job)).items[0] for job in (subtle, strong)]
    detail = Page((await visit[0].get(f"/library/{parent.id}")).text)
    assert {button["data-open"] for button in detail.all("button", class_="thumb")} == {
        str(child.id) for child in children
    }
    assert "Made from this" in detail.text
    detail = Page((await visit[0].get(f"/library/{children[0].id}")).text)
    assert [b["data-open"] for b in detail.all("button", class_="thumb")] == [str(parent.id)]


async def test_one_press_upscale_keeps_prompt_and_seed_of_each_result(
    app: WebApp, visit: Visit
) -> None:
    parents = [await result(app, visit[1], prompt=prompt) for prompt in ("a fox", "an owl")]
    await end_of(app.service, await go_on(app, visit, "upscale", *parents))
    for parent in parents:
        (child,) = await app.service.library.children(parent.id, visit[1])
        assert (child.prompt, child.seed) == (parent.prompt, 42)
        assert child.width == 2 * 256


async def test_one_press_ways_are_those_of_the_family(app: WebApp, visit: Visit) -> None:
    catalog = app.services.catalog
    sdxl = await result(app, visit[1])
    other = await result(app, visit[1], "z_image_turbo")
    assert set(one_press_ways(sdxl, catalog)) == {"subtle", "strong", "upscale"}
    assert set(one_press_ways(other, catalog)) == {"upscale"}
    wanted = {"way": "subtle", "items": [other.id], "press": "p"}
    answer = (await visit[0].post("/create/go-on", json=wanted)).json()
    assert answer["job"] == ""
    assert "No preset here" in answer["notice"]
