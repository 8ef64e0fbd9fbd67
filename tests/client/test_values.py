"""Values for any workflow, and what a result says about its job."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfy_ui import ComfyClient, compile_workflow, errors
from comfy_ui.demo import DemoServer
from tests.client.support import open_client
from tests.graphs import node

BOTH = pytest.mark.parametrize("kind", ["sync", "async"])


@pytest.fixture
def exported() -> dict[str, Any]:
    graph = compile_workflow("sd15", prompt="a lake", negative="blur", seed=1, steps=2)
    titles = {"CLIPTextEncode": ["Positive", "Negative"], "KSampler": ["Main sampler"]}
    for entry in graph.values():
        if entry["class_type"] in titles:
            entry["_meta"] = {"title": titles[entry["class_type"]].pop(0)}
    return graph


@BOTH
async def test_run_values_are_set_by_control_role_title_class_node_id_and_input(
    kind: str, engine: DemoServer, exported: dict[str, Any]
) -> None:
    before = pickle.dumps(exported)
    sampler = next(key for key, node in exported.items() if node["class_type"] == "KSampler")
    async with open_client(kind, engine.url) as client:
        result = await client.run(
            exported,
            values={
                "steps": 3,
                "positive.text": "a harbor",
                "negative": "noise",
                "KSampler.seed": 2**60,
                f"{sampler}.cfg": 5,
                "denoise": 0.5,
            },
        )
    assert result.graph is not None
    inputs = result.graph[sampler]["inputs"]
    assert (inputs["steps"], inputs["cfg"], inputs["seed"]) == (3, 5, 2**60)
    assert inputs["denoise"] == 0.5
    assert (result.seed, result.prompt) == (2**60, "a harbor")
    assert result.values.items() >= {"steps": 3, "cfg": 5, "negative": "noise"}.items()
    assert pickle.loads(pickle.dumps(result)).values == result.values
    assert pickle.dumps(exported) == before


@BOTH
async def test_run_preset_with_values_reports_the_drawn_seed(kind: str, engine: DemoServer) -> None:
    async with open_client(kind, engine.url) as client:
        result = await client.run("sd15", values={"prompt": "a pier", "steps": 1, "seed": -1})
        again = await client.generate_image("a pier", preset="sd15", steps=1, seed=result.seed)
    assert result.seed is not None
    assert result.seed >= 0
    assert result.prompt == "a pier"
    assert again.graph == result.graph
    assert again.cached


@BOTH
async def test_run_plain_graph_result_keeps_the_graph_as_it_was_queued(
    kind: str, engine: DemoServer, exported: dict[str, Any]
) -> None:
    async with open_client(kind, engine.url) as client:
        prompt_id = await client.queue_prompt(exported)
        sampler = next(node for node in exported.values() if node["class_type"] == "KSampler")
        sampler["inputs"]["seed"] = 99
        result = await client.wait_for_completion(prompt_id)
        other = await client.wait_for_completion(prompt_id)
    assert (result.seed, result.prompt) == (1, "a lake")
    assert (other.graph, other.seed) == (result.graph, 1)  # from the server's history


@BOTH
@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("stepz", "Did you mean 'steps'?"),
        ("KSampler.stepz", "Did you mean 'KSampler.steps'?"),
        ("KSampler.model", "That input is linked to"),
        ("CLIPTextEncode.text", "Use one of:"),
        ("text", "Use one of: prompt, negative."),
    ],
)
async def test_run_unknown_or_ambiguous_value_raises_before_queueing(
    kind: str, name: str, hint: str, engine: DemoServer, exported: dict[str, Any]
) -> None:
    async with open_client(kind, engine.url) as client:
        with pytest.raises(errors.ValidationError) as caught:
            await client.run(exported, values={name: 3})
        assert hint in caught.value.hint
        assert not await client.recent()


@pytest.mark.parametrize("values", [["steps"], {3: 8}, "steps=8"])
async def test_run_values_that_are_no_names_with_values_raise_before_queueing(
    values: Any, engine: DemoServer, exported: dict[str, Any]
) -> None:
    with ComfyClient(url=engine.url) as client:
        with pytest.raises(errors.ValidationError, match="maps names to values"):
            client.run(exported, values=values)
        assert not client.recent()


@BOTH
async def test_generate_image_with_loras_loads_and_records_them(
    kind: str, engine: DemoServer
) -> None:
    async with open_client(kind, engine.url) as client:
        loras = [("golden_hour_sd15", 0.8), ("ink_wash_sdxl", 0)]
        result = await client.generate_image("a bay", preset="sd15", steps=1, loras=loras)
        names = [node["inputs"].get("lora_name") for node in result.graph.values()]
        assert [name for name in names if name] == ["golden_hour_sd15.safetensors"]
        assert result.values["loras"][0] == {
            "name": "golden_hour_sd15.safetensors",
            "strength": 0.8,
        }
        graph = {**(await client.run("sd15", values={"prompt": "x", "steps": 1})).graph}
        again = await client.run(graph, values={"prompt": "a bay <lora:ink_wash_sdxl>"})
        assert again.values["loras"][0]["name"] == "style/ink_wash_sdxl.safetensors"
        with pytest.raises(errors.ValidationError, match="has no LoRA 'gone'"):
            await client.generate_image("a bay", preset="sd15", loras=["gone"])


@BOTH
async def test_generate_image_with_controlnets_and_references_uploads_and_records_them(
    kind: str, engine: DemoServer, tmp_path: Path
) -> None:
    room = tmp_path / "room.png"
    Image.new("RGB", (64, 64), "navy").save(room)
    async with open_client(kind, engine.url) as client:
        options = {"preset": "flux1_dev", "steps": 1, "seed": 1, "width": 256, "height": 256}
        result = await client.generate_image(
            "a room",
            controlnets=[{"image": room, "type": "canny", "strength": 0.8}],
            references=[Image.new("RGB", (64, 64), "red")],
            **options,
        )
        (guide,) = result.values["controlnets"]
        assert guide["model"] == "FLUX.1-dev-ControlNet-Union-Pro-2.0.safetensors"
        loaded = {
            n["inputs"].get("image")
            for n in result.graph.values()
            if n["class_type"] == "LoadImage"
        }
        assert loaded == {guide["image"], result.values["references"][0]["image"]}
        graph = {**(await client.run("flux1_dev", values={"prompt": "x", "steps": 1})).graph}
        again = await client.run(graph, values={"controlnets": [guide]})
        assert again.values["controlnets"] == [guide]
        guide["model"] = "flux-union"
        with pytest.raises(errors.UnknownModelError, match="is not a ControlNet"):
            await client.generate_image("x", controlnets=[guide], **options)


@BOTH
async def test_run_value_that_is_a_file_is_uploaded(kind: str, engine: DemoServer) -> None:
    async with open_client(kind, engine.url) as client:
        still = await client.run("sd15", values={"prompt": "a lake", "steps": 1})
        graph = {
            "1": node("LoadImage", image="x.png"),
            "2": node("SaveImage", images=["1", 0], filename_prefix="t"),
        }
        picture = await client.download(still.images[0])
        for source in (picture, still.images[0]):
            assert (await client.run(graph, values={"image": source})).images
