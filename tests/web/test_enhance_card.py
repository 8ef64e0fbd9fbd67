from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest

from comfy_ui.prompts import EnhancedPrompt
from comfy_ui.web.components.enhance_card import EnhanceSettings, draft_card, writing_card
from comfy_ui.workflow import get_preset

EVIL = '<img src=x onerror=alert(1)>" onclick="x'


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def _card(preset: str = "sdxl", **fields: str) -> str:
    values = {"enhanced": "a black cat", "negative": "", "original": "a cat", "source": "rules"}
    return draft_card(
        EnhancedPrompt(**{**values, **fields}), get_preset(preset), EnhanceSettings(), ["Ink"]
    )  # type: ignore[arg-type]


def test_draft_card_marks_added_and_removed_text() -> None:
    assert "a <mark>black </mark>cat" in _card()
    assert "a <del>grey </del>cat" in _card(original="a grey cat", enhanced="a cat")


@pytest.mark.parametrize("field", ["enhanced", "negative", "source", "reason", "lyrics"])
def test_draft_card_escapes_every_text_of_a_model(field: str) -> None:
    for card in (_card(**{field: EVIL}), writing_card(EVIL, EVIL)):
        elements = _Elements()
        elements.feed(card)
        assert "img" not in elements.tags
        assert not any(name.startswith("on") for name in elements.attributes)


def test_draft_card_shows_a_negative_only_if_the_preset_has_one() -> None:
    assert "Negative" in _card(negative="dog")
    assert "Negative" not in _card("flux1_dev", negative="dog")


def test_draft_card_shows_lyrics_only_if_the_preset_has_them() -> None:
    assert "Lyrics" in _card("ace_step_15", lyrics="la la")
    assert "Lyrics" not in _card("stable_audio_3", lyrics="la la")


def test_draft_card_names_the_prompt_and_preset_that_it_is_for() -> None:
    card = _card("sdxl", original=' a "cat" ')
    assert 'data-original="a &#34;cat&#34;" data-preset="sdxl"' in card
    described = EnhancedPrompt("a cat", "", "", "rules")
    assert "data-original" not in draft_card(described, get_preset("sdxl"))


def test_draft_card_shows_the_reason_for_the_rules() -> None:
    assert "It was away." in _card(reason="It was away.")


@pytest.mark.parametrize(
    "wishes",
    [
        None,
        7,
        {},
        {"style": "absent", "strength": "huge", "instructions": 7},
        {"style": ["photo"], "strength": {}},
    ],
)
def test_enhance_settings_with_invalid_values_get_defaults(wishes: object) -> None:
    assert EnhanceSettings.parse(json.dumps({"wishes": wishes}), ["photo"]) == EnhanceSettings()
    assert EnhanceSettings.parse("{", ["photo"]) == EnhanceSettings()


def test_enhance_settings_read_valid_values() -> None:
    own = {"instructions": "x" * 5000, "system": "y"}
    text = json.dumps({"wishes": {"style": "Ink", "strength": "strong", **own}, "unlike": "z"})
    wishes = EnhanceSettings.parse(text, ["Ink"])
    assert wishes == EnhanceSettings("Ink", "strong", "x" * 4000, "y", unlike="z")


def test_draft_card_offers_a_system_prompt_only_if_allowed() -> None:
    draft = EnhancedPrompt("a black cat", "", "a cat", "rules")
    assert 'data-wish="system"' in draft_card(draft, get_preset("sdxl"), EnhanceSettings())
    assert 'data-wish="system"' not in draft_card(
        draft, get_preset("sdxl"), EnhanceSettings(system=None)
    )


def test_draft_card_without_changes_shows_the_reason_and_no_use_button() -> None:
    card = _card(enhanced="eine Katze", original=" eine Katze ", reason="English only.")
    assert "English only." in card
    assert "Use" not in card
    assert "eine Katze" not in card
    assert "Retry" in card
    assert "Discard" in card


def test_draft_card_of_a_description_marks_no_changes() -> None:
    draft = EnhancedPrompt("a red square", "", "", "llava")
    card = draft_card(draft, get_preset("sdxl"))
    assert "a red square" in card
    assert "<mark>" not in card
    assert "Retry" not in card
