"""The value ``references`` of a job: pictures whose style or subject the result takes up.

A stored value is a list of ``{"image": file, "strength": 1.0}``. Optional keys: ``kind``,
``"style"`` or ``"character"``, where the model distinguishes them; ``enabled``, False for one that
is kept in the form but has no effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ...errors import ValidationError, closest
from .picture_values import flag, number, picture_name, read_entries

__all__ = ["KINDS", "parse_references"]

KINDS: Final = ("image", "style", "character")
"""What of a picture is taken up; ``image`` is all of it, and the default."""

_NAME: Final = "references"
_KEYS: Final = frozenset({"image", "strength", "kind", "enabled"})
_MAX_STRENGTH: Final = 3.0


def parse_references(value: Any) -> list[dict[str, Any]]:
    """Return the stored form of any form of the value. Parsing a stored value does not change it.

    >>> parse_references("face.png,strength=0.6,kind=character")
    [{'image': 'face.png', 'strength': 0.6, 'kind': 'character'}]

    Raises:
        ValidationError: another form, an unknown kind or key, or a strength out of range.
    """
    return [_parse(entry) for entry in read_entries(_NAME, value)]


def _parse(entry: Mapping[str, Any]) -> dict[str, Any]:
    if unknown := entry.keys() - _KEYS:
        name = min(unknown)
        raise ValidationError(f"A reference has no '{name[:60]}'.", hint=closest(name, _KEYS))
    kind = str(entry.get("kind") or "image")
    if kind not in KINDS:
        raise ValidationError(
            f"There is no kind of reference {kind[:60]!r}.", hint=closest(kind[:60], KINDS)
        )
    parsed: dict[str, Any] = {
        "image": picture_name(_NAME, entry),
        "strength": number(entry, "strength", 1.0, 0, _MAX_STRENGTH),
    }
    if kind != "image":
        parsed["kind"] = kind
    if not flag(_NAME, entry, "enabled", True):
        parsed["enabled"] = False
    return parsed
