from __future__ import annotations

import pytest

from comfy_ui.prompts import count_tokens, enhance_prompt
from comfy_ui.prompts.model_families import find_family
from comfy_ui.workflow import list_presets


# Counted with CLIP's own tokenizer.
@pytest.mark.parametrize(
    ("prompt", "true"),
    [
        (
            "1girl, solo, masterpiece, best quality, absurdres, highres, looking at viewer, hat",
            21,
        ),
        ("photo of Hatsune Miku at Shibuya crossing, 35mm f/1.4, ISO 100, 4k uhd", 27),
        ("Ein Kätzchen schläft auf der Fensterbank", 14),
        ("窓辺で眠る猫", 15),
        ("Кошка на окне", 13),
    ],
)
def test_the_estimate_is_near_the_tokenizer(prompt: str, true: int) -> None:
    assert abs(count_tokens(prompt, "SDXL").used - true) <= max(3, true * 0.25)


def test_syntax_costs_nothing() -> None:
    assert count_tokens("(a cat:1.3) <lora:fur:0.8> BREAK", "SDXL").used == 2


def test_clip_reads_in_chunks_and_others_at_once() -> None:
    assert count_tokens("word " * 80, "SDXL").chunks == 2
    assert not count_tokens("word " * 80, "SDXL").fits
    assert count_tokens("word " * 80, "Flux.1").fits


@pytest.mark.parametrize("strength", ["light", "medium", "strong"])
def test_the_rules_stay_within_the_first_chunk_or_the_chunks_of_the_prompt(strength) -> None:
    for prompt in ("a cat", "a cat " + "and a thing " * 20, "a cat " + "and a thing " * 26):
        before = count_tokens(prompt, "SDXL")
        draft = enhance_prompt(
            prompt, style="cinematic", strength=strength, family="SDXL", model="rules"
        )
        assert count_tokens(draft.enhanced, "SDXL").chunks == before.chunks


def test_every_family_of_a_preset_with_a_prompt_is_known() -> None:
    families = {p.family for p in list_presets() if p.by_role("prompt")}
    assert {name for name in families if not find_family(name).names} == set()


def test_an_edit_keeps_the_rest_and_an_animation_only_moves() -> None:
    edit = enhance_prompt("make her hat red, a woman", kind="edit", model="rules")
    assert "Keep" in edit.enhanced
    assert "Lit by" not in edit.enhanced
    moving = enhance_prompt("a fox", kind="i2v", family="Wan", model="rules")
    assert len(moving.changes) == 1


def test_music_gets_what_is_missing_and_no_light() -> None:
    draft = enhance_prompt(
        "slow techno with a female voice", family="ACE-Step", kind="audio", model="rules"
    )
    assert "synth" in draft.enhanced or "bass" in draft.enhanced
    assert "instrumental" not in draft.enhanced
    assert "bpm" not in draft.enhanced
    assert "light" not in draft.enhanced.split()
