"""comfy_ui/workflow/checks/node_packs.py and node_packs.toml"""

from __future__ import annotations

import re

import pytest

from comfy_ui.workflow.checks.node_packs import _packs, find_pack
from tests.conftest import recorded_object_info


@pytest.mark.parametrize(
    ("class_type", "pack"),
    [
        ("VHS_LoadVideo", "ComfyUI-VideoHelperSuite"),
        ("ADE_LoadAnimateDiffModel", "ComfyUI-AnimateDiff-Evolved"),
        ("RIFE VFI", "ComfyUI-Frame-Interpolation"),
        ("CogVideoSampler", "ComfyUI-CogVideoXWrapper"),
        ("Florence2Run", "ComfyUI-Florence2"),
        ("Sam2Segmentation", "ComfyUI-segment-anything-2"),
        ("AudioSeparation", "audio-separation-nodes-comfyui"),
        ("Power Lora Loader (rgthree)", "rgthree-comfy"),
        ("AILab_QwenVL", "ComfyUI-QwenVL"),
        ("ImageRemoveAlpha+", "ComfyUI_essentials"),
        ("SwarmInputText", "SwarmUI's nodes"),
        ("CannyEdgePreprocessor", "comfyui_controlnet_aux"),
    ],
)
def test_find_pack_common_class_returns_pack(class_type: str, pack: str) -> None:
    pack_of_class = find_pack(class_type)
    assert pack_of_class is not None
    assert pack_of_class.name == pack
    assert pack_of_class.url in pack_of_class.install


def test_find_pack_unknown_class_returns_none() -> None:
    assert find_pack("KSampler") is None
    assert find_pack("") is None


def test_node_packs_entries_are_complete_and_unique() -> None:
    names = [pack.name for pack in _packs()]
    assert len(names) == len(set(names))
    for pack in _packs():
        assert re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", pack.url)
        assert pack.classes


def test_find_pack_patterns_match_few_core_classes() -> None:
    core = [name for name in recorded_object_info("0.33.0") if find_pack(name) is not None]
    assert len(core) <= 8, core
