"""Expand the dynamic inputs of a node class to the inputs that a node has.

The inputs can depend on other values (``format`` → ``format.codec`` → …) and on how many are
connected (``images.image0``, ``images.image1``, …). ComfyUI declares them by the types below.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ...protocol.object_info import InputSpec, NodeSpec, read_input
from ..graph import as_link

DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"
AUTOGROW = "COMFY_AUTOGROW_V3"
MATCH_TYPE = "COMFY_MATCHTYPE_V3"

_MAX_GROWN = 1000  # of one autogrow input; the largest declared by core nodes is 50
_MAX_DEPTH = 8  # of nested dynamic inputs; core nodes have three levels


def declared_inputs(spec: NodeSpec, values: Mapping[str, Any]) -> dict[str, InputSpec]:
    """Return every input that the node has with these values, by its name in a graph.

    A dynamic choice becomes a ``COMBO`` of its keys, followed by the inputs of the chosen option;
    an autogrow input becomes those of its inputs that are set or required; a match type becomes
    the types it allows.
    """
    return {expanded.name: expanded for expanded in _expand(spec.inputs.values(), values, 0)}


def _expand(specs: Any, values: Mapping[str, Any], depth: int) -> Iterator[InputSpec]:
    for spec in specs:
        if spec.type == DYNAMIC_COMBO:
            yield from _dynamic_combo(spec, values, depth)
        elif spec.type == AUTOGROW:
            yield from _autogrow(spec, values)
        elif spec.type == MATCH_TYPE:
            allowed = _object(spec.options.get("template")).get("allowed_types")
            yield replace(spec, type=allowed if isinstance(allowed, str) and allowed else "*")
        else:
            yield spec


def _dynamic_combo(spec: InputSpec, values: Mapping[str, Any], depth: int) -> Iterator[InputSpec]:
    options = _list(spec.options.get("options"))
    options = [option for option in options if isinstance(option, Mapping)]
    yield replace(spec, type="COMBO", choices=tuple(option.get("key") for option in options))
    value = values.get(spec.name)
    chosen = next((option for option in options if option.get("key") == value), None)
    if chosen is None or as_link(value) is not None or depth >= _MAX_DEPTH:
        return
    yield from _expand(
        nested_inputs(spec.name, chosen.get("inputs"), required=True), values, depth + 1
    )


def _autogrow(spec: InputSpec, values: Mapping[str, Any]) -> Iterator[InputSpec]:
    template = _object(spec.options.get("template"))
    inner = next(nested_inputs("", template.get("input"), required=spec.required), None)
    if inner is None:
        return
    least = template.get("min")
    least = least if isinstance(least, int) and spec.required else 0
    for index, name in enumerate(_grown_names(template)):
        full = f"{spec.name}.{name}"
        if full in values or index < least:
            yield replace(inner, name=full, required=inner.required and index < least)


def _grown_names(template: Mapping[str, Any]) -> Iterator[str]:
    names = template.get("names")
    if isinstance(names, list):
        yield from (name for name in names if isinstance(name, str))
        return
    most = template.get("max")
    for number in range(min(most, _MAX_GROWN) if isinstance(most, int) else _MAX_GROWN):
        yield f"{template.get('prefix', '')}{number}"


def nested_inputs(parent: str, inputs: Any, *, required: bool) -> Iterator[InputSpec]:
    """Yield the inputs that a dynamic type's option or template declares, required ones first."""
    for section in ("required", "optional"):
        for name, declaration in _object(_object(inputs).get(section)).items():
            full = f"{parent}.{name}" if parent else name
            spec = read_input(full, declaration, required=required and section == "required")
            if spec is not None:
                yield spec


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
