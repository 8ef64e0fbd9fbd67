"""comfy_ui/workflow/checks/requirements.py"""

from __future__ import annotations

import pytest

from comfy_ui.protocol.object_info import NodeRegistry
from comfy_ui.workflow.checks.requirements import (
    missing_model,
    missing_nodes,
    preset_problems,
    version_at_least,
)
from comfy_ui.workflow.presets.preset_store import get_preset
from comfy_ui.workflow.presets.schema import ModelRequirement
from tests.conftest import recorded_object_info


@pytest.mark.parametrize(
    ("version", "least", "enough"),
    [
        ("0.33.0", "0.3.64", True),
        ("v0.3.64", "0.3.64", True),
        ("0.3.64", "0.11.0", False),
        ("0.3.64-12-gabcdef", "0.3.64", True),
        ("0.3", "0.3.1", False),
        ("unknown", "0.3.1", True),
        ("", "0.3.1", True),
    ],
)
def test_version_at_least_compares_numerically(version: str, least: str, enough: bool) -> None:
    assert version_at_least(version, least) is enough


def test_preset_problems_variant_adds_its_model_files() -> None:
    info = recorded_object_info("0.33.0")
    preset = get_preset("qwen_image_2512")
    plain = {p.extra["model"].filename for p in preset_problems(preset, info)}
    fast = {p.extra["model"].filename for p in preset_problems(preset, info, variant="4step")}
    assert fast - plain == {"Qwen-Image-2512-Lightning-4steps-V1.0-fp32.safetensors"}


def test_preset_problems_variant_omits_unneeded_model_file() -> None:
    info = recorded_object_info("0.33.0")
    needed = preset_problems(get_preset("flux2_klein_4b"), info, variant="4step")
    names = {problem.extra["model"].filename for problem in needed}
    assert "flux-2-klein-base-4b.safetensors" not in names
    assert "flux-2-klein-4b-fp8.safetensors" in names


def test_preset_problems_missing_class_has_pack_or_update_hint() -> None:
    needed = preset_problems(get_preset("animatediff"), recorded_object_info("0.33.0"), "0.33.0")
    problem = next(p for p in needed if p.kind == "missing_node")
    assert problem.extra["pack"] == "ComfyUI-AnimateDiff-Evolved"
    old = preset_problems(get_preset("flux2_klein_4b"), recorded_object_info("0.3.64"), "0.3.64")
    assert {p.kind for p in old} >= {"comfyui_too_old", "missing_node"}
    old += preset_problems(
        get_preset("hunyuan15_720p_t2v"), recorded_object_info("0.3.64"), variant="1080p"
    )
    assert all("update ComfyUI" in p.hint for p in old if p.kind == "missing_node")


def test_missing_nodes_unknown_class_hint_mentions_manager() -> None:
    assert "ComfyUI-Manager" in missing_nodes(["Unheard"], NodeRegistry({}))["Unheard"].hint


@pytest.mark.parametrize("class_type", ["Unheard", "ADE_AnimateDiffLoaderGen1", "Flux2Scheduler"])
def test_missing_nodes_of_demo_engine_advise_a_real_comfyui(class_type: str) -> None:
    demo = NodeRegistry({"KSampler": {"python_module": "comfy_ui.demo"}})
    hint = missing_nodes([class_type], demo)[class_type].hint
    assert "demo engine" in hint
    assert "--comfyui" in hint
    assert "pdate ComfyUI" not in hint


def test_missing_model_message_has_size_folder_and_login() -> None:
    model = ModelRequirement(
        folder="loras",
        filename="a.safetensors",
        url="https://h/a",
        size_bytes=1_500_000_000,
        gated=True,
    )
    problem = missing_model(model)
    assert problem.message == "The server has no model file 'a.safetensors' (1.5 GB)."
    assert "login" in problem.hint
    assert "models/loras" in problem.hint
    assert "choose that" in missing_model(model, "sub/a.safetensors").hint
