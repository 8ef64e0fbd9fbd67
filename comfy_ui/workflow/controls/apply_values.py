"""Write the values of controls into a graph."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

from ...errors import ValidationError, closest
from ..fields.numbers import format_number, parse_number, random_seed
from ..graph import AnyGraph, Graph, copied, literal
from .control import Control
from .control_names import named_values

_TRUE, _FALSE = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})


def apply_values(
    graph: AnyGraph,
    controls: Iterable[Control],
    values: Mapping[str, Any],
    *,
    rng: random.Random | None = None,
) -> Graph:
    """Return a copy of ``graph`` with the values written to all targets of their controls.

    A control without a value, or with None, keeps the graph's value. A seed of None or -1 becomes a
    random one below 2**53.

    Args:
        graph: in API format.
        controls: its controls, from :func:`find_controls`.
        values: by name: a control's id (``steps_2``), a role that only one control has
            (``negative``), a node, by id, title or class, and an input (``KSampler.seed``,
            ``12.text``), or an input alone (``denoise``).
        rng: draws random seeds.

    Raises:
        ValidationError: an unknown or ambiguous name, or a value that is not valid for its control.

    Example::

        controls = find_controls(graph, object_info)
        graph = apply_values(graph, controls, {"steps": 8, "KSampler.seed": 7})
    """
    named, values = named_values(graph, controls, values)
    controls_by_id = {control.id: control for control in named}
    checked = {name: _checked(controls_by_id[name], value, rng) for name, value in values.items()}
    changed = copied(graph)
    for name, value in checked.items():
        if value is None:
            continue
        for node, target in controls_by_id[name].targets:
            inputs = changed[node]["inputs"]
            inputs[target] = literal(value)
            if changed[node].get("class_type") == "CustomCombo" and target == "choice":
                inputs["index"] = _option_index(inputs, value)
    return changed


def _checked(control: Control, value: Any, rng: random.Random | None) -> Any:
    if control.role == "seed" and (value is None or value in (-1, "-1", "")):
        return random_seed(rng)
    own = control.default
    if value is None or value is own or (type(value) is type(own) and value == own):
        return value  # the graph's own value is checked by check_workflow
    match control.kind:
        case "int" | "float":
            return _number(control, value)
        case "bool":
            return _boolean(control, value)
        case "choice":
            return _choice(control, value)
    if not isinstance(value, str):
        raise _wrong(control, "takes a text.")
    return value


def _number(control: Control, value: Any) -> int | float:
    try:
        number = parse_number(value, whole=control.kind == "int")
    except ValueError:
        kind = "a whole number" if control.kind == "int" else "a number"
        raise _wrong(control, f"takes {kind}.") from None
    if control.min is not None and number < control.min:
        raise _wrong(
            control, f"cannot be {format_number(number)}.", f"It starts at {control.min:g}."
        )
    if control.max is not None and number > control.max:
        limit = f"It goes up to {format_number(control.max)}."
        raise _wrong(control, f"cannot be {format_number(number)}.", limit)
    return number


def _boolean(control: Control, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else value
    if word in _TRUE or word == 1:
        return True
    if word in _FALSE or word == 0:
        return False
    raise _wrong(control, "must be true or false.")


def _choice(control: Control, value: Any) -> Any:
    """Return the server's choice that equals ``value``; forms send numbers as text."""
    choices = (*(control.choices or ()), control.default)
    for choice in choices:
        if value == choice or str(value) == str(choice):
            return choice
    if control.choices is None:
        return value
    raise _wrong(
        control, "does not have that choice.", closest(str(value)[:200], map(str, choices))
    )


def _option_index(inputs: Mapping[str, Any], value: Any) -> int:
    options = [option for name, option in inputs.items() if name.startswith("option")]
    return options.index(value) if value in options else 0


def _wrong(control: Control, message: str, hint: str = "") -> ValidationError:
    return ValidationError(f"'{control.label}' {message}", hint=hint or control.help)
