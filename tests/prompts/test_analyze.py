from __future__ import annotations

import pytest

from comfy_ui.errors import ValidationError
from comfy_ui.prompts import analyze_prompt
from comfy_ui.workflow import get_preset


def test_the_documented_example_is_understood() -> None:
    found = analyze_prompt("a cyberpunk city at night")
    assert found.intent == "city"
    assert found.styles == ("cyberpunk",)
    assert found.kind == "image"
    assert "light" in found.said
    assert "'city' is a word for city" in found.reasons


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [("a short video of waves", "video"), ("a calm piano melody", "audio"), ("waves", "image")],
)
def test_the_kind_of_result_is_found(prompt: str, kind: str) -> None:
    assert analyze_prompt(prompt).kind == kind


@pytest.mark.parametrize("prompt", ["waves", "a video of waves", "a song about waves"])
def test_the_suggested_preset_exists_and_makes_that_kind(prompt: str) -> None:
    found = analyze_prompt(prompt)
    assert get_preset(found.suggested_preset).kind == found.kind


def test_an_empty_prompt_is_an_error() -> None:
    with pytest.raises(ValidationError):
        analyze_prompt(" <lora:x:1> ")
