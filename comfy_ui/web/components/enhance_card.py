"""The card of a draft below the prompt, and what a person wishes of the next one."""

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
from .html import Html, act, el, icon

__all__ = ["EnhanceSettings", "draft_card", "failed_card", "writing_card"]

_RULES_NAME: Final = "built-in rules"
_MAX_OWN_WORDS: Final = 4000


@dataclass(frozen=True, slots=True)
class EnhanceSettings:
    """How a person wants drafts: kept by the browser, sent with every request."""

    style: str = "balanced"
    strength: Strength = "medium"
    instructions: str = ""
    system: str | None = ""
    """A system prompt of their own, in the place of ours. None: it is not theirs to give."""
    unlike: str = ""
    """Another draft is wanted than this one, which is on the page."""

    @classmethod
    def parse(cls, text: str, styles: Iterable[str]) -> Self:
        """From the page's JSON. What is not as it should be is as it is by default."""
        try:
            raw = json.loads(text)
        except ValueError:
            return cls()
        wished = raw.get("wishes") if isinstance(raw, dict) else None
        if not isinstance(wished, dict):
            return cls()
        right: dict[str, Any] = {}
        if isinstance(unlike := raw.get("unlike"), str):
            right["unlike"] = unlike
        if (style := wished.get("style")) in list(styles):
            right["style"] = style
        if (strength := wished.get("strength")) in get_args(Strength):
            right["strength"] = strength
        for name in ("instructions", "system"):
            if isinstance(told := wished.get(name), str):
                right[name] = told[:_MAX_OWN_WORDS]
        return cls(**right)


def draft_card(
    draft: EnhancedPrompt,
    preset: Preset,
    wishes: EnhanceSettings | None = None,
    styles: Iterable[str] = (),
) -> Html:
    """The draft: what changed is marked, who wrote it, and what can be done with it.

    Without ``wishes`` it is the description of a picture, which no prompt was before.
    """
    negative = draft.negative if preset.by_role("negative") else ""
    changed = draft.enhanced != draft.original.strip()
    tokens = count_tokens(draft.enhanced, preset.family)
    return el(
        "section",
        _head(_RULES_NAME if draft.source == RULES else draft.source),
        el("p", draft.reason, class_="quiet", role="status") if draft.reason else None,
        el("p", _marked(draft) if wishes else draft.enhanced, class_="draft-text")
        if changed
        else None,
        _besides("Negative", negative) if negative and changed else None,
        _besides("Lyrics", draft.lyrics) if draft.lyrics else None,
        el("p", f"About {tokens.used} of {tokens.limit} tokens.", class_="quiet")
        if not tokens.fits
        else None,
        el(
            "div",
            act(
                "check",
                "Use",
                class_="act strong",
                data_send="use",
                data_prompt=draft.enhanced,
                data_negative=negative or None,
                data_lyrics=draft.lyrics or None,
            )
            if changed
            else None,
            act("prompt", "Edit", data_do="edit-draft") if changed else None,
            act("again", "Retry", data_send="retry") if wishes else None,
            act("close", "Discard", data_send="discard"),
            class_="acts",
        ),
        _choices(wishes, styles) if wishes else None,
        class_="draft",
        aria_label="Draft of the prompt",
        aria_live="polite",
    )


def writing_card(text: str, source: str) -> Html:
    """The draft while a model writes it."""
    return el(
        "section",
        _head(source, writing=True),
        el("p", text or "…", class_="draft-text"),
        class_="draft writing",
        aria_label="Draft of the prompt",
        aria_busy="true",
    )


def _head(source: str, *, writing: bool = False) -> Html:
    name = el("span", source, translate="no")
    told: list[Html | str] = [name, " is writing"] if writing else ["by ", name]
    if source == _RULES_NAME:
        told = [f"by {source}"]
    return el(
        "div",
        el("strong", "Draft"),
        el("span", told, class_="quiet"),
        # Above the text, for what is below it walks away from the pointer as it grows.
        act("stop", "Stop", data_send="discard") if writing else None,
        class_="row",
    )


def _besides(label: str, text: str) -> Html:
    return el(
        "p", el("b", f"{label}:"), " ", el("span", text, translate="no"), class_="quiet besides"
    )


def _marked(draft: EnhancedPrompt) -> list[Html | str]:
    tags = {"added": "mark", "removed": "del"}
    return [
        el(tags[run.kind], run.text) if run.kind in tags else run.text
        for run in differences(draft.original.strip(), draft.enhanced)
    ]


def _choices(wishes: EnhanceSettings, styles: Iterable[str]) -> Html:
    """How the next draft is to be. A change asks for one at once."""

    built_in = list_styles()

    def option(value: str) -> Html:
        theirs = value not in built_in and value not in shipped_styles()
        return el(
            "option",
            value if theirs else value.capitalize(),
            value=value,
            selected=value == wishes.style,
            translate="no" if theirs else None,  # ours have names in other languages
        )

    return el(
        "div",
        el(
            "select",
            el("optgroup", [option(name) for name in built_in], label="Ways to write"),
            el("optgroup", [option(name) for name in sorted(styles)], label="Looks"),
            data_wish="style",
            aria_label="Style of the draft",
        ),
        el(
            "select",
            [
                el("option", name.capitalize(), value=name, selected=name == wishes.strength)
                for name in get_args(Strength)
            ],
            data_wish="strength",
            aria_label="Strength of the draft",
        ),
        el(
            "details",
            el("summary", "Own instructions"),
            _own(
                wishes.instructions,
                "instructions",
                "Besides ours",
                "For instance: always photographs, never people",
            ),
            None
            if wishes.system is None
            else _own(
                wishes.system,
                "system",
                "Instead of ours: the whole system prompt",
                "You write prompts for …",
            ),
        ),
        class_="wishes",
    )


def _own(text: str, wish: str, label: str, example: str) -> Html:
    return el(
        "label",
        el("span", label),
        el(
            "textarea",
            text,
            data_wish=wish,
            rows=2,
            maxlength=_MAX_OWN_WORDS,
            placeholder=example,
        ),
    )


def failed_card(error: JobError) -> Html:
    """Why there is no draft."""
    return el(
        "div", icon("alert"), el("p", error.message, " ", error.hint), class_="notice", role="alert"
    )
