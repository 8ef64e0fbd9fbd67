"""The preset picker: the chosen preset as a card, and all the others behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..workflow.presets import Preset
from .catalog import Entry
from .html import Html, el, icon

__all__ = ["picker"]

_KINDS: Final = {"image": "Picture", "video": "Video", "audio": "Sound", "text": "Text", "3d": "3D"}
_ICONS: Final = {
    "image": "image",
    "video": "video",
    "audio": "sound",
    "text": "prompt",
    "3d": "image",
}


def picker(entries: Sequence[Entry], chosen: str) -> Html:
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
            [
                el(
                    "button",
                    _face(entry),
                    type="button",
                    class_="option",
                    data_send="choose",
                    data_preset=entry.preset.id,
                    aria_current="true" if entry is current else None,
                )
                for entry in entries
            ],
            class_="options",
        ),
        class_="picker",
        data_close="outside",
    )


def _face(entry: Entry, *, button: bool = False) -> Html:
    preset = entry.preset
    return el(
        "span",
        _picture(preset),
        el(
            "span",
            el("strong", preset.title),
            el(
                "span",
                el("span", icon(_ICONS[preset.kind]), _KINDS[preset.kind], class_="kind"),
                _readiness(entry),
                class_="facts",
            ),
            None if button else el("span", preset.description, class_="about"),
            class_="words",
        ),
        class_="face",
    )


def _readiness(entry: Entry) -> Html:
    if entry.ready is None:
        return el("span", el("i", class_="lamp"), "Not checked", class_="state")
    if entry.ready:
        return el("span", el("i", class_="lamp good"), "Ready", class_="state")
    return el("span", el("i", class_="lamp bad"), entry.lack, class_="state")


def _picture(preset: Preset) -> Html:
    if preset.thumbnail:
        return el("img", class_="cover", src=f"/covers/{preset.id}", alt="")
    hue = sum(ord(letter) * place for place, letter in enumerate(preset.id, 1)) % 360
    return el("span", icon(_ICONS[preset.kind]), class_="cover drawn", style=f"--hue: {hue}")
