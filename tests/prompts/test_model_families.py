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
def test_count_tokens_estimate_is_near_tokenizer(prompt: str, true: int) -> None:
    assert abs(count_tokens(prompt, "SDXL").used - true) <= max(3, true * 0.25)


def test_count_tokens_syntax_counts_nothing() -> None:
    assert count_tokens("(a cat:1.3) <lora:fur:0.8> BREAK", "SDXL").used == 2


def test_count_tokens_chunks_only_for_clip() -> None:
    assert count_tokens("word " * 80, "SDXL").chunks == 2
    assert not count_tokens("word " * 80, "SDXL").fits
    assert count_tokens("word " * 80, "Flux.1").fits


@pytest.mark.parametrize("strength", ["light", "medium", "strong"])
def test_enhance_prompt_stays_within_chunks_of_prompt(strength) -> None:
    for prompt in ("a cat", "a cat " + "and a thing " * 20, "a cat " + "and a thing " * 26):
        before = count_tokens(prompt, "SDXL")
        draft = enhance_prompt(
            prompt, style="cinematic", strength=strength, family="SDXL", model="rules"
        )
        assert count_tokens(draft.enhanced, "SDXL").chunks == before.chunks


def test_find_family_knows_family_of_every_prompt_preset() -> None:
    families = {p.family for p in list_presets() if p.by_role("prompt")}
    assert {name for name in families if not find_family(name).names} == set()


def test_enhance_prompt_edit_keeps_scene_and_i2v_adds_motion_only() -> None:
    edit = enhance_prompt("make her hat red, a woman", kind="edit", model="rules")
    assert "Keep" in edit.enhanced
    assert "Lit by" not in edit.enhanced
    moving = enhance_prompt("a fox", kind="i2v", family="Wan", model="rules")
    assert len(moving.changes) == 1


def test_enhance_prompt_music_gets_instruments_and_no_light() -> None:
    draft = enhance_prompt(
        "slow techno with a female voice", family="ACE-Step", kind="audio", model="rules"
    )
    assert "synth" in draft.enhanced or "bass" in draft.enhanced
    assert "instrumental" not in draft.enhanced
    assert "bpm" not in draft.enhanced
    assert "light" not in draft.enhanced.split()
