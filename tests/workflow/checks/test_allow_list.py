"""comfy_ui/workflow/checks/allow_list.py"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from comfy_ui.workflow.checks import allow_list
from comfy_ui.workflow.checks.allow_list import allowed_inputs, check_allowed, is_allowed
from comfy_ui.workflow.fields.field_types import FILE_ROLES
from comfy_ui.workflow.graph import Graph, copied
from comfy_ui.workflow.presets.preset_store import (
    Preset,
    compile_workflow,
    get_preset,
    list_presets,
    load_presets,
)

RUNS = [(preset, variant) for preset in list_presets() for variant in (None, *preset.variants)]
UPLOAD = "our-own-7f3a.png"


def compile_preset(preset: Preset, variant: str | None = None, **values: Any) -> Graph:
    files = {param.id: UPLOAD for param in preset.params if param.role in FILE_ROLES}
    return compile_workflow(preset, variant=variant, **{**files, **values})


def problems_of(graph: Graph, preset: Preset) -> list[str]:
    return [str(problem) for problem in check_allowed(graph, preset, {UPLOAD})]


def test_check_allowed_compiled_presets_are_allowed() -> None:
    loras = [{"name": "sub/a.safetensors", "strength": 0.5}, {"name": "b.safetensors"}]
    for preset, variant in RUNS:
        assert problems_of(compile_preset(preset, variant), preset) == [], (preset.id, variant)
        if preset.lora_slots:
            graph = compile_preset(preset, variant, loras=loras)
            assert problems_of(graph, preset) == [], (preset.id, variant)


@pytest.mark.parametrize(("preset", "variant"), RUNS[::4], ids=lambda x: getattr(x, "id", x))
def test_is_allowed_agrees_with_check_allowed(preset: Preset, variant: str | None) -> None:
    loras = {"loras": [{"name": "a.safetensors", "strength": 0.5}]} if preset.lora_slots else {}
    graph = compile_preset(preset, variant, **loras)
    assert is_allowed(graph, preset, {UPLOAD})
    for other in list_presets()[::6]:
        assert is_allowed(graph, other, {UPLOAD}) is (not problems_of(graph, other))


def test_is_allowed_foreign_graph_is_refused_without_a_comparison(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(allow_list, "check_allowed", None)
    foreign = {"1": {"class_type": "KSampler", "inputs": {}}, "x": {"class_type": "SaveImage"}}
    assert not any(is_allowed(foreign, preset) for preset in list_presets())


def test_check_allowed_compiled_profile_is_allowed() -> None:
    for preset in load_presets().profiles().values():
        assert problems_of(compile_preset(preset), preset) == []


def test_check_allowed_missing_optional_image_is_allowed() -> None:
    preset = get_preset("qwen_image_edit_2511")
    assert problems_of(compile_preset(preset, image2=None, image3=""), preset) == []


def test_check_allowed_alternative_model_of_server_is_allowed() -> None:
    preset = get_preset("z_image_turbo")
    graph = compile_preset(preset)
    graph["3"]["inputs"]["clip_name"] = "sub\\qwen_3_4b_fp8.safetensors"
    assert problems_of(graph, preset) == []


SDXL = get_preset("sdxl_inpaint")


@pytest.mark.parametrize(
    ("node", "name", "value"),
    [
        ("4", "image", "example.png"),
        ("4", "image", "/etc/passwd"),
        ("4", "image", f"../{UPLOAD}"),
        ("4", "image", f"{UPLOAD} [output]"),
        ("4", "image", ["1", 0]),
        ("9", "filename_prefix", "../../x"),
        ("9", "filename_prefix", "%year%"),
        ("9", "images", ["4", 0]),
        ("1", "ckpt_name", "../secret.safetensors"),
        ("1", "ckpt_name", "/abs.safetensors"),
        ("1", "ckpt_name", "C:\\x.safetensors"),
        ("1", "ckpt_name", "a\0b"),
        ("1", "ckpt_name", ["2", 0]),
        ("1", "ckpt_name", 5),
        ("7", "steps", 10_000),
        ("7", "steps", "20"),
        ("7", "steps", True),
        ("7", "steps", float("nan")),
        ("7", "seed", -1),
        ("7", "seed", 2**64),
        ("7", "seed", 10**400),
        ("7", "cfg", 10**400),
        ("7", "cfg", ["1", 0]),
        ("2", "text", {"__value__": []}),
        ("2", "text", ["3", 0]),
        ("2", "text", "x" * 200_000),
        ("2", "clip", ["1", 0]),
        ("6", "noise_mask", False),
        ("6", "noise_mask", 1),
        ("5", "unknown", 1),
        ("7", "is_changed", "x"),
    ],
)
def test_check_allowed_changed_input_is_reported(node: str, name: str, value: Any) -> None:
    graph = compile_preset(SDXL)
    graph[node]["inputs"][name] = value
    problems = check_allowed(graph, SDXL, {UPLOAD})
    assert [(p.kind, p.node, p.input) for p in problems] == [("not_allowed", node, name)]


@pytest.mark.parametrize(
    "extra",
    [
        {"class_type": "LoadImage", "inputs": {"image": "/etc/passwd"}},
        {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "x"}},
        {"class_type": "LoraLoader", "inputs": {"lora_name": "a"}},
        {
            "class_type": "LoraLoader",
            "inputs": {
                "lora_name": "../a",
                "strength_model": 1,
                "strength_clip": 1,
                "model": ["1", 0],
                "clip": ["1", 1],
            },
        },
        {
            "class_type": "LoraLoaderModelOnly",
            "inputs": {"lora_name": "a", "strength_model": 1e9, "model": ["1", 0]},
        },
    ],
)
def test_check_allowed_added_node_is_rejected(extra: dict[str, Any]) -> None:
    assert problems_of(compile_preset(SDXL) | {"99": extra}, SDXL)


def test_check_allowed_cyclic_or_misplaced_lora_is_rejected() -> None:
    lora = {
        "class_type": "LoraLoader",
        "inputs": {
            "lora_name": "a",
            "strength_model": 1,
            "strength_clip": 1,
            "model": ["99", 0],
            "clip": ["1", 1],
        },
    }
    graph = compile_preset(SDXL) | {"99": lora}
    graph["10"]["inputs"]["model"] = ["99", 0]
    assert problems_of(graph, SDXL)
    graph["99"]["inputs"]["model"] = ["10", 0]
    assert problems_of(graph, SDXL)


def test_check_allowed_changed_class_is_rejected() -> None:
    graph = compile_preset(SDXL)
    graph["9"]["class_type"] = "PreviewImage"
    assert "another class" in problems_of(graph, SDXL)[0]


def test_check_allowed_missing_node_or_input_is_rejected() -> None:
    graph = compile_preset(SDXL)
    del graph["9"]
    assert "missing" in problems_of(graph, SDXL)[0]
    graph = compile_preset(SDXL)
    del graph["7"]["inputs"]["seed"]
    assert problems_of(graph, SDXL)


@pytest.mark.parametrize(
    "graph",
    [{}, {"1": 5}, {"1": {"class_type": "A"}}, {"1": {"class_type": "A", "inputs": [], "x": 1}}],
)
def test_check_allowed_invalid_graph_is_rejected(graph: Any) -> None:
    assert problems_of(graph, SDXL)


def test_check_allowed_upload_of_another_user_is_rejected() -> None:
    graph = compile_preset(SDXL)
    assert check_allowed(graph, SDXL, {"another.png"})
    assert check_allowed(graph, SDXL)


def test_allowed_inputs_have_params_and_no_paths() -> None:
    pairs = allowed_inputs(SDXL)
    assert ("KSampler", "seed") in pairs
    assert ("LoadImage", "image") in pairs
    assert not {name for _, name in pairs} & {"filename_prefix", "vae", "model", "clip"}
    for preset in list_presets():
        assert "filename_prefix" not in {name for _, name in allowed_inputs(preset)}


HOSTILE = [
    "/etc/passwd", "../x", ["1", 0], ["1", 1], {"__value__": ["1"]}, None, True, -1, 2**70, 1e308,
    "", "%date%", "example.png",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("preset", list_presets(), ids=lambda preset: preset.id)
def test_check_allowed_any_mutation_passes_only_allowed_values(
    preset: Preset, record_property: Callable[[str, object], None]
) -> None:
    """A changed graph that passes differs from the preset only in parameters."""
    rng = random.Random(preset.id)
    good = compile_preset(preset)
    targets = {(t.node, t.input) for param in preset.params for t in param.targets}
    models = {(node, name) for _, node, name in preset.model_inputs(preset.graph)}
    files = {(t.node, t.input) for p in preset.params if p.role in FILE_ROLES for t in p.targets}
    passed = 0
    for _ in range(300):
        graph = copied(good)
        node = rng.choice(list(graph))
        inputs = graph[node]["inputs"]
        match rng.randrange(5):
            case 0 if inputs:
                inputs[rng.choice(list(inputs))] = rng.choice(HOSTILE)
            case 1:
                inputs[rng.choice(["filename_prefix", "image", "x"])] = rng.choice(HOSTILE)
            case 2 if inputs:
                del inputs[rng.choice(list(inputs))]
            case 3:
                graph[node]["class_type"] = rng.choice(["LoadImage", "SaveImage", "EvalPython"])
            case _:
                graph[rng.choice(["99", "1:1", node + "x"])] = {
                    "class_type": rng.choice(["LoraLoader", "SaveImage", "LoadImage"]),
                    "inputs": {"image": "/x", "model": ["1", 0]},
                }
        if check_allowed(graph, preset, {UPLOAD}):
            continue
        passed += 1
        assert set(graph) <= set(good)
        for key in graph:
            assert graph[key]["class_type"] == good[key]["class_type"]
            for name in graph[key]["inputs"].keys() | good[key]["inputs"].keys():
                now, was = (g[key]["inputs"].get(name) for g in (graph, good))
                if json.dumps(now) != json.dumps(was):
                    assert (key, name) in targets | models
                    assert not isinstance(now, list | dict)
                    assert (key, name) not in files
                    assert (key, name) not in models or now not in ("/etc/passwd", "../x", "")
    assert passed < 300
    record_property("graphs mutated", 300)
