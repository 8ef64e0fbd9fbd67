from __future__ import annotations

import pytest

from comfy_ui.workflow import compile_workflow
from comfy_ui.workflow.presets.preset_store import Preset, list_presets
from comfy_ui.workflow.video_extension import continue_video, continues_video

FROM_IMAGE = [
    preset for preset in list_presets() if preset.kind == "video" and preset.by_role("image")
]


@pytest.mark.parametrize("preset", FROM_IMAGE, ids=lambda preset: preset.id)
def test_continue_video_leaves_out_the_first_frame_of_every_preset(preset: Preset) -> None:
    images = {param.id: "a.png" for param in preset.params if param.role == "image"}
    values = {"prompt": "a cat"} if preset.by_role("prompt") else {}
    graph = compile_workflow(preset, **values, **images)
    extended = continue_video(graph)
    assert extended is not None
    assert not continues_video(graph)
    assert continues_video(extended)
    (create,) = [node for node in extended.values() if node["class_type"] == "CreateVideo"]
    joint = extended[create["inputs"]["images"][0]]
    assert joint["class_type"] == "ImageFromBatch"
    assert joint["inputs"]["batch_index"] == 1


def test_continue_video_delays_the_sound_as_much() -> None:
    extended = continue_video(compile_workflow("minimax_h3_i2v", prompt="x", image="a.png")) or {}
    (sound,) = [node for node in extended.values() if node["class_type"] == "TrimAudioDuration"]
    assert sound["inputs"]["start_index"] == 1 / 24


def test_continue_video_is_none_for_a_graph_without_video() -> None:
    assert continue_video(compile_workflow("sdxl", prompt="x")) is None
