"""The menu beside Generate: run first, several at once, a grid, cancel what waits, tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from ....workflow.fields.field_types import MAX_SEED
from ....workflow.presets.preset_store import Preset
from ...components.html import Html
from ...components.templates import render
from .form_state import FormState

__all__ = ["menu", "series"]

_TIMES: Final = (1, 2, 4, 8, 16)


def series(draft: FormState, preset: Preset) -> Iterator[FormState]:
    """The drafts of the jobs that one press asks for.

    A given seed goes up by the draft's step from job to job; without one each draws its own. In
    the place of another job there is room for the first only.
    """
    seed = preset.by_role("seed")
    first = _whole(draft.values, seed.id) if seed else None
    for number in range(draft.times):
        values = dict(draft.values)
        if seed is not None and first is not None:
            values[seed.id] = (first + number * draft.seed_step) % (MAX_SEED + 1)
        yield replace(
            draft,
            values=values,
            replaces=None if number else draft.replaces,
            press=draft.press and f"{draft.press}/{number}",
        )


def _whole(values: Mapping[str, Any], name: str) -> int | None:
    try:
        number = int(values.get(name) or -1)
    except (TypeError, ValueError):
        return None
    return number if number >= 0 else None


def menu() -> Html:
    """The menu, behind a button."""
    return render("create_tab.html", "generate_menu", counts=_TIMES)
