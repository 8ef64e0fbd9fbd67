"""Arrays in prompts, also in prompts that are made to be slow."""

from __future__ import annotations

import time

import pytest

from comfy_ui.workflow.prompt_arrays import prompt_arrays


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("[[red, green]] fox", [("red", "green")]),
        ("[[, at night]] [[a,b]] [[a,b]]", [("", "at night"), ("a", "b")]),
        ("[[cat]] [a, b] [[a, [b]]]", []),
    ],
)
def test_prompt_arrays_are_brackets_with_a_comma(text: str, entries: list[tuple[str, ...]]) -> None:
    assert [array.entries for array in prompt_arrays(text)] == entries


@pytest.mark.parametrize(
    "text", ["[[" + "a," * 100_000, "[[a," * 50_000, "[[" * 100_000, "[[" + "," * 200_000 + "]"]
)
def test_prompt_arrays_of_hostile_prompt_take_linear_time(text: str) -> None:
    began = time.process_time()
    assert prompt_arrays(text) == []
    assert time.process_time() - began < 5.0  # backtracking took 96 s for the first
