"""Pipeline from a source and values to a graph."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest

from comfy_ui.demo import DemoServer
from comfy_ui.errors import (
    InvalidWorkflowError,
    MissingModelsError,
    UnknownPresetError,
    ValidationError,
)
from comfy_ui.protocol.object_info import NodeRegistry
from comfy_ui.workflow.load import Workflow, load_workflow
from comfy_ui.workflow.model_files import model_folder
from comfy_ui.workflow.prepare import prepare, settable_values, source_problems
from comfy_ui.workflow.presets.preset_store import load_presets

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PRESETS = load_presets()
GRAPH: dict[str, Any] = {
    "1": {
        "class_type": "EmptyImage",
        "inputs": {"width": 64, "height": 48, "batch_size": 1, "color": 255},
    },
    "2": {
        "class_type": "SaveImage",
        "inputs": {"filename_prefix": "%date:yyyy%/x", "images": ["1", 0]},
    },
}


@pytest.fixture(scope="module")
def registry() -> NodeRegistry:
    from comfy_ui.client import ComfyClient

    with DemoServer(speed="instant").in_thread() as server, ComfyClient(url=server.url) as client:
        return client.object_info()


def test_prepare_preset_returns_graph_values_and_templates(registry: NodeRegistry) -> None:
    values = {"prompt": "a {red|blue} __animal__", "seed": 5}
    prepared = prepare(
        "sdxl",
        values,
        presets=PRESETS,
        object_info=[registry],
        wildcards={"animal": ["fox"]},
        now=NOW,
    )
    assert prepared.problems == ()
    assert prepared.templates == {"prompt": "a {red|blue} __animal__"}
    assert prepared.values["prompt"] in {"a red fox", "a blue fox"}
    assert prepared.values["steps"] == PRESETS["sdxl"].by_role("steps").default
    texts = [node["inputs"].get("text") for node in prepared.graph.values()]
    assert prepared.values["prompt"] in texts


def test_prepare_same_arguments_return_same_result(registry: NodeRegistry) -> None:
    first, second = (
        prepare(
            "sdxl",
            {"prompt": "a {red|blue|green} fox"},
            presets=PRESETS,
            object_info=[registry],
            now=NOW,
            rng=random.Random(3),
        )
        for _ in range(2)
    )
    assert first == second


def test_prepare_workflow_sets_controls_and_prefixes(registry: NodeRegistry) -> None:
    prepared = prepare(
        load_workflow(GRAPH), {"width": 96}, presets=PRESETS, object_info=[registry], now=NOW
    )
    assert prepared.graph["1"]["inputs"]["width"] == 96
    assert prepared.graph["2"]["inputs"]["filename_prefix"] == "2026/x"
    assert GRAPH["1"]["inputs"]["width"] == 64


def test_prepare_without_time_keeps_prefixes() -> None:
    assert prepare(GRAPH, {}, presets=PRESETS).graph == GRAPH


def test_prepare_several_servers_uses_first_that_can_run_graph(registry: NodeRegistry) -> None:
    poor = NodeRegistry({"SaveImage": registry.raw["SaveImage"]})
    prepared = prepare(
        "sd15", {"prompt": "x"}, presets=PRESETS, object_info=[poor, registry], now=NOW
    )
    assert prepared.error is None
    neither = prepare("sd15", {"prompt": "x"}, presets=PRESETS, object_info=[poor, poor])
    with pytest.raises(InvalidWorkflowError):
        neither.require_runnable()


def test_prepare_missing_clip_vision_file_is_reported_in_its_folder(
    registry: NodeRegistry,
) -> None:
    raw = dict(registry.raw)
    raw["PreviewVision"] = {
        "input": {"required": {"vision": ["CLIP_VISION"]}},
        "output": [],
        "output_node": True,
    }
    graph = {
        "3": {"class_type": "CLIPVisionLoader", "inputs": {"clip_name": "far.safetensors"}},
        "6": {"class_type": "PreviewVision", "inputs": {"vision": ["3", 0]}},
    }
    prepared = prepare(graph, {}, presets=PRESETS, object_info=[NodeRegistry(raw)])
    error = prepared.error
    assert isinstance(error, MissingModelsError)
    assert [model.folder for model in error.models] == ["clip_vision"]
    assert model_folder("CLIPLoader", "clip_name") == "text_encoders"


@pytest.mark.parametrize(
    ("source", "values", "error"),
    [
        ("sdlx", {}, UnknownPresetError),
        ("sdxl", {"stepz": 3}, ValidationError),
        (GRAPH, {"width": 96}, InvalidWorkflowError),  # no object_info to find the controls with
        ({"a": 1}, {}, InvalidWorkflowError),
    ],
)
def test_prepare_wrong_source_or_value_raises(
    source: Any, values: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        prepare(source, values, presets=PRESETS)


def test_prepare_for_guest_rejects_workflows_and_foreign_files(registry: NodeRegistry) -> None:
    with pytest.raises(ValidationError, match="Only presets"):
        prepare(Workflow("api", graph=GRAPH), {}, presets=PRESETS, guest_uploads=frozenset())
    values = {"prompt": "x", "image": "of-another-user.png"}
    with pytest.raises(InvalidWorkflowError, match="Only your own uploads can be used"):
        prepare("sdxl_img2img", values, presets=PRESETS, guest_uploads=frozenset())
    names = frozenset({"of-another-user.png"})
    assert prepare("sdxl_img2img", values, presets=PRESETS, guest_uploads=names).graph


def test_settable_values_are_params_or_controls(registry: NodeRegistry) -> None:
    params = settable_values("sdxl", registry, presets=PRESETS)
    assert {"prompt", "seed"} <= {param.id for param in params}
    controls = settable_values(GRAPH, registry, presets=PRESETS)
    assert {"width", "height"} <= {control.id for control in controls}


def test_source_problems_preset_needs_no_values(registry: NodeRegistry) -> None:
    assert source_problems("sdxl_img2img", registry, presets=PRESETS) == []
    assert source_problems(GRAPH, registry, presets=PRESETS) == []
    (problem,) = source_problems(
        {**GRAPH, "9": {"class_type": "NoSuchNode", "inputs": {}}}, registry, presets=PRESETS
    )
    assert problem.kind == "missing_node"


def test_prepare_prompt_with_lora_tags_loads_them_and_keeps_the_words(
    registry: NodeRegistry,
) -> None:
    prompt = "a {cat|cat} <lora:ink_wash_sdxl:0.7>, <lyco:Golden_Hour_SD15>, at dusk"
    values = {"prompt": prompt, "negative": "<LORA:fluffy:1> blurry"}
    prepared = prepare("sdxl", values, presets=PRESETS, object_info=[registry])
    texts = [node["inputs"].get("text") for node in prepared.graph.values()]
    assert {"a cat, at dusk", "blurry"} <= {*texts}
    assert prepared.templates["prompt"] == prompt
    assert prepared.values["loras"] == [
        {"name": "style/ink_wash_sdxl.safetensors", "strength": 0.7},
        {"name": "golden_hour_sd15.safetensors", "strength": 1.0},
    ]
    assert prepared.notices == ("LoRA tags have no effect in the negative prompt: fluffy.",)
    again = prepare("sdxl", prepared.values, presets=PRESETS, object_info=[registry])
    assert again.graph == prepared.graph


def test_prepare_lora_tag_of_a_wildcard_is_loaded() -> None:
    wildcards = {"look": ["soft <lora:soft:1>"]}
    prepared = prepare("sdxl", {"prompt": "a bay, __look__"}, presets=PRESETS, wildcards=wildcards)
    assert prepared.values["prompt"] == "a bay, soft"
    assert prepared.values["loras"] == [{"name": "soft", "strength": 1.0}]


@pytest.mark.parametrize("source", ["sdxl", "graph"])
def test_prepare_lora_that_the_server_lacks_raises_with_the_nearest(
    source: str, registry: NodeRegistry
) -> None:
    graph = prepare("sdxl", {"prompt": "x"}, presets=PRESETS, object_info=[registry]).graph
    with pytest.raises(ValidationError, match="no LoRA 'ink_wish_sdxl'") as caught:
        prepare(
            graph if source == "graph" else source,
            {"prompt": "a bay <lora:ink_wish_sdxl>"},
            presets=PRESETS,
            object_info=[registry],
        )
    assert caught.value.hint == "Did you mean 'ink_wash_sdxl'?"


def test_prepare_preset_whose_node_applies_lora_tags_keeps_them() -> None:
    preset = PRESETS.require("sdxl")
    (target,) = preset.by_role("prompt").targets
    reader = {**preset.graph[target.node], "class_type": "ImpactWildcardEncode"}
    preset = preset.model_copy(update={"graph": {**preset.graph, target.node: reader}})
    prepared = prepare(preset, {"prompt": "a bay <lora:soft:1>"}, presets=PRESETS)
    assert prepared.graph[target.node]["inputs"][target.input] == "a bay <lora:soft:1>"
    assert prepared.notices == ()
