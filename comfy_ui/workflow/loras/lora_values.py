"""The value ``loras`` of a job: which LoRAs, with which weights.

A stored value is a list of ``{"name": file, "strength": 0.8}``. Two keys are optional:
``strength_clip``, the weight on the text encoder, which is ``strength`` if absent; and
``enabled``, False for a LoRA that is kept in the form but not loaded.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ...errors import UnknownLoraError, ValidationError, closest
from ...protocol.object_info import NodeRegistry
from ..model_files import match_models, short_name, stem

__all__ = [
    "LORA_NODES",
    "MAX_LORAS",
    "active_loras",
    "lora_files",
    "merge_loras",
    "parse_loras",
    "resolve_lora",
    "resolve_loras",
]

LORA_NODES: Final = ("LoraLoader", "LoraLoaderModelOnly")
MAX_LORAS: Final = 20
"""The maximum number of LoRAs of one job."""

_MAX_STRENGTH: Final = 20
_MAX_NAME: Final = 400
_NAMED_CHARACTERS: Final = 60  # of a name in a message
_SHORT_FORM = re.compile(r"(.+?)((?::\s*[+-]?[\d.]{1,12}\s*|:off){0,2})", re.IGNORECASE | re.DOTALL)


def parse_loras(value: Any) -> list[dict[str, Any]]:
    """Return the stored form of any form of the value. Parsing a stored value does not change it.

    Each LoRA is ``(name, weight)``, ``(name, weight, clip_weight)``, ``"name"``, ``"name:0.8"``,
    ``"name:0.8:0.5"`` or a dict in the stored form. The whole may be JSON, as forms send it.

    >>> parse_loras([("ink", 0.8), "glow"])
    [{'name': 'ink', 'strength': 0.8}, {'name': 'glow', 'strength': 1.0}]

    Raises:
        ValidationError: another form, a weight out of range, or more than :data:`MAX_LORAS`.
    """
    if value is None or value in ("", [], ()):
        return []
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise _wrong_form() from None
    if not isinstance(value, list | tuple) or _is_pair(value):
        value = [value]
    if len(value) > MAX_LORAS:
        raise ValidationError(
            f"A job can have {MAX_LORAS} LoRAs, not {len(value)}.", hint="Remove some of them."
        )
    return [_parse_lora(entry) for entry in value]


def active_loras(loras: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the LoRAs that are loaded: those that are enabled and have a weight other than 0."""
    return [
        lora
        for lora in loras
        if lora.get("enabled", True) and (lora["strength"] or lora.get("strength_clip"))
    ]


def lora_files(registry: NodeRegistry | None) -> tuple[str, ...] | None:
    """Return the LoRA files that a server lists; None if it does not list any folder."""
    for name in LORA_NODES:
        spec = registry.get(name) if registry is not None else None
        names = spec.inputs.get("lora_name") if spec is not None else None
        if names is not None and names.choices is not None:
            return tuple(str(choice) for choice in names.choices)
    return None


def resolve_lora(name: str, present: Sequence[str]) -> str:
    """Return the server's file that a user means by ``name``.

    >>> resolve_lora("Ink", ["style/ink.safetensors", "glow.safetensors"])
    'style/ink.safetensors'

    Raises:
        ValidationError: there is no such file, or several.
    """
    matches = match_models(name, present)
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UnknownLoraError(
            f"{_excerpt(name)} can mean several LoRAs.",
            name=name,
            hint=f"Use one of: {', '.join(stem(match) for match in matches[:8])}.",
        )
    hint = closest(short_name(name.strip())[:200], {short_name(file) for file in present})
    raise UnknownLoraError(
        f"The server has no LoRA {_excerpt(name)}.",
        name=name,
        hint=hint or "Put the file into the server's folder models/loras.",
    )


def resolve_loras(
    loras: Iterable[Mapping[str, Any]], present: Sequence[str] | None
) -> list[dict[str, Any]]:
    """Return parsed LoRAs with the server's file names.

    A name that the server lacks is kept if the LoRA is not loaded anyway.

    Raises:
        ValidationError: as :func:`resolve_lora`.
    """
    resolved = [dict(lora) for lora in loras]
    for lora in resolved:
        if present is None:
            continue
        try:
            lora["name"] = resolve_lora(lora["name"], present)
        except ValidationError:
            if active_loras([lora]):
                raise
    return resolved


def merge_loras(
    loras: Any, tags: Iterable[Mapping[str, Any]], present: Sequence[str] | None
) -> list[dict[str, Any]]:
    """Return a job's LoRAs: those of the value ``loras``, then those of the prompt's tags.

    A LoRA that both name is loaded once, with the weights of the tag.

    Raises:
        ValidationError: as :func:`parse_loras` and :func:`resolve_lora`.
    """
    merged: dict[str, dict[str, Any]] = {}
    listed = resolve_loras(parse_loras(loras), present)
    for lora in resolve_loras(parse_loras([*tags]), present):
        merged[lora["name"]] = lora
    kept = [merged.pop(lora["name"], lora) for lora in listed]
    return parse_loras([*kept, *merged.values()])


def _is_pair(value: Sequence[Any]) -> bool:
    """Whether a list is one LoRA as ``(name, weight)`` instead of a list of LoRAs."""
    return (
        len(value) in (2, 3)
        and isinstance(value[0], str)
        and all(isinstance(part, int | float) for part in value[1:])
    )


def _parse_lora(entry: Any) -> dict[str, Any]:
    strength: Any = 1.0
    clip: Any = None
    enabled: Any = True
    match entry:
        case str(text):
            name, *weights = _short_form(text)
            strength, clip = (*weights, None, None)[:2] if weights else (1.0, None)
        case [str(name)]:
            pass
        case [str(name), strength]:
            pass
        case [str(name), strength, clip]:
            pass
        case {"name": str(name), **rest} if rest.keys() <= {"strength", "strength_clip", "enabled"}:
            strength = rest.get("strength", 1.0)
            clip, enabled = rest.get("strength_clip"), rest.get("enabled", True)
        case _:
            raise _wrong_form()
    if not name.strip() or len(name) > _MAX_NAME or not isinstance(enabled, bool):
        raise _wrong_form()
    lora: dict[str, Any] = {"name": name.strip(), "strength": _strength(name, strength)}
    if clip is not None:
        lora["strength_clip"] = _strength(name, clip)
    if not enabled:
        lora["enabled"] = False
    return lora


def _short_form(text: str) -> tuple[Any, ...]:
    match = _SHORT_FORM.fullmatch(text)
    if match is None:
        raise _wrong_form()
    weights = [part.strip() for part in match[2].split(":")[1:]]
    try:
        return match[1], *(0.0 if part.lower() == "off" else float(part) for part in weights)
    except ValueError:
        raise _wrong_form() from None


def _strength(name: str, strength: Any) -> float:
    if isinstance(strength, bool) or not isinstance(strength, int | float):
        raise _wrong_form()
    if not -_MAX_STRENGTH <= strength <= _MAX_STRENGTH or not math.isfinite(strength):
        raise ValidationError(
            f"The strength of {_excerpt(name)} cannot be {_excerpt(strength)}.",
            hint=f"Choose a value from -{_MAX_STRENGTH} to {_MAX_STRENGTH}.",
        )
    return float(strength)


def _excerpt(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _NAMED_CHARACTERS else text[: _NAMED_CHARACTERS - 1] + "…"


def _wrong_form() -> ValidationError:
    return ValidationError(
        "A LoRA must have the form {'name': FILE, 'strength': NUMBER}.",
        hint="Or (NAME, WEIGHT), or NAME:WEIGHT.",
    )
