"""Merge the ``/object_info`` of several servers into one registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..protocol.object_info import NodeRegistry


def union(libraries: Sequence[NodeRegistry]) -> NodeRegistry:
    """Merge registries: every class of each, with all choices of its inputs, in order.

    If servers declare a class differently, the first declaration wins; only its lists of choices
    are extended.
    """
    if len(libraries) == 1:
        return libraries[0]
    merged: dict[str, Any] = {}
    for library in libraries:
        for name in library:
            raw = library.raw[name]
            merged[name] = _merged_class(merged[name], raw) if name in merged else raw
    return NodeRegistry(merged)


def _merged_class(node: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any]:
    if node == other:
        return node
    inputs = {
        section: {
            name: _merged_input(declared, _at(other, "input", section, name))
            for name, declared in declarations.items()
        }
        if isinstance(declarations, Mapping)
        else declarations
        for section, declarations in (_at(node, "input") or {}).items()
    }
    return {**node, "input": inputs}


def _merged_input(declared: Any, other: Any) -> Any:
    """Return an input's declaration, extended by the choices of another one."""
    ours, theirs = _choices(declared), _choices(other)
    if ours is None or theirs is None:
        return declared
    both = [*ours, *(choice for choice in theirs if choice not in ours)]
    if isinstance(declared[0], list):
        return [both, *declared[1:]]
    return [declared[0], {**declared[1], "options": both}, *declared[2:]]


def _choices(declared: Any) -> list[Any] | None:
    """Return the choices of either declaration format, see :mod:`..protocol.object_info`."""
    if not isinstance(declared, list) or not declared:
        return None
    choices = declared[0]
    if choices == "COMBO" and len(declared) > 1:
        choices = _at(declared[1], "options")
    return choices if isinstance(choices, list) else None


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
