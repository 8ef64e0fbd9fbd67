from __future__ import annotations

import pytest

from comfy_ui.errors import ValidationError
from comfy_ui.prompts import analyze_prompt
from comfy_ui.prompts.rules.vocabulary import vocabulary
from comfy_ui.workflow import get_preset, list_presets


def test_analyze_prompt_documented_example_is_recognized() -> None:
    analysis = analyze_prompt("a cyberpunk city at night")
    assert analysis.intent == "city"
    assert analysis.styles == ("cyberpunk",)
    assert analysis.kind == "image"
    assert "light" in analysis.mentioned
    assert "'city' is a word for city" in analysis.reasons


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [
        ("a short video of waves", "video"),
        ("a calm piano melody", "audio"),
        ("waves", "image"),
        ("remove the car in the background", "edit"),
        ("a man who will remove a car", "image"),
    ],
)
def test_analyze_prompt_kind_follows_wording(prompt: str, kind: str) -> None:
    assert analyze_prompt(prompt).kind == kind


@pytest.mark.parametrize("prompt", ["waves", "a video of waves", "a song about waves"])
def test_analyze_prompt_suggested_preset_exists_and_has_kind(prompt: str) -> None:
    analysis = analyze_prompt(prompt)
    assert get_preset(analysis.suggested_preset).kind == analysis.kind


@pytest.mark.parametrize(
    ("prompt", "preset"),
    [
        ('a shop sign that says "OPEN"', "qwen_image_2512"),
        ("anime girl with an umbrella", "sdxl"),
        ("the sound of rain on a roof", "stable_audio_open"),
        ("a song about rain", "ace_step_15"),
        ("make the sky red", "qwen_image_edit_2511"),
    ],
)
def test_analyze_prompt_preset_follows_wording(prompt: str, preset: str) -> None:
    assert analyze_prompt(prompt).suggested_preset == preset


def test_analyze_prompt_suggests_given_presets_only() -> None:
    assert analyze_prompt("waves", presets={"sd15", "mochi"}).suggested_preset == "sd15"
    assert analyze_prompt("a clip of waves", presets={"sd15", "mochi"}).suggested_preset == "mochi"
    assert analyze_prompt("a clip of waves", presets=()).kind == "video"


def test_vocabulary_presets_of_rules_are_shipped() -> None:
    named = {name for names in vocabulary()["analysis"]["presets"].values() for name in names}
    assert named <= {preset.id for preset in list_presets()}


@pytest.mark.parametrize(
    ("prompt", "wider"),
    [("a mountain lake", True), ("portrait of a woman", False), ("a poster of a lake", False)],
)
def test_analyze_prompt_size_has_shape_of_subject(prompt: str, wider: bool) -> None:
    analysis = analyze_prompt(prompt)
    assert analysis.suggested_size is not None
    width, height = analysis.suggested_size
    assert (width > height) is wider
    assert abs(width * height / 1024**2 - 1) < 0.1
    assert width % 16 == height % 16 == 0


def test_analyze_prompt_size_is_none_for_audio_and_fixed_for_video() -> None:
    assert analyze_prompt("a song").suggested_size is None
    assert analyze_prompt("a video of a woman").suggested_size == (832, 480)
    tall = analyze_prompt("a vertical video of a woman").suggested_size
    assert tall is not None
    assert tall[0] < tall[1]


def test_analyze_prompt_subjects_and_mood_are_recognized() -> None:
    analysis = analyze_prompt("two cats and an owl in a gloomy, quiet library")
    assert analysis.subjects == ("cats", "owl", "library")
    assert analysis.mood == ("gloomy", "quiet")


def test_analyze_prompt_empty_prompt_raises() -> None:
    with pytest.raises(ValidationError):
        analyze_prompt(" <lora:x:1> ")
