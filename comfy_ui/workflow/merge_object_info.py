"""What several servers have between them, as one node list to choose from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..protocol.object_info import NodeRegistry


def union(libraries: Sequence[NodeRegistry]) -> NodeRegistry:
    """Every class of every library, and all that their inputs offer, in the order given.

    Where servers declare a class differently, the first one's declaration counts; only its lists
    of choices grow.
    """
    if len(libraries) == 1:
        return libraries[0]
    merged: dict[str, Any] = {}
    for library in libraries:
        for name in library:
            raw = library.raw[name]
            merged[name] = _grown(merged[name], raw) if name in merged else raw
    return NodeRegistry(merged)


def _grown(node: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any]:
    if node == other:
        return node
    inputs = {
        section: {
            name: _offering_more(declared, _at(other, "input", section, name))
            for name, declared in declarations.items()
        }
        if isinstance(declarations, Mapping)
        else declarations
        for section, declarations in (_at(node, "input") or {}).items()
    }
    return {**node, "input": inputs}


def _offering_more(declared: Any, other: Any) -> Any:
    """The declaration of an input with the choices of another one added."""
    ours, theirs = _choices(declared), _choices(other)
    if ours is None or theirs is None:
        return declared
    both = [*ours, *(choice for choice in theirs if choice not in ours)]
    if isinstance(declared[0], list):
        return [both, *declared[1:]]
    return [declared[0], {**declared[1], "options": both}, *declared[2:]]


def _choices(declared: Any) -> list[Any] | None:
    """In either spelling, see :mod:`..protocol.object_info`."""
    if not isinstance(declared, list) or not declared:
        return None
    found = declared[0]
    if found == "COMBO" and len(declared) > 1:
        found = _at(declared[1], "options")
    return found if isinstance(found, list) else None


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
