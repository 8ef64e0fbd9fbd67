"""comfy_ui/workflow/presets/graph_builder.py"""

from __future__ import annotations

import json

import pytest

from comfy_ui.workflow import compile_workflow
from comfy_ui.workflow.fields.field_types import FILE_ROLES
from comfy_ui.workflow.model_files import find_model
from comfy_ui.workflow.presets.preset_store import (
    build_graph,
    get_preset,
    list_presets,
    resolve_values,
)


def test_compile_workflow_same_values_return_same_graph() -> None:
    one = compile_workflow("z_image_turbo", prompt="a", seed=5)
    assert one == compile_workflow("z_image_turbo", prompt="a", seed=5)
    assert json.dumps(one) == json.dumps(compile_workflow("z_image_turbo", prompt="a", seed=5))


def test_compile_workflow_without_seed_differs_only_in_seed() -> None:
    one, two = compile_workflow("sdxl"), compile_workflow("sdxl")
    assert one["5"]["inputs"].pop("seed") != two["5"]["inputs"].pop("seed")
    assert one == two


def test_compile_workflow_leaves_preset_graph_unchanged() -> None:
    before = json.dumps(get_preset("sdxl").graph)
    compile_workflow("sdxl", prompt="x", loras=[{"name": "a"}], width=512)
    assert json.dumps(get_preset("sdxl").graph) == before


def test_compile_workflow_rounded_size_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    compile_workflow("z_image_turbo", prompt="a", width=1000, height=1024)
    assert caplog.messages == ["Width 1000 becomes 1008, a multiple of 16."]


def test_compile_workflow_value_is_written_to_all_targets() -> None:
    graph = compile_workflow("flux2_klein_4b", width=768, height=512, seed=1)
    assert graph["8"]["inputs"]["width"] == graph["9"]["inputs"]["width"] == 768
    assert graph["8"]["inputs"]["height"] == graph["9"]["inputs"]["height"] == 512


def test_compile_workflow_formulas_compute_second_stage() -> None:
    graph = compile_workflow("ltx23_t2v", width=1024, height=768, fps=24.5)
    assert (graph["18"]["inputs"]["width"], graph["18"]["inputs"]["height"]) == (512, 384)
    assert graph["21"]["inputs"]["frame_rate"] == 25
    assert graph["37"]["inputs"]["fps"] == 24.5


def test_build_graph_writes_every_target_of_each_preset() -> None:
    for preset in list_presets():
        files = {p.id: f"{p.id}.png" for p in preset.params if p.role in FILE_ROLES}
        values = resolve_values(preset, files)
        graph = build_graph(preset, values)
        for param in preset.params:
            for target in param.targets:
                if target.node in graph and target.transform is None:
                    written = graph[target.node]["inputs"][target.input]
                    assert written == values[param.id], (preset.id, param.id)


def test_compile_workflow_missing_optional_image_removes_its_node() -> None:
    without = compile_workflow("wan22_5b", prompt="x")
    assert "12" not in without
    assert "start_image" not in without["7"]["inputs"]
    assert compile_workflow("wan22_5b", image="a.png")["7"]["inputs"]["start_image"] == ["12", 0]


def test_compile_workflow_missing_reference_image_keeps_others() -> None:
    graph = compile_workflow("qwen_image_edit_2511", image="a.png", image3="c.png")
    assert set(graph["9"]["inputs"]) >= {"image1", "image3"}
    assert "image2" not in graph["9"]["inputs"]


def test_compile_workflow_loras_are_chained_in_slot() -> None:
    graph = compile_workflow(
        "sdxl", seed=1, loras=[{"name": "a", "strength": 0.5}, {"name": "b", "strength": -1}]
    )
    first, second = (key for key, n in graph.items() if n["class_type"] == "LoraLoader")
    assert graph[first]["inputs"]["model"] == ["1", 0]
    assert graph[second]["inputs"] == {
        "lora_name": "b",
        "strength_model": -1,
        "strength_clip": -1,
        "model": [first, 0],
        "clip": [first, 1],
    }
    assert graph["5"]["inputs"]["model"] == [second, 0]
    assert graph["2"]["inputs"]["clip"] == graph["3"]["inputs"]["clip"] == [second, 1]
    assert graph["6"]["inputs"]["vae"] == ["1", 2]


def test_profile_node_classes_include_its_loras() -> None:
    assert "LoraLoaderModelOnly" not in get_preset("wan22_t2v_14b").node_classes
    assert "LoraLoaderModelOnly" in get_preset("wan_fast").node_classes


def test_compile_workflow_lora_is_inserted_for_each_model() -> None:
    graph = compile_workflow("wan22_t2v_14b", seed=1, loras=[{"name": "a"}])
    loras = [n for n in graph.values() if n["class_type"] == "LoraLoaderModelOnly"]
    assert sorted(n["inputs"]["model"] for n in loras) == [["1", 0], ["6", 0]]


def test_compile_workflow_variant_changes_nodes_and_models() -> None:
    graph = compile_workflow("qwen_image_2512", variant="4step", seed=1)
    assert graph["2"]["inputs"]["model"] == ["20", 0]
    assert graph["20"]["class_type"] == "LoraLoaderModelOnly"
    graph = compile_workflow("hunyuan15_720p_t2v", variant="1080p", seed=1, fps=30)
    assert graph["31"]["inputs"]["fps"] == 30
    assert "14" not in graph


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        (["b.ckpt", "a.ckpt"], "a.ckpt"),
        (["sub/a.ckpt"], "sub/a.ckpt"),
        (["sub\\a.ckpt"], "sub\\a.ckpt"),
        (["x/A-Model_fp8.ckpt"], "x/A-Model_fp8.ckpt"),
        (["z.ckpt", 5, None], None),
        ([], None),
    ],
)
def test_find_model_prefers_exact_then_subfolder_then_pattern(present, expected) -> None:
    assert find_model("a.ckpt", present, ["a-model*"]) == expected
