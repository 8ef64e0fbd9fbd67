"""The menu beside Generate: run next, several times or until stopped, grid, cancel, notify."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from ....workflow.fields.numbers import MAX_SEED
from ....workflow.presets.preset_store import Preset
from ...components.html import Html
from ...components.templates import render
from .form_state import FormState

__all__ = ["menu", "series"]

_TIMES: Final = (1, 2, 4, 8, 16)


def series(draft: FormState, preset: Preset) -> Iterator[FormState]:
    """Return the form states of the jobs of one press.

    A given seed increases by the form's step from job to job; otherwise each job draws its own.
    Only the first can replace a waiting job.
    """
    seed = preset.by_role("seed")
    first = _whole(draft.values, seed.id) if seed else None
    for number in range(draft.times):
        values = dict(draft.values)
        if seed is not None and first is not None:
            run = draft.repeated * draft.times + number
            values[seed.id] = (first + run * draft.seed_step) % (MAX_SEED + 1)
        yield replace(
            draft,
            values=values,
            replaces=None if number else draft.replaces,
            press=draft.press and f"{draft.press}/{number}",
        )


def _whole(values: Mapping[str, Any], name: str) -> int | None:
    try:
        number = int(values.get(name) or -1)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number >= 0 else None


def menu() -> Html:
    """Render the menu behind a button."""
    return render("create_tab.html", "generate_menu", counts=_TIMES)
