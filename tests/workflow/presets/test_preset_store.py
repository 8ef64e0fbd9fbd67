"""comfy_ui/workflow/presets/preset_store.py and the shipped presets."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.errors import UnknownPresetError, ValidationError
from comfy_ui.resources import workflows_dir
from comfy_ui.workflow import (
    VIDEO_PRESETS,
    compile_workflow,
    get_preset,
    get_recommended_preset,
    list_presets,
    list_video_presets,
)
from comfy_ui.workflow.checks.graph_checks import check_workflow
from comfy_ui.workflow.checks.requirements import preset_problems, version_at_least
from comfy_ui.workflow.fields.field_types import FILE_ROLES
from comfy_ui.workflow.fields.param_values import value_problems
from comfy_ui.workflow.graph import Graph, inputs_of
from comfy_ui.workflow.presets import preset_store
from comfy_ui.workflow.presets.preset_store import (
    Preset,
    load_preset,
    load_presets,
)
from tests.workflow.presets.support import SIDECAR, write_preset

SHIPPED = load_presets()
EVERY = {**SHIPPED, **SHIPPED.profiles()}
RUNS = [(preset, variant) for preset in EVERY.values() for variant in (None, *preset.variants)]
PICTURE = "example.png"


def compile_preset(preset: Preset, variant: str | None, object_info: Any = None) -> Graph:
    files = {param.id: PICTURE for param in preset.params if param.role in FILE_ROLES}
    return compile_workflow(preset, object_info=object_info, variant=variant, **files)


def test_load_presets_shipped_presets_have_no_problems() -> None:
    assert SHIPPED.problems == ()
    assert len(SHIPPED) == len(list(workflows_dir().glob("*.toml"))) >= 30
    assert {path.stem for path in workflows_dir().glob("*.json")} == set(SHIPPED)


def test_list_presets_first_image_preset_is_z_image_turbo() -> None:
    assert list_presets(kind="image")[0].id == "z_image_turbo"


def test_check_workflow_shipped_presets_pass_on_recorded_servers(
    object_info: dict[str, Any],
) -> None:
    """If the classes exist, only missing model files prevent a run."""
    server = "0.3.64" if len(object_info) < 600 else "0.33.0"
    for preset, variant in RUNS:
        problems = check_workflow(
            compile_preset(preset, variant, object_info), object_info, uploads={PICTURE}
        )
        kinds = {problem.kind for problem in problems} - {"missing_model"}
        if "missing_node" in kinds:
            assert preset.custom_nodes or preset.min_comfyui, preset.id
            continue
        # A core older than the preset's minimum may lack choices as well, but nothing else.
        too_old = not version_at_least(server, preset.min_comfyui or "0")
        allowed = {"value_not_in_list"} if too_old else set()
        assert kinds <= allowed, (preset.id, variant, [*map(str, problems)])


@pytest.mark.parametrize("preset", SHIPPED.values(), ids=lambda preset: preset.id)
def test_shipped_preset_has_valid_defaults_and_texts(preset: Preset) -> None:
    assert preset.title
    assert preset.description.endswith(".")
    assert preset.sample_prompts or preset.by_role("prompt") is None
    assert preset.vram_gb is not None
    assert preset.by_role("seed") or preset.family in ("ESRGAN", "FILM")
    labels = [size.label for size in preset.sizes]
    assert len(labels) == len(set(labels))
    for size in preset.sizes:
        compile_workflow(
            preset,
            size=size.label,
            **{p.id: PICTURE for p in preset.params if p.role in FILE_ROLES},
        )
    for model in preset.all_models():
        assert model.url is None or re.fullmatch(r"https://huggingface\.co/[^?]+", model.url)
        assert model.url is None or model.url.endswith("/" + model.filename)


def test_shipped_presets_every_node_feeds_output() -> None:
    from comfy_ui.workflow.graph import ancestors

    for preset, variant in RUNS:
        graph = compile_preset(preset, variant)
        outputs = (preset.variants[variant].outputs if variant else ()) or preset.outputs
        feeding = ancestors(graph, [output.node for output in outputs])
        assert feeding == set(graph), (preset.id, variant)


def test_shipped_presets_required_models_match_graph() -> None:
    from comfy_ui.workflow.presets.graph_builder import find_variant, models_for

    for preset, variant in RUNS:
        graph = compile_preset(preset, variant)
        values = [value for node in graph for value in inputs_of(graph, node).values()]
        named = {value for value in values if isinstance(value, str)}
        required = {model.filename for model in models_for(preset, find_variant(preset, variant))}
        models = {name for name in named if re.search(r"\.(safetensors|ckpt|pth)$", name)}
        assert required == models, (preset.id, variant)


def test_shipped_preset_save_video_has_old_and_new_inputs() -> None:
    for preset in SHIPPED.values():
        for node in preset.graph.values():
            if node["class_type"] == "SaveVideo":
                assert {"format", "format.codec", "codec"} <= set(node["inputs"]), preset.id
            assert "bit_depth" not in node["inputs"]


def test_get_preset_profile_compiles_with_its_values() -> None:
    quick = get_preset("ltx_quick")
    assert quick.id == "ltx_quick"
    graph = compile_workflow("ltx_quick", seed=1)
    assert (graph["7"]["inputs"]["width"], graph["8"]["inputs"]["steps"]) == (512, 8)
    fast = compile_workflow("wan_fast", seed=1)
    assert {node["class_type"] for node in fast.values()} >= {"LoraLoaderModelOnly"}
    assert fast["9"]["inputs"]["steps"] == 4
    assert fast["9"]["inputs"]["end_at_step"] == fast["10"]["inputs"]["start_at_step"] == 2


def test_video_presets_include_documented_ids() -> None:
    documented = {
        "quick", "standard", "quality", "cinematic", "portrait", "action", "svd_short", "svd_long",
        "hunyuan", "hunyuan_fast", "hunyuan15_720p", "hunyuan15_quality", "hunyuan15_fast",
        "hunyuan15_1080p", "hunyuan15_i2v", "hunyuan15_i2v_fast", "ltx_quick", "ltx_standard",
        "ltx_quality", "wan_1.3b", "wan_14b", "wan_fast", "wan_quality", "mochi", "mochi_short",
    }  # fmt: skip
    assert documented <= set(VIDEO_PRESETS) == set(list_video_presets())
    assert all(preset.kind == "video" for preset in VIDEO_PRESETS.values())


def test_get_recommended_preset_matches_documentation_and_is_monotonic() -> None:
    assert get_recommended_preset(vram_gb=8) == "wan_1.3b"
    assert get_recommended_preset(vram_gb=12) == "ltx_standard"
    assert get_recommended_preset(vram_gb=16) == "hunyuan15_720p"
    assert get_recommended_preset(vram_gb=4) == "wan_1.3b"
    ladder = ["wan_1.3b", "ltx_standard", "hunyuan15_720p", "hunyuan15_quality"]
    ranks = [ladder.index(get_recommended_preset(vram_gb=gb)) for gb in range(1, 200)]
    assert ranks == sorted(ranks)
    assert set(ladder) <= set(VIDEO_PRESETS)
    with pytest.raises(ValidationError):
        get_recommended_preset(vram_gb=0)


def test_get_preset_unknown_id_suggests_closest() -> None:
    with pytest.raises(UnknownPresetError) as caught:
        get_preset("sdlx")
    assert "'sdxl'" in caught.value.hint


def test_preset_problems_lists_old_core_and_missing_models(object_info: dict[str, Any]) -> None:
    problems = preset_problems(get_preset("z_image_turbo"), object_info, "0.3.64")
    assert [p.kind for p in problems] == ["comfyui_too_old", *["missing_model"] * 3]
    model = problems[-1].extra["model"]
    assert model.folder == "diffusion_models"
    assert model.url.startswith("https://huggingface.co/Comfy-Org/z_image_turbo/")
    assert model.url in problems[-1].hint


def test_preset_problems_similar_model_file_is_accepted() -> None:
    info = {
        name: {"input": {"required": {}}, "output": [], "output_node": False}
        for name in get_preset("sdxl").node_classes
    }
    info["CheckpointLoaderSimple"]["input"]["required"] = {
        "ckpt_name": [["my/dreamyXL_v8.safetensors"]]
    }
    assert preset_problems(get_preset("sdxl"), info) == []
    graph = compile_workflow("sdxl", object_info=info, seed=1)
    assert graph["1"]["inputs"]["ckpt_name"] == "my/dreamyXL_v8.safetensors"


def object_info_with(width: dict[str, Any]) -> dict[str, Any]:
    """Return the object_info of a server with SIDECAR's node classes and this width input."""
    sizes = {"width": ["INT", width], "height": ["INT", {}], "batch_size": ["INT", {}]}
    return {
        "EmptyImage": {"input": {"required": {**sizes, "color": ["INT", {}]}}, "output": ["IMAGE"]},
        "SaveImage": {"input": {"required": {"images": ["IMAGE"]}}, "output_node": True},
    }


@pytest.mark.parametrize(
    ("width", "expected", "severity"),
    [
        ({"min": 2048, "max": 4096}, "'Width' has no value that the server accepts.", "error"),
        ({"min": 128, "max": 256}, "a default that the server refuses", "warning"),
    ],
)
def test_preset_problems_range_rejected_by_server_is_reported(
    tmp_path: Path, width: dict[str, Any], expected: str, severity: str
) -> None:
    preset = load_preset(write_preset(tmp_path, "mine"))
    (problem,) = preset_problems(preset, object_info_with(width))
    assert expected in problem.message
    assert problem.severity == severity
    assert problem.hint
    assert preset_problems(preset, object_info_with({"min": 1, "max": 4096})) == []


def test_value_problems_shipped_presets_have_none_on_recorded_servers(
    object_info: dict[str, Any],
) -> None:
    for preset in SHIPPED.values():
        assert [*value_problems(preset, object_info)] == [], preset.id


def test_get_preset_new_files_in_folder_are_loaded(tmp_path: Path) -> None:
    with pytest.raises(UnknownPresetError):
        get_preset("mine", folders=[tmp_path])
    write_preset(tmp_path, "mine")
    assert get_preset("mine", folders=[tmp_path]).title == "Mine"
    assert "mine" in load_presets([tmp_path])


def test_get_preset_changed_file_is_reloaded(tmp_path: Path) -> None:
    sidecar = write_preset(tmp_path, "mine")
    first = get_preset("mine", folders=[tmp_path])
    assert get_preset("mine", folders=[tmp_path]) is first
    sidecar.write_text(SIDECAR.replace("Mine", "Yours"))
    os.utime(sidecar, ns=(1, 1))
    assert get_preset("mine", folders=[tmp_path]).title == "Yours"


def test_load_presets_unchanged_folders_are_not_read_again(tmp_path: Path) -> None:
    sidecar = write_preset(tmp_path, "mine")
    first = load_presets([tmp_path])
    assert load_presets([tmp_path]) is first
    sidecar.with_suffix(".webp").write_bytes(b"a thumbnail")
    assert load_presets([tmp_path])["mine"].thumbnail == sidecar.with_suffix(".webp")
    sidecar.unlink()
    assert "mine" not in load_presets([tmp_path])


def test_load_presets_lists_the_shipped_folder_again_only_after_a_change(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_preset(tmp_path, "one")
    monkeypatch.setattr(preset_store, "workflows_dir", lambda: tmp_path)
    listed: list[Path] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: (listed.append(folder), scandir(folder))[1])
    assert [*load_presets()] == [*load_presets()] == ["one"]
    assert listed == [tmp_path]
    os.utime(tmp_path, ns=(0, 0))  # two changes may share a time stamp
    write_preset(tmp_path, "two")
    assert sorted(load_presets()) == ["one", "two"]


def test_load_presets_broken_preset_is_reported_and_others_load(tmp_path: Path) -> None:
    write_preset(tmp_path, "good")
    write_preset(tmp_path, "bad", SIDECAR.replace('"1.width"', '"77.width"'))
    presets = load_presets([tmp_path])
    assert "good" in presets
    (problem,) = presets.problems
    assert "bad.toml" in problem.message
    assert "node '77', which is not in the graph" in problem.message
    with pytest.raises(ValidationError, match="node '77'"):
        get_preset("bad", folders=[tmp_path])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("steps = 1", "steps = ["), "is not TOML"),
        (('title = "Mine"', 'titel = "Mine"'), "titel: Extra inputs are not permitted"),
        (('"1.width"', '"1.wide"'), "input 'wide', which node '1' does not set"),
        (("max = 1024", "max = 1"), "min 64 is above max 1"),
        (('node = "2"', 'node = "5"'), "output node '5' is not in the graph"),
        (("[params.width]", "[params.size]"), "'size' cannot be the id of a parameter"),
        (("schema_version = 1", "schema_version = 2"), "schema_version"),
        (('role = "width"', 'role = "wide"'), "role"),
    ],
)
def test_load_preset_invalid_sidecar_raises_with_message(
    tmp_path: Path, change: tuple[str, str], expected: str
) -> None:
    assert change[0] in SIDECAR
    sidecar = write_preset(tmp_path, "mine", SIDECAR.replace(*change))
    with pytest.raises(ValidationError) as caught:
        load_preset(sidecar)
    assert expected in caught.value.message


def test_load_preset_missing_or_broken_graph_raises(tmp_path: Path) -> None:
    sidecar = write_preset(tmp_path, "mine")
    graph = sidecar.with_suffix(".json")
    for text, expected in (
        ("{", "is not JSON"),
        ("[]", "graph"),
        ('{"nodes": [], "links": []}', "graph"),
    ):
        graph.write_text(text)
        with pytest.raises(ValidationError, match=expected):
            load_preset(sidecar)
    graph.unlink()
    with pytest.raises(ValidationError, match=r"mine\.json is missing"):
        load_preset(sidecar)


def test_load_preset_thumbnail_next_to_sidecar_is_used(tmp_path: Path) -> None:
    sidecar = write_preset(tmp_path, "mine")
    assert load_preset(sidecar).thumbnail is None
    picture = sidecar.with_suffix(".webp")
    picture.write_bytes(b"RIFF")
    assert load_preset(sidecar).thumbnail == picture
    picture.unlink()
    assert load_presets([tmp_path])["mine"].thumbnail is None


def test_shipped_graphs_have_one_node_per_line() -> None:
    for path in workflows_dir().glob("*.json"):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) == len(json.loads(text)) + 2, path.name


def test_preset_model_dump_round_trips() -> None:
    preset = get_preset("sdxl")
    assert Preset.model_validate(preset.model_dump()) == preset
