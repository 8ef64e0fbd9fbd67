"""The state of the form before it is sent. The browser keeps it; Python only reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["FormState"]


MAX_TIMES: Final = 64
"""The maximum number of jobs of one press."""
_MAX_AXIS: Final = 4000  # characters
_MAX_NAME: Final = 64


@dataclass(frozen=True, slots=True)
class FormState:
    """The form: preset, field values, and whether to run next or replace a job."""

    preset: str | None = None
    prompt: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    front: bool = False
    replaces: str | None = None
    times: int = 1
    seed_step: int = 1
    repeated: int = 0
    """How often "Repeat until stopped" has repeated the press so far."""
    press: str | None = None
    """The page's id for a press of Generate, an idempotency key for retries."""
    grid: tuple[tuple[str, str], ...] = ()
    """The varied params across and down, with their typed values; empty without a grid."""

    @classmethod
    def parse(cls, text: str | None) -> FormState:
        """Parse the page's JSON. Invalid parts are dropped: it may be an old draft."""
        try:
            raw = json.loads(text or "{}")
        except (ValueError, RecursionError):
            return cls()
        if not isinstance(raw, dict):
            return cls()
        preset, prompt, values = raw.get("preset"), raw.get("prompt"), raw.get("values")
        replaces, press = raw.get("replaces"), raw.get("press")
        return cls(
            preset=preset if isinstance(preset, str) else None,
            prompt=prompt if isinstance(prompt, str) else "",
            values=values if isinstance(values, dict) else {},
            front=raw.get("front") is True,
            replaces=replaces if isinstance(replaces, str) else None,
            times=min(max(_whole(raw.get("times")), 1), MAX_TIMES),
            seed_step=_whole(raw.get("seed_step")),
            repeated=max(_whole(raw.get("repeated", 0)), 0),
            press=press[:_MAX_NAME] if isinstance(press, str) and press else None,
            grid=tuple(_axes(raw.get("grid"))),
        )


def _axes(value: object) -> Iterator[tuple[str, str]]:
    for axis in value[:2] if isinstance(value, list) else ():
        match axis:
            case {"name": str(name), "values": str(text)} if name:
                yield name, text[:_MAX_AXIS]


def _whole(value: object) -> int:
    return int(value) if isinstance(value, int | float) and abs(value) < 2**53 else 1
