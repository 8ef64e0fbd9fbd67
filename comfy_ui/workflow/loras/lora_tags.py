"""LoRA tags in prompts: ``<lora:fluffy:0.7>``, and ``<lora:fluffy:0.7:0.5>`` for model and CLIP.

The syntax of A1111. ComfyUI's text encoders would take a tag for words, so
:func:`.prepare.prepare` takes the tags out and adds a loader for each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from ...errors import ValidationError
from ..graph import AnyGraph

__all__ = ["LoraTag", "find_lora_tags", "lora_tags", "reads_lora_tags", "remove_lora_tags"]

_TAG = re.compile(r"<(?:lora|lyco):([^:<>\n]{1,300})((?::[^:<>\n]{0,60}){0,8})>", re.IGNORECASE)
_WEIGHT = re.compile(r"\s*([+-]?(?:\d{1,3}(?:\.\d{0,6})?|\.\d{1,6}))\s*")
_GAP = re.compile(r"(?:[ \t]*,){2,}|[ \t]{2,}")
# Nodes of some packs load the LoRAs that a text names.
_READERS = re.compile(r"wildcard|power ?prompt|lora.*(tag|text|prompt|manager)", re.IGNORECASE)
_HINT: Final = "Write <lora:name:0.8>, or <lora:name:0.8:0.5> for two weights: model and CLIP."


class LoraTag(NamedTuple):
    """A tag: the name, up to two weights, and whether every other part of it was understood."""

    name: str
    weights: tuple[float, ...]
    valid: bool
    text: str


def find_lora_tags(text: str) -> Iterator[LoraTag]:
    """Yield the tags of a prompt in order. ``off`` is the weight 0."""
    for match in _TAG.finditer(text):
        parts = [part for part in match[2].split(":")[1:] if part.strip()]
        weights = [_weight(part) for part in parts]
        leading: list[float] = []
        for weight in weights[:2]:
            if weight is None:
                break
            leading.append(weight)
        yield LoraTag(match[1].strip(), (*leading,), len(leading) == len(parts), match[0])


def lora_tags(text: str) -> list[dict[str, Any]]:
    """Return the LoRAs that the tags of a prompt name, as values; see :mod:`.lora_values`.

    >>> lora_tags("a cat <lora:fluffy:0.7>")
    [{'name': 'fluffy', 'strength': 0.7}]

    Raises:
        ValidationError: a weight is not a number, or there are more than two.
    """
    values = []
    for tag in find_lora_tags(text):
        if not tag.valid or not tag.name:
            raise ValidationError(f"The LoRA tag {tag.text[:120]} cannot be read.", hint=_HINT)
        value: dict[str, Any] = {"name": tag.name, "strength": (*tag.weights, 1.0)[0]}
        if len(tag.weights) > 1:
            value["strength_clip"] = tag.weights[1]
        values.append(value)
    return values


def remove_lora_tags(text: str) -> str:
    """Remove the tags from a prompt, and the commas and spaces between them.

    >>> remove_lora_tags("a cat, <lora:fluffy:0.7>, at dusk <lora:x>")
    'a cat, at dusk'
    """
    plain = _TAG.sub("", text)
    if plain == text:
        return text
    return _GAP.sub(lambda gap: "," if "," in gap[0] else " ", plain).strip(" ,\n")


def reads_lora_tags(graph: AnyGraph) -> bool:
    """Whether a node of the graph may apply the tags in a prompt."""
    return any(_READERS.search(str(node.get("class_type", ""))) for node in graph.values())


def _weight(text: str) -> float | None:
    if text.strip().lower() == "off":
        return 0.0
    match = _WEIGHT.fullmatch(text)
    return float(match[1]) if match else None
