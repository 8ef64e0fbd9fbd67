"""The preset picker: the chosen preset as a card, and all the others behind it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

from ...resources import assets_dir
from ...workflow.presets.preset_store import Preset, list_presets
from ..preset_catalog import CatalogEntry, grouped
from .html import Html, el, icon

__all__ = ["KINDS", "KIND_ICONS", "cover", "picker", "picture_of", "readiness"]

KINDS: Final = {"image": "Picture", "video": "Video", "audio": "Sound", "text": "Text", "3d": "3D"}
KIND_ICONS: Final = {
    "image": "image",
    "video": "video",
    "audio": "sound",
    "text": "prompt",
    "3d": "image",
}


def picker(entries: Sequence[CatalogEntry], chosen: str) -> Html:
    """The card of the chosen preset; a click opens the list of all."""
    current = next((entry for entry in entries if entry.preset.id == chosen), None)
    if current is None:
        return Html("")
    return el(
        "details",
        el(
            "summary",
            _face(current, button=True),
            icon("arrow"),
            aria_label=f"Preset: {current.preset.title}. Choose another",
        ),
        el(
            "div",
            el(
                "input",
                type="search",
                class_="filter",
                placeholder="Find a preset",
                aria_label="Find a preset",
                data_filter=".option",
            ),
            [_group(title, found, current) for title, found in grouped(entries)],
            class_="options",
        ),
        class_="picker",
        data_close="outside",
    )


def _group(title: str, entries: Sequence[CatalogEntry], current: CatalogEntry) -> Html:
    return el(
        "div",
        el("h2", title),
        [_option(entry, chosen=entry.preset.id == current.preset.id) for entry in entries],
        class_="group",
    )


def _option(entry: CatalogEntry, *, chosen: bool) -> Html:
    preset = entry.preset
    return el(
        "button",
        _face(entry),
        type="button",
        class_="option",
        data_send="choose",
        data_preset=preset.id,
        data_find=" ".join((preset.title, preset.family, preset.id, *preset.tags)).lower(),
        aria_current="true" if chosen else None,
    )


def _face(entry: CatalogEntry, *, button: bool = False) -> Html:
    preset = entry.preset
    return el(
        "span",
        picture_of(preset),
        el(
            "span",
            el("strong", preset.title, translate="no"),
            el(
                "span",
                el("span", icon(KIND_ICONS[preset.kind]), KINDS[preset.kind], class_="kind"),
                readiness(entry),
                class_="facts",
            ),
            None if button else _about(preset),
            class_="words",
        ),
        class_="face",
    )


def _about(preset: Preset) -> Html:
    """The shipped descriptions are in every language; another author's are left as they are."""
    own = None if preset.description in _shipped() else "no"
    return el("span", preset.description, class_="about", translate=own)


@cache
def _shipped() -> frozenset[str]:
    return frozenset(preset.description for preset in list_presets())


def readiness(entry: CatalogEntry) -> Html:
    """A lamp and a word: ready, or what is missing."""
    if entry.ready is None:
        return el("span", el("i", class_="lamp"), "Not checked", class_="state")
    if entry.ready:
        return el("span", el("i", class_="lamp good"), "Ready", class_="state")
    return el("span", el("i", class_="lamp bad"), entry.lack, class_="state")


def cover(preset: Preset) -> Path | None:
    """The picture of a preset: its author's, else one that the embedded engine has painted."""
    if preset.thumbnail is not None:
        return Path(preset.thumbnail)
    painted = assets_dir() / "covers" / f"{preset.id}.webp"
    return painted if painted.is_file() else None


def picture_of(preset: Preset) -> Html:
    """Its cover, or a drawn one where it has none."""
    if cover(preset) is not None:
        return el(
            "img",
            class_="cover",
            src=f"/covers/{preset.id}",
            alt="",
            width="48",
            height="48",
            loading="lazy",
        )
    hue = sum(ord(letter) * place for place, letter in enumerate(preset.id, 1)) % 360
    return el("span", icon(KIND_ICONS[preset.kind]), class_="cover drawn", style=f"--hue: {hue}")
