"""The answer to a press of Generate."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from comfy_ui.storage.records import LibraryItem, Phase
from comfy_ui.web.http.upload_routes import UploadRoutes
from comfy_ui.web.tabs.create.form_state import FormState
from comfy_ui.web.tabs.create.generate import GenerateHandler
from comfy_ui.web.tabs.create.reuse_settings import recall
from tests.jobs.support import last
from tests.web.support import Page
from tests.web.web_app import WebApp, open_web_app

SMALL = {"steps": 1, "width": 256, "height": 256}


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[WebApp]:
    async with open_web_app(tmp_path / "data") as app:
        yield app


@pytest.fixture
def uploads(app: WebApp) -> UploadRoutes:
    return UploadRoutes(app.services, app.access)


@pytest.fixture
async def visit(app: WebApp, uploads: UploadRoutes) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    """A browser and its user."""
    client, user_id = app.browser(GenerateHandler(app.services, app.access, uploads))
    async with client:
        yield client, user_id


async def press(visit: tuple[httpx.AsyncClient, str], **form: Any) -> Mapping[str, Any]:
    state = {"preset": "sd15", "prompt": "a cat", **form}
    response = await visit[0].post("/create/press", json=state)
    answer: Mapping[str, Any] = response.json()
    return answer


async def result(app: WebApp, job: str, user_id: str) -> LibraryItem:
    end = await last(app.service.follow(job, user_id))
    assert end.phase is Phase.SUCCEEDED, end.error
    return end.items[0]


async def test_generate_loras_of_form_and_prompt_are_recorded_and_reused(
    app: WebApp, visit: Any, uploads: UploadRoutes
) -> None:
    loras = '[{"name": "golden_hour_sd15", "strength": 0.5}, {"name": "x", "enabled": false}]'
    form = {"prompt": "a bay <lora:ink_wash_sdxl:0.8>", "values": {"steps": 1, "loras": loras}}
    answer = await press(visit, **form)
    item = await result(app, answer["job"], visit[1])
    recorded = [
        {"name": "golden_hour_sd15.safetensors", "strength": 0.5},
        {"name": "x", "strength": 1.0, "enabled": False},
        {"name": "style/ink_wash_sdxl.safetensors", "strength": 0.8},
    ]
    assert (item.prompt, item.values["loras"]) == ("a bay", recorded)
    reused = await recall("all", item, FormState(), app.services, uploads)
    assert (reused.prompt, reused.values["loras"]) == ("a bay", recorded)
    form["prompt"] = "a bay <lora:ink_wish_sdxl>"
    answer = await press(visit, **form)
    assert "Did you mean &#39;ink_wash_sdxl&#39;?" in answer["notice"]
    assert answer["lora"] == "ink_wish_sdxl"


async def test_generate_controlnet_of_the_form_is_recorded_and_reused(
    app: WebApp, visit: Any, uploads: UploadRoutes
) -> None:
    content = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(content, "PNG")
    name = await uploads.accept(content.getvalue(), "image", visit[1])
    guide = {"image": name, "type": "canny", "strength": 0.5}
    form = {"values": {"steps": 1, "controlnets": json.dumps([guide])}}
    answer = await press(visit, **form)
    item = await result(app, answer["job"], visit[1])
    recorded = [{**guide, "model": "control_v11p_sd15_canny.pth"}]
    assert item.values["controlnets"] == recorded
    reused = await recall("all", item, FormState(), app.services, uploads)
    assert reused.values["controlnets"] == recorded
    guide["image"] = "example.png"
    answer = await press(visit, values={"steps": 1, "controlnets": json.dumps([guide])})
    assert "not an upload of yours" in answer["notice"]


async def test_generate_rounded_size_returns_a_notice(visit: Any) -> None:
    answer = await press(visit, values={"width": 500, "height": "601", "steps": 1})
    assert answer["job"]
    assert Page(answer["notice"]).text == (
        "Width 500 becomes 504, a multiple of 8.Height 601 becomes 600, a multiple of 8."
    )


async def test_generate_grid_with_rounded_sizes_returns_each_notice_once(visit: Any) -> None:
    axes = [{"name": "width", "values": "500, 512"}, {"name": "steps", "values": "1, 2"}]
    answer = await press(visit, values={"width": 512, "height": 512}, grid=axes)
    assert answer["job"]
    assert Page(answer["notice"]).text == "Width 500 becomes 504, a multiple of 8."


async def test_generate_valid_size_returns_no_notice(visit: Any) -> None:
    answer = await press(visit, values={"width": 512, "height": 512, "steps": 1})
    assert answer["job"]
    assert answer["notice"] == ""


@pytest.mark.parametrize("upscaler", ["upscale_esrgan", "upscale_seedvr2"])
async def test_generate_upscaling_a_result_keeps_its_prompt_and_seed(
    app: WebApp, uploads: UploadRoutes, visit: Any, upscaler: str
) -> None:
    user_id = visit[1]
    values = {**SMALL, "seed": 42}
    answer = await press(visit, preset="sdxl", prompt="a lighthouse", values=values)
    source = await result(app, answer["job"], user_id)
    reused = await recall("upscale", source, FormState(upscaler), app.services, uploads)
    answer = await press(visit, preset=upscaler, prompt="typed", values=dict(reused.values))
    upscaled = await result(app, answer["job"], user_id)
    assert (upscaled.prompt, upscaled.seed) == ("a lighthouse", 42)
    results = await app.service.library.results(user_id, text="lighthouse")
    assert [item.id for item in results] == [upscaled.id, source.id]


async def test_generate_unknown_preset_queues_nothing(visit: Any) -> None:
    answer = await press(visit, preset="gone", values=SMALL)
    assert answer["job"] == ""
    assert "no preset &#39;gone&#39;" in answer["notice"]


async def test_estimate_is_empty_before_the_first_job_and_then_that_of_its_run(
    app: WebApp, visit: Any
) -> None:
    async def estimate(**form: Any) -> list[str]:
        response = await visit[0].post("/create/estimate", json={"preset": "sd15", **form})
        answer: dict[str, Any] = response.json()
        assert not answer["changes"], "no other job goes first"
        return list(answer["texts"])

    values = {"steps": 1, "width": 384, "height": 384}
    assert await estimate(values=values) == []
    answer = await press(visit, values=values)
    assert answer["job"], answer["notice"]
    await result(app, answer["job"], visit[1])
    (text,) = await estimate(values=values)
    assert text.startswith("About ")
    assert text.endswith(" s")
    assert await estimate(preset="gone") == []


async def test_generate_several_files_are_a_job_each_and_must_be_own_uploads(
    app: WebApp, uploads: UploadRoutes, visit: Any
) -> None:
    user_id = visit[1]
    names = [await uploads.accept(png(size), "image", user_id) for size in (64, 72)]
    form = {"preset": "sdxl_img2img", "prompt": "a [[red, blue]] bay"}
    values = {"steps": 1, "image": f"{names[0]}\tsea.png\n{names[1]}\tsky.png"}
    answer = await press(visit, **form, values=values)
    assert not answer["notice"]
    jobs = await app.service.active(user_id)
    assert {(job.values["image"], job.prompt) for job in jobs} >= {
        (names[0], "a blue bay"),
        (names[1], "a blue bay"),
        (names[1], "a red bay"),
    }
    assert len({job.seed for job in jobs}) == 1
    others = await uploads.accept(png(80), "image", "someone")
    values = {"steps": 1, "image": f"{names[0]}\n{others}"}
    assert "is not an upload of yours" in (await press(visit, **form, values=values))["notice"]


def png(side: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (side, side), "teal").save(content, "PNG")
    return content.getvalue()
