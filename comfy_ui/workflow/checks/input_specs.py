"""The inputs that a node really has: those of its class, with the dynamic ones spelled out.

Which inputs there are can depend on the values given (``format`` → ``format.codec`` → …) and on
how many are connected (``images.image0``, ``images.image1``, …). ComfyUI declares such inputs
by the types below.
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
_MAX_DEPTH = 8  # of dynamic inputs within each other; core nodes have three levels


def declared_inputs(spec: NodeSpec, given: Mapping[str, Any]) -> dict[str, InputSpec]:
    """Every input that the node has with these values, by the name it has in a graph.

    A dynamic choice becomes a ``COMBO`` of its keys, followed by the inputs of the option chosen;
    an autogrowing input becomes those of its inputs that are given or must be; a type to be
    matched becomes the types it allows.
    """
    return {found.name: found for found in _expand(spec.inputs.values(), given, 0)}


def _expand(specs: Any, given: Mapping[str, Any], depth: int) -> Iterator[InputSpec]:
    for spec in specs:
        if spec.type == DYNAMIC_COMBO:
            yield from _dynamic_combo(spec, given, depth)
        elif spec.type == AUTOGROW:
            yield from _autogrow(spec, given)
        elif spec.type == MATCH_TYPE:
            allowed = _object(spec.options.get("template")).get("allowed_types")
            yield replace(spec, type=allowed if isinstance(allowed, str) and allowed else "*")
        else:
            yield spec


def _dynamic_combo(spec: InputSpec, given: Mapping[str, Any], depth: int) -> Iterator[InputSpec]:
    options = _list(spec.options.get("options"))
    options = [option for option in options if isinstance(option, Mapping)]
    yield replace(spec, type="COMBO", choices=tuple(option.get("key") for option in options))
    value = given.get(spec.name)
    chosen = next((option for option in options if option.get("key") == value), None)
    if chosen is None or as_link(value) is not None or depth >= _MAX_DEPTH:
        return
    yield from _expand(
        nested_inputs(spec.name, chosen.get("inputs"), required=True), given, depth + 1
    )


def _autogrow(spec: InputSpec, given: Mapping[str, Any]) -> Iterator[InputSpec]:
    template = _object(spec.options.get("template"))
    inner = next(nested_inputs("", template.get("input"), required=spec.required), None)
    if inner is None:
        return
    least = template.get("min")
    least = least if isinstance(least, int) and spec.required else 0
    for index, name in enumerate(_grown_names(template)):
        full = f"{spec.name}.{name}"
        if full in given or index < least:
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
    """The inputs that an option or template of a dynamic type declares, required ones first."""
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
