"""The preset picker: the chosen preset, and a searchable list of all."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from ...resources import assets_dir
from ...workflow.presets.preset_store import Preset, list_presets
from ..preset_catalog import CatalogEntry, grouped
from .html import Html
from .templates import render

__all__ = ["KINDS", "KIND_ICONS", "Lamp", "cover", "picker", "picture_of", "readiness"]

KINDS: Final = {"image": "Image", "video": "Video", "audio": "Audio", "text": "Text", "3d": "3D"}
_MEMORY_SIZES_GB: Final = (8, 12, 16, 24)
KIND_ICONS: Final = {
    "image": "image",
    "video": "video",
    "audio": "sound",
    "text": "prompt",
    "3d": "image",
}


class Lamp(NamedTuple):
    """A colored dot (``good``, ``bad`` or none) with a text."""

    color: str
    text: str


def picker(entries: Sequence[CatalogEntry], chosen: str, *, online: bool = True) -> Html:
    """The card of the preset ``chosen``, which opens the list of all.

    ``online``: a server answers.
    """
    current = next((entry for entry in entries if entry.preset.id == chosen), None)
    if current is None:
        return Html("")
    return render(
        "preset_picker.html",
        "picker",
        current=_option(current, online=online),
        groups=[
            (title, [_option(entry, online=online) for entry in group])
            for title, group in grouped(entries)
        ],
        kinds={kind: KINDS[kind] for kind in KINDS if kind in {e.preset.kind for e in entries}},
        memory_sizes=_MEMORY_SIZES_GB,
    )


class _Cover(NamedTuple):
    url: str
    icon: str
    hue: int


class _Option(NamedTuple):
    id: str
    title: str
    kind: str
    kind_id: str
    icon: str
    readiness: Lamp
    ready: bool
    vram_gb: float | None
    paid: bool
    description: str
    shipped: bool
    """The locale files have the shipped descriptions only."""
    search_text: str
    cover: _Cover


def _option(entry: CatalogEntry, *, online: bool) -> _Option:
    preset = entry.preset
    return _Option(
        id=preset.id,
        title=preset.title,
        kind=KINDS[preset.kind],
        kind_id=preset.kind,
        icon=KIND_ICONS[preset.kind],
        ready=bool(entry.ready) and online,
        vram_gb=preset.vram_gb,
        paid=entry.paid,
        readiness=readiness(entry, online=online),
        description=preset.description,
        shipped=preset.description in _shipped(),
        search_text=" ".join((preset.title, preset.family, preset.id, *preset.tags)).lower(),
        cover=_cover_of(preset),
    )


@cache
def _shipped() -> frozenset[str]:
    return frozenset(preset.description for preset in list_presets())


def readiness(entry: CatalogEntry, *, online: bool = True) -> Lamp:
    """The state of a preset: ready, or what it lacks. ``online``: a server answers."""
    if not online and not entry.errors:
        return Lamp("", "ComfyUI is offline")
    if entry.ready is None:
        return Lamp("", "Not checked")
    return Lamp("good", "Ready") if entry.ready else Lamp("bad", entry.lack)


def cover(preset: Preset) -> Path | None:
    """The cover of a preset: its author's, else one that the demo engine has drawn."""
    if preset.thumbnail is not None:
        return Path(preset.thumbnail)
    drawn = assets_dir() / "covers" / f"{preset.id}.webp"
    return drawn if drawn.is_file() else None


def picture_of(preset: Preset) -> Html:
    """The cover of a preset, or its icon on the preset's color."""
    return render("preset_picker.html", "cover", cover=_cover_of(preset))


def _cover_of(preset: Preset) -> _Cover:
    return _Cover(
        url="" if cover(preset) is None else f"covers/{preset.id}",
        icon=KIND_ICONS[preset.kind],
        hue=sum(ord(letter) * place for place, letter in enumerate(preset.id, 1)) % 360,
    )
