from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from comfy_ui.errors import ValidationError
from comfy_ui.prompts import enhance_prompt, list_styles
from comfy_ui.prompts.vocabulary import vocabulary

SPECIAL = ['"OPEN ALL NIGHT"', "<lora:fur:0.8>", "(soft:1.2)", "__animal__", "{red|blue}", "BREAK"]


@given(
    st.lists(st.one_of(st.sampled_from(SPECIAL), st.text(min_size=1, max_size=12)), min_size=1),
    st.sampled_from(["SDXL", "Flux.1", ""]),
)
def test_the_original_comes_through_untouched_at_the_front(parts: list[str], family: str) -> None:
    prompt = " ".join(parts)
    if not prompt.strip():
        return
    result = enhance_prompt(prompt, family=family)
    assert result.original == prompt
    assert result.enhanced.startswith(prompt.strip().rstrip(" ,.;"))
    assert all(part in result.enhanced for part in parts if part in SPECIAL)


@pytest.mark.parametrize("style", list_styles())
@pytest.mark.parametrize("family", ["SDXL", "Flux.1"])
def test_every_style_adds_something_to_a_bare_prompt(style: str, family: str) -> None:
    result = enhance_prompt("a cat", style=style, family=family)
    assert result.changes
    assert all(change in result.enhanced for change in result.changes)
    assert "{}" not in result.enhanced


def test_what_the_prompt_says_already_is_not_said_again() -> None:
    bare = enhance_prompt("a cat", style="cinematic")
    told = enhance_prompt(
        "film still of a cat, neon light, teal palette, calm, wide shot", style="cinematic"
    )
    assert len(bare.changes) == 5
    assert told.changes == ()
    assert told.enhanced == told.original


def test_tags_for_sdxl_and_sentences_for_flux() -> None:
    tags = enhance_prompt("a cat", family="SDXL", style="detailed")
    prose = enhance_prompt("a cat", family="Flux.1", style="detailed")
    assert "." not in tags.enhanced
    assert tags.enhanced.count(", ") >= len(tags.changes)
    assert prose.enhanced.startswith("a cat. ")
    assert prose.enhanced.endswith(".")


def test_a_negative_prompt_only_where_the_family_uses_one() -> None:
    assert enhance_prompt("portrait of a woman", family="SDXL").negative
    assert enhance_prompt("portrait of a woman", family="Flux.1").negative == ""


def test_a_video_gets_a_movement_unless_it_has_one() -> None:
    moving = enhance_prompt("a fox in the snow", family="Wan", kind="video")
    assert any("camera" in change or "shot" in change for change in moving.changes)
    still = enhance_prompt("the camera pans over a fox", family="Wan", kind="video")
    moves = {move for known in vocabulary()["motion"].values() for move in known}
    assert not moves & set(still.changes)


def test_the_same_seed_gives_the_same_draft_and_another_seed_another() -> None:
    drafts = {enhance_prompt("a cat", style="detailed", seed=n).enhanced for n in range(12)}
    assert len(drafts) > 3
    again = [enhance_prompt("a cat", style="detailed", seed=3).enhanced for _ in range(2)]
    assert again[0] == again[1]


def test_it_says_that_rules_wrote_it() -> None:
    assert enhance_prompt("a cat").source == "rules"


@pytest.mark.parametrize("prompt", ["", "   \n "])
def test_an_empty_prompt_is_an_error(prompt: str) -> None:
    with pytest.raises(ValidationError, match="no prompt"):
        enhance_prompt(prompt)


def test_an_unknown_style_offers_the_closest() -> None:
    with pytest.raises(ValidationError, match="Did you mean 'cinematic'"):
        enhance_prompt("a cat", style="cinmatic")


def test_every_aspect_of_every_style_has_words_and_a_sentence() -> None:
    known = vocabulary()
    for style in list_styles():
        for aspect in known["styles"][style]["aspects"]:
            assert aspect in known["sentences"]
            assert (
                known["styles"][style].get(aspect)
                or known["styles"]["any"].get(aspect)
                or aspect == "framing"
            ), (style, aspect)
