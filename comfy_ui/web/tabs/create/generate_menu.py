"""The menu beside Generate: run first, several at once, a grid, cancel what waits, tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from ....workflow.fields.roles import MAX_SEED
from ....workflow.presets.preset_store import Preset
from ...components.html import Html, el, icon
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
    """A button that opens the list."""
    return el(
        "details",
        el("summary", icon("arrow"), aria_label="More ways to generate", title="More ways"),
        el(
            "div",
            _entry("run-first", "first", "Run before my others", "Ctrl/⌘ ⇧ Enter"),
            el(
                "fieldset",
                el("legend", "Several at once"),
                el("div", [_times(number) for number in _TIMES], class_="times"),
                el(
                    "label",
                    el("span", "Seed step"),
                    el(
                        "input",
                        type="number",
                        id="seed-step",
                        value="1",
                        min="-1000000",
                        max="1000000",
                        step="1",
                        inputmode="numeric",
                    ),
                    class_="row",
                ),
                el("p", "From a given seed on; else each has its own.", class_="quiet"),
            ),
            _entry("grid", "grid", "Grid of variations …"),
            _entry("clear-queue", "close", "Cancel my waiting jobs"),
            el(
                "label",
                el("input", type="checkbox", id="tell-me", role="switch"),
                el("span", "Tell me when all is done"),
                class_="switch",
            ),
            el(
                "label",
                el("input", type="checkbox", id="with-sound", role="switch"),
                el("span", "With a soft sound"),
                class_="switch",
                hidden=True,
            ),
            class_="entries",
        ),
        class_="menu",
        data_close="outside",
    )


def _entry(do: str, image: str, label: str, key: str = "") -> Html:
    return el(
        "button",
        icon(image),
        el("span", label),
        el("kbd", key) if key else None,
        type="button",
        class_="entry",
        data_do=do,
    )


def _times(number: int) -> Html:
    return el(
        "button",
        f"{number}×",
        type="button",
        class_="time",
        aria_pressed="true" if number == 1 else "false",
        aria_label=f"{number} at once",
        data_do="times",
        data_times=str(number),
    )
