from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from comfy_ui.prompts.draft import differences
from comfy_ui.prompts.language_models.llm_output import read_answer
from comfy_ui.prompts.protected_spans import (
    ProtectedSpanLostError,
    protected_parts,
    remove_foreign_syntax,
    restore_protected_parts,
)

PARTS = [
    '"OPEN ALL NIGHT"',
    "“Café Ÿ”",
    "(soft light:1.3)",
    "((old:1.1) car:0.9)",
    "<lora:fur_v2:0.8>",
    "__animal/pets__",
    "{red|{dark|pale} blue}",
    "embedding:easy_negative",
    "BREAK",
]
PLAIN = ["a", "cat", "in", "the", "rain,", "with", "lamps."]


@pytest.mark.parametrize("part", PARTS)
def test_protected_parts_each_kind_is_one_part(part: str) -> None:
    assert [span.text for span in protected_parts(f"a cat {part}, in rain")] == [part]


@pytest.mark.parametrize(
    ("prompt", "names"),
    [
        ("a portrait of Marie Curie in Paris", ["Marie Curie", "Paris"]),
        ("New York at night", ["New York"]),
        ("A cat. The dog sleeps", []),
        ("A Red Car On A Blue Street", []),
        ("Cat on a sill", []),
        ("кошка в Москве", ["Москве"]),
    ],
)
def test_protected_parts_capitalized_words_in_sentence_are_names(
    prompt: str, names: list[str]
) -> None:
    assert [part.text for part in protected_parts(prompt)] == names


@given(
    st.lists(st.sampled_from(PARTS + PLAIN), min_size=1, max_size=12),
    st.lists(st.sampled_from([*PARTS, *PLAIN, "soft light", "open all night", "(odd:2)"])),
)
def test_restore_protected_parts_keeps_every_part_or_raises(
    prompt_parts: list[str], answer_parts: list[str]
) -> None:
    prompt, answer = " ".join(prompt_parts), " ".join(answer_parts)
    try:
        result = restore_protected_parts(remove_foreign_syntax(answer, prompt), prompt)
    except ProtectedSpanLostError:
        return
    for part, times in Counter(protected_parts(prompt)).items():
        assert result.count(part.text) >= times


@given(st.lists(st.sampled_from(PARTS + PLAIN), min_size=1, max_size=12))
def test_restore_protected_parts_complete_answer_is_unchanged(parts: list[str]) -> None:
    prompt = " ".join(parts)
    answer = f"{prompt} at dusk"
    assert restore_protected_parts(remove_foreign_syntax(answer, prompt), prompt) == answer


@pytest.mark.parametrize(
    ("answer", "prompt", "restored"),
    [
        ("soft light on a cat", "a cat, (soft light:1.3)", "(soft light:1.3) on a cat"),
        ("(soft light:2) on a cat", "a cat, (soft light:1.3)", "(soft light:1.3) on a cat"),
        ("a sign, 'open'", 'a sign "OPEN"', 'a sign, "OPEN"'),
        ("lamps in paris", "a lamp in Paris", "lamps in Paris"),
        ("a fur cat", "a cat <lora:fur:1>", "a fur cat <lora:fur:1>"),
        ("a cat", "a {red|blue} cat", "a cat {red|blue}"),
    ],
)
def test_restore_protected_parts_puts_lost_part_back(
    answer: str, prompt: str, restored: str
) -> None:
    assert restore_protected_parts(remove_foreign_syntax(answer, prompt), prompt) == restored


@pytest.mark.parametrize(
    ("answer", "prompt"),
    [("a sign", 'a sign "OPEN"'), ("a cat", "a BREAK cat"), ("a city", "a city like Rome")],
)
def test_restore_protected_parts_without_place_raises(answer: str, prompt: str) -> None:
    with pytest.raises(ProtectedSpanLostError):
        restore_protected_parts(answer, prompt)


def test_remove_foreign_syntax_removes_syntax_absent_from_prompt() -> None:
    answer = "a (bright) cat [x] <b>bold</b> <lora:evil:1> __secret__ {a|b} (big:1.5) BREAK"
    cleaned = remove_foreign_syntax(answer, "a cat")
    assert cleaned.split() == ["a", "bright", "cat", "x", "bold", "big"]


@pytest.mark.parametrize(
    "piece", ["(", "(a", "((a)", "{a|", "__a ", "'a ", "A b ", "\0", "`", "< "]
)
def test_protected_parts_hostile_text_is_parsed_in_linear_time(piece: str) -> None:
    text = (piece * 10_000)[:10_000]
    started = time.perf_counter()
    protected_parts(text)
    remove_foreign_syntax(text, text)
    read_answer(text)
    differences(text, text[1:] + " x")
    with suppress(ProtectedSpanLostError):
        restore_protected_parts("a cat", text)
    assert time.perf_counter() - started < 2  # about 0.1 s; minutes with catastrophic backtracking
