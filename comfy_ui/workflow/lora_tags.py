"""LoRA tags in prompts, such as ``<lora:fluffy:0.7>``: syntax of A1111 that ComfyUI does not have.

A text encoder would take them for words, so they are left out and named in a notice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from .graph import AnyGraph

__all__ = ["lora_notices", "lora_tags", "reads_lora_tags", "remove_lora_tags"]

_TAG = re.compile(
    r"<(?:lora|lyco):([^:<>\n]{1,300})(?::(-?\d{1,3}(?:\.\d{1,6})?))?[^<>\n]{0,60}>", re.IGNORECASE
)
_GAP = re.compile(r"(?:[ \t]*,){2,}|[ \t]{2,}")
# Nodes of some packs load the LoRAs that a text names.
_READERS = re.compile(r"wildcard|power ?prompt|lora.*(tag|text|prompt|manager)", re.IGNORECASE)


def lora_tags(text: str) -> list[tuple[str, float]]:
    """List the names and strengths of the tags in a prompt.

    >>> lora_tags("a cat <lora:fluffy:0.7>")
    [('fluffy', 0.7)]
    """
    return [(name, float(strength or 1)) for name, strength in _TAG.findall(text)]


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


def lora_notices(texts: Iterable[str]) -> list[str]:
    """Name the LoRAs in the prompts of one job, which are not applied."""
    names = dict.fromkeys(name for text in texts for name, _ in lora_tags(text))
    if not names:
        return []
    listed = ", ".join(names)
    return [f"LoRA tags have no effect here, so they are left out of the prompt: {listed}."]
