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
    told = {"enhanced": "a black cat", "negative": "", "original": "a cat", "source": "rules"}
    return draft_card(
        EnhancedPrompt(**{**told, **fields}), get_preset(preset), EnhanceSettings(), ["Ink"]
    )  # type: ignore[arg-type]


def test_what_came_and_what_went_is_marked() -> None:
    assert "a <mark>black </mark>cat" in _card()
    assert "a <del>grey </del>cat" in _card(original="a grey cat", enhanced="a cat")


@pytest.mark.parametrize("field", ["enhanced", "negative", "source", "reason", "lyrics"])
def test_nothing_of_a_model_is_markup(field: str) -> None:
    for card in (_card(**{field: EVIL}), writing_card(EVIL, EVIL)):
        found = _Elements()
        found.feed(card)
        assert "img" not in found.tags
        assert not any(name.startswith("on") for name in found.attributes)


def test_a_negative_is_shown_only_where_the_preset_has_one() -> None:
    assert "Negative" in _card(negative="dog")
    assert "Negative" not in _card("flux1_dev", negative="dog")


def test_the_reason_for_the_rules_is_told() -> None:
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
def test_wishes_that_make_no_sense_are_as_by_default(wishes: object) -> None:
    assert EnhanceSettings.parse(json.dumps({"wishes": wishes}), ["photo"]) == EnhanceSettings()
    assert EnhanceSettings.parse("{", ["photo"]) == EnhanceSettings()


def test_wishes_are_read() -> None:
    own = {"instructions": "x" * 5000, "system": "y"}
    text = json.dumps({"wishes": {"style": "Ink", "strength": "strong", **own}, "unlike": "z"})
    wishes = EnhanceSettings.parse(text, ["Ink"])
    assert wishes == EnhanceSettings("Ink", "strong", "x" * 4000, "y", unlike="z")


def test_a_system_prompt_is_offered_to_those_who_may_give_one() -> None:
    draft = EnhancedPrompt("a black cat", "", "a cat", "rules")
    assert 'data-wish="system"' in draft_card(draft, get_preset("sdxl"), EnhanceSettings())
    assert 'data-wish="system"' not in draft_card(
        draft, get_preset("sdxl"), EnhanceSettings(system=None)
    )


def test_a_draft_that_changed_nothing_says_why_and_offers_nothing_to_use() -> None:
    card = _card(enhanced="eine Katze", original=" eine Katze ", reason="English only.")
    assert "English only." in card
    assert "Use" not in card
    assert "eine Katze" not in card
    assert "Retry" in card
    assert "Discard" in card


def test_the_description_of_a_picture_is_no_change_of_a_prompt() -> None:
    told = EnhancedPrompt("a red square", "", "", "llava")
    card = draft_card(told, get_preset("sdxl"))
    assert "a red square" in card
    assert "<mark>" not in card
    assert "Retry" not in card
