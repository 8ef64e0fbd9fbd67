from __future__ import annotations

import re
from typing import get_args

import pytest
from hypothesis import given, strategies as st

from comfy_ui.errors import ValidationError
from comfy_ui.prompts import (
    EnhanceOptions,
    Kind,
    Strength,
    count_tokens,
    enhance_prompt,
    list_styles,
)
from comfy_ui.prompts.model_families import find_family
from comfy_ui.prompts.rules.vocabulary import phrases, vocabulary
from tests.prompts.table import FAMILIES, PROMPTS

SPECIAL = ['"OPEN ALL NIGHT"', "<lora:fur:0.8>", "(soft:1.2)", "__animal__", "{red|blue}", "BREAK"]


@given(
    st.lists(st.one_of(st.sampled_from(SPECIAL), st.text(min_size=1, max_size=12)), min_size=1),
    st.sampled_from(["SDXL", "Flux.1", ""]),
)
def test_enhance_prompt_keeps_original_text_at_front(parts: list[str], family: str) -> None:
    prompt = " ".join(parts)
    if not prompt.strip():
        return
    result = enhance_prompt(prompt, family=family)
    assert result.original == prompt
    assert result.enhanced.startswith(prompt.strip().rstrip(" ,.;"))
    assert all(part in result.enhanced for part in parts if part in SPECIAL)


@pytest.mark.parametrize("style", list_styles())
@pytest.mark.parametrize("family", ["SDXL", "Flux.1"])
def test_enhance_prompt_every_style_adds_to_short_prompt(style: str, family: str) -> None:
    result = enhance_prompt("a cat", style=style, family=family)
    assert result.changes
    assert all(change in result.enhanced for change in result.changes)
    assert "{}" not in result.enhanced


def test_enhance_prompt_adds_nothing_that_prompt_says() -> None:
    bare = enhance_prompt("a cat", style="cinematic")
    complete = enhance_prompt(
        "film still of a cat, neon light, teal palette, calm, wide shot", style="cinematic"
    )
    assert len(bare.changes) == 4
    assert complete.changes == ()
    assert complete.enhanced == complete.original
    assert "nothing to add" in complete.reason


def test_enhance_prompt_writes_tags_for_sdxl_and_sentences_for_flux() -> None:
    tags = enhance_prompt("a cat", family="SDXL", style="detailed")
    prose = enhance_prompt("a cat", family="Flux.1", style="detailed")
    assert "." not in tags.enhanced
    assert tags.enhanced.count(", ") >= len(tags.changes)
    assert prose.enhanced.startswith("a cat, ")
    assert prose.enhanced.endswith(".")


def test_enhance_prompt_negative_only_for_families_that_use_one() -> None:
    assert enhance_prompt("portrait of a woman", family="SDXL").negative
    assert enhance_prompt("portrait of a woman", family="Flux.1").negative == ""


def test_enhance_prompt_video_without_motion_gets_one() -> None:
    moving = enhance_prompt("a fox in the snow", family="Wan", kind="video")
    assert any("camera" in change or "shot" in change for change in moving.changes)
    still = enhance_prompt("the camera pans over a fox", family="Wan", kind="video")
    moves = {prose for rows in phrases()["motion"].values() for _, prose in rows}
    assert moves & set(moving.changes)
    assert not moves & set(still.changes)


def test_enhance_prompt_seed_decides_the_draft() -> None:
    drafts = {enhance_prompt("a cat", style="detailed", seed=n).enhanced for n in range(12)}
    assert len(drafts) > 3
    again = [enhance_prompt("a cat", style="detailed", seed=3).enhanced for _ in range(2)]
    assert again[0] == again[1]


def test_enhance_prompt_unlike_gives_another_draft_for_any_seed() -> None:
    for seed in range(100):  # the rules have eight drafts for this prompt
        first = enhance_prompt("a cat", seed=seed).enhanced
        assert enhance_prompt("a cat", seed=seed, unlike=first).enhanced != first


@pytest.mark.parametrize("prompt", ["一隻貓", "a cat, " + "very detailed and rich words " * 20])
def test_enhance_prompt_unlike_without_alternative_returns_same_draft(prompt: str) -> None:
    first = enhance_prompt(prompt)
    assert enhance_prompt(prompt, unlike=first.enhanced).enhanced == first.enhanced


def test_enhance_prompt_source_is_rules() -> None:
    assert enhance_prompt("a cat").source == "rules"


@pytest.mark.parametrize("prompt", ["", "   \n "])
def test_enhance_prompt_empty_prompt_raises(prompt: str) -> None:
    with pytest.raises(ValidationError, match="no prompt"):
        enhance_prompt(prompt)


def test_enhance_prompt_unknown_style_suggests_closest() -> None:
    with pytest.raises(ValidationError, match="Did you mean 'cinematic'"):
        enhance_prompt("a cat", style="cinmatic")


@pytest.mark.parametrize(
    "prompt", ["ein alter Leuchtturm im Nebel", "窓辺で眠る猫", "el gato negro"]
)
@pytest.mark.parametrize("family", ["SDXL", "Flux.1", "Wan", "ACE-Step"])
def test_enhance_prompt_other_language_is_unchanged_with_reason(prompt: str, family: str) -> None:
    kinds: dict[str, Kind] = {"Wan": "video", "ACE-Step": "audio"}
    kind = kinds.get(family, "image")
    draft = enhance_prompt(prompt, family=family, kind=kind, strength="strong")
    assert draft.enhanced == prompt
    assert "English" in draft.reason


def test_enhance_prompt_longer_prompt_gets_fewer_additions() -> None:
    long = "a cat that sleeps on the blanket which grandmother knitted while " * 6
    counts = [
        len(enhance_prompt(long[:size], family="Flux.1", style="detailed").changes)
        for size in (5, 150, 250, 390)
    ]
    assert counts[0] > counts[1] >= counts[2] > counts[3] == 0


def test_enhance_prompt_quoted_text_does_not_count_as_description() -> None:
    sign = 'a shop sign that says "OPEN ALL NIGHT, RED NEON"'
    draft = enhance_prompt(sign, family="SDXL", style="minimal")
    assert "black" not in draft.enhanced
    assert "text" not in draft.negative
    assert "text" in enhance_prompt("a cat", family="SDXL").negative


def test_enhance_prompt_music_gets_lyrics_and_tempo_but_sounds_do_not() -> None:
    song = enhance_prompt("slow folk song about the sea", family="ACE-Step", kind="audio")
    assert "bpm" not in song.enhanced  # "slow" says it
    assert "vocal" in song.enhanced
    assert song.lyrics == ""
    tune = enhance_prompt("waves", family="ACE-Step", kind="audio")
    assert "instrumental" in tune.enhanced
    assert tune.lyrics == "[instrumental]"
    noise = enhance_prompt("rain on a tin roof", family="Stable Audio", kind="audio")
    assert "recording" in noise.enhanced
    assert "bpm" not in noise.enhanced


WORN_OUT = re.compile(
    r"masterpiece|stunning|breathtaking|award|8k|4k|ultra|hyper|trending|best quality|beautiful"
)
FAULTY = re.compile(r"\b(\w+) \1\b|  |[,.][,.]|, \.|\{\}")


@pytest.mark.parametrize("strength", get_args(Strength))
@pytest.mark.parametrize("name", [name for name, _ in FAMILIES])
def test_enhance_prompt_additions_read_well_for_every_table_prompt(
    strength: Strength, name: str
) -> None:
    options: EnhanceOptions = {**dict(FAMILIES)[name], "strength": strength}
    for prompt in PROMPTS:
        for style in list_styles():
            draft = enhance_prompt(prompt, **options, style=style, model="rules")
            added = draft.enhanced[len(prompt) :]
            assert not WORN_OUT.search(added)
            assert not FAULTY.search(added), added
            assert len(set(draft.changes)) == len(draft.changes), added
            assert count_tokens(draft.enhanced, options["family"]).fits
            if added and find_family(options["family"]).reads == "sentences":
                assert added.endswith(".")
                assert all(text[0].isupper() for text in re.split(r"(?<=\.) ", added)[1:]), added


def test_phrases_every_aspect_of_every_style_has_words() -> None:
    words = phrases()
    for style in list_styles():
        own = words["styles"][style]
        for aspect in own["aspects"]:
            for table in (own.get(aspect), words.get(aspect)):
                assert table is None or "any" in table, (style, aspect)
            assert own.get(aspect) or words.get(aspect)
    keys = {
        *vocabulary()["contexts"],
        *vocabulary()["subjects"],
        "any",
        "indoors",
        "ceiling",
        "lively",
    }
    for aspect in ("framing", "light", "detail", "colour", "mood", "motion"):
        assert words[aspect].keys() <= keys
