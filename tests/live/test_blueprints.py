"""Blueprints and App mode on a real ComfyUI, without models."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from comfy_ui import ComfyWSClient
from comfy_ui.web.tabs.workflows.blueprint_tools import adopt
from comfy_ui.workflow.editor import convert_workflow
from comfy_ui.workflow.presets.preset_from_workflow import preset_from_workflow
from comfy_ui.workflow.presets.preset_store import compile_workflow

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]


async def opened(client: ComfyWSClient, file: Any) -> Image.Image:
    with Image.open(io.BytesIO(await client.download(file))) as picture:
        return picture.convert("RGB")


async def test_blueprint_that_crops_runs_as_a_tool(other: ComfyWSClient) -> None:
    found = {blueprint.name: blueprint.id for blueprint in await other.blueprints()}
    if "Crop Images 2x2" not in found:
        pytest.skip("needs the blueprints of ComfyUI 0.33")
    file = await other.blueprint(found["Crop Images 2x2"])
    info = await other.object_info()
    preset = adopt(file, "Crop Images 2x2", info)
    image = preset.by_role("image")
    assert image is not None
    picture = Image.new("RGB", (128, 128), "red")
    picture.paste("blue", (64, 0, 128, 128))
    content = io.BytesIO()
    picture.save(content, "PNG")
    uploaded = await other.upload_image(content.getvalue())
    values = {image.id: str(uploaded)}
    result = await other.run(compile_workflow(preset, object_info=info, **values))
    (crop,) = [await opened(other, one) for one in result.images[:1]]
    assert crop.size == (64, 64)
    assert crop.getpixel((32, 32)) == (255, 0, 0)


async def test_app_mode_outputs_come_first(other: ComfyWSClient) -> None:
    def node(number: int, kind: str, values: list[Any], link: int | None = None) -> dict[str, Any]:
        inputs = [{"name": "images", "type": "IMAGE", "link": link}] if link else []
        links = [1 + number // 3] if kind == "EmptyImage" else []
        outputs = [{"name": "IMAGE", "type": "IMAGE", "links": links}] if not link else []
        return {
            "id": number,
            "type": kind,
            "inputs": inputs,
            "outputs": outputs,
            "widgets_values": values,
        }

    editor = {
        "version": 0.4,
        "nodes": [
            node(1, "EmptyImage", [64, 64, 1, 0xFF0000]),
            node(2, "SaveImage", ["first"], 1),
            node(3, "EmptyImage", [64, 64, 1, 0x0000FF]),
            node(4, "SaveImage", ["second"], 2),
        ],
        "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 3, 0, 4, 0, "IMAGE"]],
        "extra": {"linearData": {"inputs": [], "outputs": [4]}},
    }
    info = await other.object_info()
    preset = preset_from_workflow(convert_workflow(editor, info), info, title="Two", editor=editor)
    result = await other.run(compile_workflow(preset, object_info=info))
    assert [file.node for file in result.images] == ["4", "2"]
    assert (await opened(other, result.images[0])).getpixel((0, 0)) == (0, 0, 255)
