"""Presets as the clients prepare them for the queue."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfy_ui import settings
from comfy_ui.client import ComfyClient, ComfyWSClient
from comfy_ui.demo import DemoServer
from comfy_ui.settings import Settings
from comfy_ui.workflow.presets.preset_files import graph_text, sidecar_text
from comfy_ui.workflow.presets.preset_store import get_preset
from tests.client.support import image_graph, open_client, saved


@pytest.fixture(autouse=True)
def _own_preset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A preset "mine" with a date in its file name prefix, and the wildcard "sea"."""
    data = tmp_path / "data"
    monkeypatch.setenv("COMFY_UI_DATA_DIR", str(data))
    (data / "presets").mkdir(parents=True)
    (data / "wildcards").mkdir()
    (data / "wildcards" / "sea.txt").write_text("harbor\n")
    shipped = get_preset("sd15")
    graph = json.loads(graph_text(shipped))
    for node in graph.values():
        if "filename_prefix" in node["inputs"]:
            node["inputs"]["filename_prefix"] = "%date:yyyy%/mine"
    params = tuple(
        param.model_copy(update={"default": "a {calm|calm} bay"}) if param.id == "prompt" else param
        for param in shipped.params
    )
    mine = shipped.model_copy(update={"graph": graph, "params": params, "variants": {}})
    (data / "presets" / "mine.json").write_text(json.dumps(graph))
    (data / "presets" / "mine.toml").write_text(sidecar_text(mine))


def _graph_in(path: Path) -> dict[str, Any]:
    with Image.open(path) as picture:
        graph: dict[str, Any] = json.loads(picture.text["prompt"])
        return graph


def _inputs(graph: dict[str, Any], name: str) -> list[Any]:
    return [node["inputs"][name] for node in graph.values() if name in node["inputs"]]


def test_generate_image_expands_wildcards_and_filename_prefixes(engine, tmp_path: Path) -> None:
    with ComfyClient(url=engine.url) as client:
        result = client.generate_image(
            "a {quiet|quiet} __sea__", preset="mine", seed=7, steps=1, width=384, height=384
        )
        (path,) = result.save(tmp_path / "out")
    graph = _graph_in(path)
    assert "a quiet harbor" in _inputs(graph, "text")
    assert _inputs(graph, "filename_prefix") == [f"{datetime.now().astimezone():%Y}/mine"]


async def test_run_preset_expands_default_prompt_and_prefix(engine, tmp_path: Path) -> None:
    async with ComfyWSClient(url=engine.url) as client:
        result = await client.run("mine")
        (path,) = await result.save(tmp_path / "out")
    graph = _graph_in(path)
    assert "a calm bay" in _inputs(graph, "text")
    assert _inputs(graph, "filename_prefix") == [f"{datetime.now().astimezone():%Y}/mine"]


def test_queue_prompt_of_two_presets_loads_the_settings_once(
    engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []
    monkeypatch.setattr(settings, "load_settings", lambda: loads.append(1) or Settings())
    with ComfyClient(url=engine.url) as client:
        for preset in ("mine", "sd15"):
            client.queue_prompt(preset)
    assert len(loads) == 1


def test_run_graph_leaves_texts_unchanged(engine, tmp_path: Path) -> None:
    graph = {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255},
        },
        "2": {
            "class_type": "SaveImage",
            "inputs": {"filename_prefix": "%date:yyyy%", "images": ["1", 0]},
        },
    }
    with ComfyClient(url=engine.url) as client:
        (path,) = client.run(graph).save(tmp_path / "out")
    assert _graph_in(path) == graph


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_generate_image_takes_an_image_of_a_result(
    kind: str, engine: DemoServer, tmp_path: Path
) -> None:
    async with open_client(kind, engine.url) as client:
        first = await client.generate_image("a bay", preset="sd15", steps=1)
        options = {"preset": "sdxl_img2img", "steps": 1}
        second = await client.generate_image("a bay", image=first.images[0], **options)
        (path,) = await saved(second, tmp_path / "out")
    graph = _graph_in(path)
    names = [
        node["inputs"]["image"] for node in graph.values() if node["class_type"] == "LoadImage"
    ]
    assert names == [f"{first.images[0].filename} [output]"]


async def test_generate_image_takes_an_image_that_came_over_the_socket(engine: DemoServer) -> None:
    graph = image_graph(1)
    graph["2"] = {"class_type": "SaveImageWebsocket", "inputs": {"images": ["1", 0]}}
    async with ComfyWSClient(url=engine.url) as client:
        (image,) = (await client.run(graph)).images
        assert image.type == "websocket"
        result = await client.generate_image("a bay", preset="sdxl_img2img", image=image, steps=1)
    assert result.images
