from __future__ import annotations

import pytest

from comfy_ui.errors import ValidationError
from comfy_ui.prompts import analyze_prompt
from comfy_ui.prompts.rules.vocabulary import vocabulary
from comfy_ui.workflow import get_preset, list_presets


def test_the_documented_example_is_understood() -> None:
    found = analyze_prompt("a cyberpunk city at night")
    assert found.intent == "city"
    assert found.styles == ("cyberpunk",)
    assert found.kind == "image"
    assert "light" in found.mentioned
    assert "'city' is a word for city" in found.reasons


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
def test_the_kind_of_result_is_found(prompt: str, kind: str) -> None:
    assert analyze_prompt(prompt).kind == kind


@pytest.mark.parametrize("prompt", ["waves", "a video of waves", "a song about waves"])
def test_the_suggested_preset_exists_and_makes_that_kind(prompt: str) -> None:
    found = analyze_prompt(prompt)
    assert get_preset(found.suggested_preset).kind == found.kind


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
def test_the_preset_follows_from_what_is_asked(prompt: str, preset: str) -> None:
    assert analyze_prompt(prompt).suggested_preset == preset


def test_only_presets_that_are_offered_are_suggested() -> None:
    assert analyze_prompt("waves", presets={"sd15", "mochi"}).suggested_preset == "sd15"
    assert analyze_prompt("a clip of waves", presets={"sd15", "mochi"}).suggested_preset == "mochi"
    assert analyze_prompt("a clip of waves", presets=()).kind == "video"


def test_all_presets_that_the_rules_name_are_shipped() -> None:
    named = {name for names in vocabulary()["analysis"]["presets"].values() for name in names}
    assert named <= {preset.id for preset in list_presets()}


@pytest.mark.parametrize(
    ("prompt", "wider"),
    [("a mountain lake", True), ("portrait of a woman", False), ("a poster of a lake", False)],
)
def test_the_size_has_the_shape_of_the_subject(prompt: str, wider: bool) -> None:
    found = analyze_prompt(prompt)
    assert found.suggested_size is not None
    width, height = found.suggested_size
    assert (width > height) is wider
    assert abs(width * height / 1024**2 - 1) < 0.1
    assert width % 16 == height % 16 == 0


def test_sound_has_no_size_and_a_video_keeps_its_own_unless_asked() -> None:
    assert analyze_prompt("a song").suggested_size is None
    assert analyze_prompt("a video of a woman").suggested_size == (832, 480)
    tall = analyze_prompt("a vertical video of a woman").suggested_size
    assert tall is not None
    assert tall[0] < tall[1]


def test_subjects_and_mood_are_found() -> None:
    found = analyze_prompt("two cats and an owl in a gloomy, quiet library")
    assert found.subjects == ("cats", "owl", "library")
    assert found.mood == ("gloomy", "quiet")


def test_an_empty_prompt_is_an_error() -> None:
    with pytest.raises(ValidationError):
        analyze_prompt(" <lora:x:1> ")
