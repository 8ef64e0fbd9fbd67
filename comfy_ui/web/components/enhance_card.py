"""The card of a prompt draft, and the settings of the next one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Self, get_args

from ...prompts import EnhancedPrompt, Strength, count_tokens, differences, list_styles
from ...prompts.language_models.model_choice import RULES
from ...prompts.styles import shipped_styles
from ...storage.records import JobError
from ...workflow.presets.preset_store import Preset
from .html import Html
from .templates import notice, render

__all__ = ["EnhanceSettings", "draft_card", "failed_card", "writing_card"]

_RULES_NAME: Final = "built-in rules"
_MAX_OWN_WORDS: Final = 4000


@dataclass(frozen=True, slots=True)
class EnhanceSettings:
    """The user's settings for drafts: kept by the browser, sent with every request."""

    style: str = "balanced"
    strength: Strength = "medium"
    instructions: str = ""
    system: str | None = ""
    """Replaces the built-in system prompt. None: this user may not set it."""
    unlike: str = ""
    """The draft on the page, which the next one must differ from."""

    @classmethod
    def parse(cls, text: str, styles: Iterable[str]) -> Self:
        """Read the page's JSON; invalid values get their defaults."""
        try:
            raw = json.loads(text)
        except ValueError:
            return cls()
        wished = raw.get("wishes") if isinstance(raw, dict) else None
        if not isinstance(wished, dict):
            return cls()
        valid: dict[str, Any] = {}
        if isinstance(unlike := raw.get("unlike"), str):
            valid["unlike"] = unlike
        if (style := wished.get("style")) in list(styles):
            valid["style"] = style
        if (strength := wished.get("strength")) in get_args(Strength):
            valid["strength"] = strength
        for name in ("instructions", "system"):
            if isinstance(own := wished.get(name), str):
                valid[name] = own[:_MAX_OWN_WORDS]
        return cls(**valid)


def draft_card(
    draft: EnhancedPrompt,
    preset: Preset,
    wishes: EnhanceSettings | None = None,
    styles: Iterable[str] = (),
) -> Html:
    """The draft with its changes marked, its author, and buttons.

    Without ``wishes`` it is the description of an image, which replaces no prompt.
    """
    negative = draft.negative if preset.by_role("negative") else ""
    tokens = count_tokens(draft.enhanced, preset.family)
    source = _RULES_NAME if draft.source == RULES else draft.source
    original = draft.original.strip()
    changed = draft.enhanced != original
    return _render(
        "draft_card",
        source=source,
        by_rules=source == _RULES_NAME,
        reason=draft.reason,
        runs=[(run.kind, run.text) for run in differences(original, draft.enhanced)]
        if wishes
        else [("same", draft.enhanced)],
        prompt=draft.enhanced,
        original=original if wishes and changed else None,
        preset=preset.id,
        negative=negative,
        lyrics=draft.lyrics if preset.param("lyrics") else "",
        tokens="" if tokens.fits else f"About {tokens.used} of {tokens.limit} tokens.",
        changed=changed,
        wishes=_choices(wishes, styles) if wishes else None,
    )


def writing_card(text: str, source: str, *, starts: bool = False) -> Html:
    """The draft while a model writes it. ``starts``: ComfyUI, which writes it, is starting."""
    by_rules = source == _RULES_NAME
    return _render("writing_card", source=source, by_rules=by_rules, text=text, starts=starts)


def failed_card(error: JobError) -> Html:
    """Why there is no draft."""
    return notice(error.message, error.hint)


def _choices(wishes: EnhanceSettings, styles: Iterable[str]) -> dict[str, Any]:
    """The values of the template's ``settings``. Options are value, label, has a translation."""
    built_in = list_styles()

    def option(value: str) -> tuple[str, str, bool]:
        shipped = value in built_in or value in shipped_styles()
        return value, value.capitalize() if shipped else value, shipped

    return {
        "style": wishes.style,
        "strength": wishes.strength,
        "instructions": wishes.instructions,
        "system": wishes.system,
        "built_in": [option(name) for name in built_in],
        "looks": [option(name) for name in sorted(styles)],
        "strengths": [(name, name.capitalize(), True) for name in get_args(Strength)],
        "max_length": _MAX_OWN_WORDS,
    }


def _render(view: str, **context: object) -> Html:
    return render("enhance_card.html", view, **context)
