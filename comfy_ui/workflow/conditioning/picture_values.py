"""Values that are lists of pictures with options: ``controlnets`` and ``references``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from ...errors import ValidationError

__all__ = [
    "PICTURE_VALUES",
    "active",
    "flag",
    "number",
    "picture_name",
    "pictures_in",
    "read_entries",
]


class PictureValue(NamedTuple):
    """One of these values: the word for an entry, the keys of a text's first part, the limit."""

    noun: str
    first: tuple[str, ...]
    most: int


PICTURE_VALUES: Final[Mapping[str, PictureValue]] = {
    "controlnets": PictureValue("ControlNet", ("type", "image"), 8),
    "references": PictureValue("reference", ("image",), 8),
}
"""These values by name. Presets and workflows have them beside their own."""

_MAX_NAME: Final = 400


def read_entries(name: str, value: Any) -> list[dict[str, Any]]:
    """Return the entries of any form of a value as dicts, unchecked.

    An entry is a dict, or a text such as ``canny=edges.png,strength=0.8`` for ``controlnets`` and
    ``face.png,strength=0.8`` for ``references``. The whole may be JSON, as forms send it.

    Raises:
        ValidationError: another form, or too many entries.
    """
    noun, _, most = PICTURE_VALUES[name]
    if value is None or value in ("", [], ()):
        return []
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise _wrong_form(name) from None
    if not isinstance(value, list | tuple):
        value = [value]
    if len(value) > most:
        raise ValidationError(
            f"A job can have {most} {noun}s, not {len(value)}.", hint="Remove some of them."
        )
    return [_entry(name, one) for one in value]


def active(entries: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the entries that have an effect: enabled, with a strength other than 0."""
    return [one for one in entries if one.get("enabled", True) and one["strength"]]


def number(entry: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    """Return a number of an entry.

    Raises:
        ValidationError: it is not a number from ``low`` to ``high``.
    """
    value = entry.get(name, default)
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = math.nan
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        raise ValidationError(
            f"'{name}' cannot be {str(value)[:60]}.",
            hint=f"Choose a value from {low:g} to {high:g}.",
        )
    return float(value)


def flag(name: str, entry: Mapping[str, Any], key: str, default: bool) -> bool:
    """Return a switch of an entry of the value ``name``.

    Raises:
        ValidationError: it is neither true nor false.
    """
    value = entry.get(key, default)
    value = {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value
    if not isinstance(value, bool):
        raise _wrong_form(name)
    return value


def picture_name(name: str, entry: Mapping[str, Any]) -> str:
    """Return the name of an entry's picture on the server.

    Raises:
        ValidationError: it has none.
    """
    image = entry.get("image")
    if not image:
        raise ValidationError(f"Choose an image for the {PICTURE_VALUES[name].noun}.")
    if not isinstance(image, str) or len(image) > _MAX_NAME:
        raise _wrong_form(name)
    return image


def pictures_in(values: Mapping[str, Any]) -> list[str]:
    """Return the names of the pictures in a job's values.

    Raises:
        ValidationError: as :func:`read_entries`.
    """
    return [
        entry["image"]
        for name in PICTURE_VALUES
        for entry in read_entries(name, values.get(name))
        if isinstance(entry.get("image"), str)
    ]


def _entry(name: str, value: Any) -> dict[str, Any]:
    first = PICTURE_VALUES[name].first
    if isinstance(value, Mapping):
        return {str(key): part for key, part in value.items()}
    if not isinstance(value, str):
        if len(first) > 1:
            raise _wrong_form(name)
        return {first[0]: value}  # a file that a client uploads
    head, *options = value.split(",")
    parts = head.split("=", len(first) - 1)
    pairs = [*zip(first, parts, strict=False), *(part.partition("=")[::2] for part in options)]
    if len(parts) != len(first) or not all(key and text for key, text in pairs):
        raise _wrong_form(name)
    return {key.strip(): text.strip() for key, text in pairs}


def _wrong_form(name: str) -> ValidationError:
    noun, first, _ = PICTURE_VALUES[name]
    form = ", ".join(f"'{key}': {key.upper()}" for key in (*first, "strength"))
    return ValidationError(
        f"A {noun} must have the form {{{form}}}.",
        hint=f"Or {'='.join(key.upper() for key in first)},strength=NUMBER.",
    )
