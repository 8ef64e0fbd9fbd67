from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from comfy_ui.prompts.language_models.llm_output import (
    ModelOutput,
    Rejected,
    check_answer,
    partial_prompt,
    read_answer,
)
from comfy_ui.prompts.model_families import count_tokens, find_family

GOOD = "a cat on a sunlit sill, dust in the air"


@pytest.mark.parametrize(
    "answer",
    [
        GOOD,
        json.dumps({"prompt": GOOD}),
        json.dumps({"Enhanced_Prompt": GOOD, "notes": 3}),
        f"```json\n{json.dumps({'prompt': GOOD})}\n```",
        f"Sure! Here is it:\n```\n{GOOD}\n```\nI hope you like it!",
        f"<think>cats… {{}}</think>\n{GOOD}",
        f'Here is your enhanced prompt:\n\n"{GOOD}"\n\nLet me know if you want changes!',
        f"**Enhanced prompt:** {GOOD}",
        f"Prompt: {GOOD}\nNegative prompt: dog",
        f"## {GOOD}",
        f"- {GOOD}",
        f"Certainly! {json.dumps({'prompt': GOOD})} Enjoy!",
        f"“{GOOD}”",
        "a cat on a sunlit sill,\n dust\u200b in the\tair\x07",
    ],
)
def test_read_answer_extracts_prompt_from_surrounding_text(answer: str) -> None:
    assert read_answer(answer).prompt == GOOD


def test_read_answer_plain_text_has_negative() -> None:
    assert read_answer(f"{GOOD}\nNegative prompt: dog, blur").negative == "dog, blur"


@given(st.text(max_size=60), st.integers(0, 200))
def test_partial_prompt_only_grows_with_more_text(prompt: str, cut: int) -> None:
    text = json.dumps({"prompt": prompt})
    assert partial_prompt(text).startswith(partial_prompt(text[:cut]))


@given(st.text(max_size=300))
def test_check_answer_any_text_is_valid_or_rejected(text: str) -> None:
    partial_prompt(text)
    try:
        output = check_answer(read_answer(text), "a cat", find_family("SDXL"))
    except Rejected:
        return
    assert "cat" in output.prompt.lower()
    assert not set("<>{}\n") & set(output.prompt)


def test_check_answer_clip_family_is_cut_to_encoder_length() -> None:
    long = "a cat, " + ", ".join(f"thing number{n} {n * 7}" for n in range(60))
    prompt_text = check_answer(ModelOutput(long), "a cat", find_family("SDXL")).prompt
    assert count_tokens(prompt_text, "SDXL").used <= 75
    assert prompt_text.startswith("a cat, thing number0 0")


def test_check_answer_prompt_of_two_chunks_may_fill_two() -> None:
    prompt = "a cat, " + ", ".join(f"word{n}" for n in "abcdefghijklmnopqrstuvwxyzabcdefghijklmnop")
    assert count_tokens(prompt, "SDXL").chunks == 2
    prompt_text = check_answer(
        ModelOutput(prompt + "".join(f", {a}rain{b}" for a in "abcdefgh" for b in "abcdefgh")),
        prompt,
        find_family("SDXL"),
    ).prompt
    assert prompt_text.startswith(prompt)
    assert count_tokens(prompt_text, "SDXL").used <= 150


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        (
            "Katze am Fenster mit Regen",
            "Eine Katze sitzt am Fenster, der Regen läuft über das Glas",
        ),
        ("a cat and the word 'Ja'", "a cat and the word 'Ja' on a wall in the sun"),
        ('a card that says "I\'m sorry"', 'a card that says "I\'m sorry" on a table'),
        ("кошка на окне", "рыжая кошка на окне в дождь"),
    ],
)
def test_check_answer_in_language_of_prompt_is_accepted(prompt: str, answer: str) -> None:
    assert check_answer(ModelOutput(answer), prompt, find_family("")).prompt == answer


def test_check_answer_negative_is_dropped_for_family_without_one() -> None:
    assert (
        check_answer(ModelOutput(GOOD, negative="dog"), "a cat", find_family("Flux.1")).negative
        == ""
    )
    assert (
        check_answer(ModelOutput(GOOD, negative="dog"), "a cat", find_family("SDXL")).negative
        == "dog"
    )
