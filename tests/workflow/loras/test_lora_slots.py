"""Where LoRA loaders are inserted, in presets and in any graph."""

from __future__ import annotations

from typing import Any

import pytest

from comfy_ui.client import ComfyClient
from comfy_ui.demo import DemoServer
from comfy_ui.protocol.object_info import NodeRegistry
from comfy_ui.workflow.checks.allow_list import check_allowed
from comfy_ui.workflow.graph import NodeLink, consumers
from comfy_ui.workflow.loras.lora_slots import find_lora_slots, insert_loras, loras_in_graph
from comfy_ui.workflow.loras.lora_values import LORA_NODES, parse_loras
from comfy_ui.workflow.prepare import prepare
from comfy_ui.workflow.presets.preset_store import load_presets

PRESETS = load_presets()
TAKING_LORAS = [preset for preset in PRESETS.values() if preset.lora_slots]
# Upscalers and 3D models have no LoRAs.
WITHOUT = {
    "upscale_esrgan",
    "upscale_seedvr2",
    "hunyuan3d_v2",
    "video_interpolate",
    "video_upscale",
}
INK = "style/ink_wash_sdxl.safetensors"
HIGH = "wan2.2_t2v_lightx2v_4steps_lora_v1.1_high_noise"


@pytest.fixture(scope="module")
def registry() -> NodeRegistry:
    with DemoServer(speed="instant").in_thread() as server, ComfyClient(url=server.url) as client:
        return client.object_info()


def graph_of(**nodes: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        key[1:]: {"class_type": class_type, "inputs": inputs}
        for key, (class_type, inputs) in nodes.items()
    }


def loaders(graph: dict[str, Any]) -> list[dict[str, Any]]:
    return [node for node in graph.values() if node["class_type"] in LORA_NODES]


def test_presets_other_than_upscalers_and_3d_take_loras() -> None:
    assert PRESETS.keys() - {preset.id for preset in TAKING_LORAS} == WITHOUT


@pytest.mark.parametrize("preset", TAKING_LORAS, ids=lambda preset: preset.id)
def test_prepare_preset_with_tag_and_value_splices_a_valid_chain(
    preset: Any, registry: NodeRegistry
) -> None:
    """For every variant: the server accepts it, and only the loaders read the model itself."""
    files = {param.id: "x.png" for param in preset.params if param.role in ("image", "mask")}
    prompt = preset.by_role("prompt")
    for variant in (None, *preset.variants):
        values: dict[str, Any] = {**files, "variant": variant, "loras": [("ink_wash_sdxl", 1, 0)]}
        plain = prepare(
            preset, {**files, "variant": variant}, presets=PRESETS, uploads={"x.png"},
            object_info=[registry],
        )  # fmt: skip
        if prompt is not None:
            values[prompt.id] = "a bay <lora:Golden_Hour_SD15:0.7>"
        prepared = prepare(
            preset, values, presets=PRESETS, uploads={"x.png"}, object_info=[registry]
        )
        expected_problems = [p for p in plain.problems if p.severity == "error"]
        assert [p for p in prepared.problems if p.severity == "error"] == expected_problems
        slots = [slot.edge for slot in preset.lora_slots]
        count = 2 if prompt is not None else 1
        added = len(loaders(prepared.graph)) - len(loaders(plain.graph))
        assert added == count * len(slots)
        for slot in slots:
            for link in filter(None, slot):
                nodes = [node for node, _ in consumers(prepared.graph, link)]
                readers = {prepared.graph[node]["class_type"] for node in nodes}
                assert readers <= {*LORA_NODES}, (preset.id, link)
        assert "<lora" not in str(prepared.graph)
        assert check_allowed(prepared.graph, preset, {"x.png"}) == []


def test_prepare_two_wan_models_both_get_a_lora_unless_its_name_says_which(
    registry: NodeRegistry,
) -> None:
    values = {"prompt": f"a bay <lora:{HIGH}> <lora:golden_hour_sd15>"}
    graph = prepare("wan22_t2v_14b", values, presets=PRESETS, object_info=[registry]).graph
    names = [node["inputs"]["lora_name"] for node in loaders(graph)]
    assert sorted(names) == [*["golden_hour_sd15.safetensors"] * 2, f"{HIGH}.safetensors"]
    (loader,) = [n for n in loaders(graph) if n["inputs"]["lora_name"].startswith(HIGH)]
    model_file = graph[loader["inputs"]["model"][0]]["inputs"]["unet_name"]
    assert "high_noise" in model_file


def test_prepare_off_or_weight_zero_adds_no_loader(registry: NodeRegistry) -> None:
    values = {
        "prompt": f"a bay <lora:{INK}:0>",
        "loras": [{"name": "no such file", "enabled": False}, (INK.upper(), 0)],
    }
    prepared = prepare("sdxl", values, presets=PRESETS, object_info=[registry])
    assert loaders(prepared.graph) == []
    assert [lora["name"] for lora in prepared.values["loras"]] == ["no such file", INK]


def test_prepare_workflow_with_checkpoint_splices_model_and_clip(registry: NodeRegistry) -> None:
    source = prepare("sdxl", {"prompt": "x"}, presets=PRESETS, object_info=[registry]).graph
    values = {"prompt": f"a bay <lora:{INK}:0.7>", "loras": [(INK, 0.1)]}
    prepared = prepare(source, values, presets=PRESETS, object_info=[registry])
    (loader,) = loaders(prepared.graph)
    assert loader["class_type"] == "LoraLoader"
    assert (loader["inputs"]["strength_model"], loader["inputs"]["strength_clip"]) == (0.7, 0.7)
    assert prepared.values["loras"] == [{"name": INK, "strength": 0.7}]
    assert prepared.problems == ()


def test_prepare_workflow_that_loads_no_model_refuses_loras(registry: NodeRegistry) -> None:
    graph = graph_of(
        n1=("EmptyImage", {"width": 64, "height": 64, "batch_size": 1, "color": 1}),
        n2=("SaveImage", {"images": ["1", 0], "filename_prefix": "x"}),
    )
    with pytest.raises(Exception, match="takes no LoRAs"):
        prepare(graph, {"loras": INK}, presets=PRESETS, object_info=[registry])


def test_find_lora_slots_separate_encoder_is_used_for_families_that_need_it() -> None:
    graph = graph_of(
        n1=("UNETLoader", {"unet_name": "flux.safetensors"}),
        n2=("DualCLIPLoader", {"type": "flux"}),
        n3=("KSampler", {"model": ["1", 0]}),
        n4=("CLIPTextEncode", {"clip": ["2", 0]}),
    )
    assert find_lora_slots(graph) == [(NodeLink("1", 0), NodeLink("2", 0))]
    graph["2"]["inputs"]["type"] = "hunyuan_video"
    assert find_lora_slots(graph) == [(NodeLink("1", 0), None)]


def test_find_lora_slots_unused_models_and_patchers_have_none() -> None:
    graph = graph_of(
        n1=("CheckpointLoaderSimple", {"ckpt_name": "a.safetensors"}),
        n2=("CheckpointLoaderSimple", {"ckpt_name": "refiner.safetensors"}),
        n3=("ModelSamplingSD3", {"model": ["1", 0]}),
        n4=("KSampler", {"model": ["3", 0]}),
    )
    assert find_lora_slots(graph) == [(NodeLink("1", 0), None)]


def test_find_lora_slots_loader_of_a_node_pack_is_found_by_its_outputs() -> None:
    spec = {"input": {"required": {"file": [["m.gguf"]]}}, "output": ["MODEL", "CLIP"]}
    registry = NodeRegistry({"PackLoader": spec})
    graph = graph_of(
        n1=("PackLoader", {"file": "m.gguf"}),
        n2=("KSampler", {"model": ["1", 0]}),
        n3=("CLIPTextEncode", {"clip": ["1", 1]}),
    )
    assert find_lora_slots(graph, registry) == [(NodeLink("1", 0), NodeLink("1", 1))]
    assert find_lora_slots(graph) == []


def test_insert_loras_graph_with_its_own_lora_keeps_it_behind_the_new_ones() -> None:
    graph = graph_of(
        n1=("UNETLoader", {"unet_name": "m.safetensors"}),
        n2=("LoraLoaderModelOnly", {"model": ["1", 0], "lora_name": "own", "strength_model": 1}),
        n3=("KSampler", {"model": ["2", 0]}),
    )
    insert_loras(graph, find_lora_slots(graph), parse_loras([("new", 0.5)]))
    assert graph["3"]["inputs"]["model"] == ["2", 0]
    assert graph["2"]["inputs"]["model"] == ["4", 0]
    assert graph["4"]["inputs"]["model"] == ["1", 0]


def test_loras_in_graph_reads_loaders_of_core_and_packs_once() -> None:
    loader = {"lora_name": "a.safetensors", "strength_model": 0.5, "strength_clip": 0.25}
    graph = graph_of(
        n1=("LoraLoader", loader),
        n2=("LoraLoader", {**loader, "strength_model": ["9", 0]}),
        n3=("Power Lora Loader (rgthree)", {"lora_1": {"on": False, "lora": "b", "strength": 2}}),
    )
    assert loras_in_graph(graph) == [
        {"name": "a.safetensors", "strength": 0.5, "strength_clip": 0.25},
        {"name": "b", "strength": 2.0, "enabled": False},
    ]
