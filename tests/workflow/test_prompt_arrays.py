"""Arrays in prompts, also in prompts that are made to be slow."""

from __future__ import annotations

import time

import pytest

from comfy_ui.errors import ValidationError
from comfy_ui.workflow.prompt_arrays import expand_array_values, expand_arrays, prompt_arrays


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


def test_expand_arrays_makes_every_combination_with_the_first_fastest() -> None:
    assert expand_arrays("[[a, b]] fox [[, at night]] [[a, b]]") == [
        "a fox  a",
        "b fox  b",
        "a fox at night a",
        "b fox at night b",
    ]
    assert expand_arrays("a fox") == ["a fox"]
    both = expand_array_values({"prompt": "[[a, b]]", "negative": "[[c, d]]", "n": 1}, ["prompt"])
    assert [each["prompt"] for each in both] == ["a", "b"]
    assert {each["negative"] for each in both} == {"[[c, d]]"}


def test_expand_arrays_of_too_many_combinations_raises_before_it_makes_them() -> None:
    with pytest.raises(ValidationError, match="make 1099511627776 jobs"):
        expand_arrays("".join(f"[[a{n}, b{n}]]" for n in range(40)))
