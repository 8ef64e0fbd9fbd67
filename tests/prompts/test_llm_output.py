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
def test_the_prompt_is_found_in_whatever_is_around_it(answer: str) -> None:
    assert read_answer(answer).prompt == GOOD


def test_a_negative_is_read_from_plain_text_as_well() -> None:
    assert read_answer(f"{GOOD}\nNegative prompt: dog, blur").negative == "dog, blur"


@given(st.text(max_size=60), st.integers(0, 200))
def test_what_is_shown_while_it_comes_in_only_grows(prompt: str, cut: int) -> None:
    text = json.dumps({"prompt": prompt})
    assert partial_prompt(text).startswith(partial_prompt(text[:cut]))


@given(st.text(max_size=300))
def test_no_answer_breaks_the_reader(text: str) -> None:
    partial_prompt(text)
    try:
        told = check_answer(read_answer(text), "a cat", find_family("SDXL"))
    except Rejected:
        return
    assert "cat" in told.prompt.lower()
    assert not set("<>{}\n") & set(told.prompt)


def test_a_clip_family_gets_no_more_than_its_encoder_reads() -> None:
    long = "a cat, " + ", ".join(f"thing number{n} {n * 7}" for n in range(60))
    told = check_answer(ModelOutput(long), "a cat", find_family("SDXL")).prompt
    assert count_tokens(told, "SDXL").used <= 75
    assert told.startswith("a cat, thing number0 0")


def test_a_prompt_of_two_chunks_may_fill_two() -> None:
    prompt = "a cat, " + ", ".join(f"word{n}" for n in "abcdefghijklmnopqrstuvwxyzabcdefghijklmnop")
    assert count_tokens(prompt, "SDXL").chunks == 2
    told = check_answer(
        ModelOutput(prompt + "".join(f", {a}rain{b}" for a in "abcdefgh" for b in "abcdefgh")),
        prompt,
        find_family("SDXL"),
    ).prompt
    assert told.startswith(prompt)
    assert count_tokens(told, "SDXL").used <= 150


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
def test_an_answer_in_the_language_of_the_prompt_is_taken(prompt: str, answer: str) -> None:
    assert check_answer(ModelOutput(answer), prompt, find_family("")).prompt == answer


def test_the_negative_of_a_family_without_one_is_dropped() -> None:
    assert (
        check_answer(ModelOutput(GOOD, negative="dog"), "a cat", find_family("Flux.1")).negative
        == ""
    )
    assert (
        check_answer(ModelOutput(GOOD, negative="dog"), "a cat", find_family("SDXL")).negative
        == "dog"
    )
