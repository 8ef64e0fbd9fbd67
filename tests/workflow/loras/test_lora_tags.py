"""LoRA tags in prompts."""

from __future__ import annotations

import pytest

from comfy_ui.errors import ValidationError
from comfy_ui.workflow.loras.lora_tags import find_lora_tags, lora_tags, remove_lora_tags


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<lora:ink>", {"name": "ink", "strength": 1.0}),
        ("a <LORA:ink:0.7>, b", {"name": "ink", "strength": 0.7}),
        ("<lyco: sub/ink v2 :-.5>", {"name": "sub/ink v2", "strength": -0.5}),
        ("<lora:ink:1:0.5>", {"name": "ink", "strength": 1.0, "strength_clip": 0.5}),
        ("<lora:ink:off>", {"name": "ink", "strength": 0.0}),
        ("<lora:ink:>", {"name": "ink", "strength": 1.0}),
    ],
)
def test_lora_tags_reads_names_and_weights(text: str, value: dict[str, object]) -> None:
    assert lora_tags(text) == [value]


@pytest.mark.parametrize("text", ["<lora:ink:much>", "<lora:ink:1:1:1>", "<lora:ink:0.5:lbw=x>"])
def test_lora_tags_unreadable_tag_raises_with_the_form(text: str) -> None:
    with pytest.raises(ValidationError, match="cannot be read") as caught:
        lora_tags(f"a {text}")
    assert "<lora:name:0.8>" in caught.value.hint


@pytest.mark.parametrize("text", ["<lora:>", "<lora>", "a <b> c", "<lora:\n:1>", "lora:x:1"])
def test_lora_tags_other_text_has_none(text: str) -> None:
    assert list(find_lora_tags(text)) == []
    assert remove_lora_tags(text) == text
