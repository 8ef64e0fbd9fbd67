"""Whether a value fits the input that it was put into.

A list of saved values shifts when a node has gained or lost an input since the file was saved,
and the editor itself then sends a seed as a model's name. Such values are told, so that nothing
of the kind goes out in silence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import Problem
from ...protocol.nodes import InputSpec, NodeSpec
from ..graph import as_link, unwrap
from .widgets import field_type

_SHOWN = 60  # characters of a value in a message


def value_problems(
    key: str, title: str, spec: NodeSpec, inputs: Mapping[str, Any]
) -> Iterator[Problem]:
    """The literals among ``inputs`` that do not fit; links and inputs that ``spec`` does not
    declare are passed over.
    """
    for name, value in inputs.items():
        declared = spec.inputs.get(name)
        if declared is None or as_link(value) is not None:
            continue
        found = misfit(declared, unwrap(value))
        if found is not None:
            kind, message = found
            yield Problem(
                kind,
                f"{name}: {message}",
                node=key,
                node_title=title,
                class_type=spec.class_type,
                input=name,
            )


def misfit(spec: InputSpec, value: Any) -> tuple[str, str] | None:
    """Why ``value`` does not fit ``spec``, as ComfyUI's error type and a sentence; None when it
    fits.
    """
    match field_type(spec):
        case "INT" | "FLOAT":
            return _misfit_number(spec, value)
        case "BOOLEAN" if not isinstance(value, bool | int):
            return "invalid_input_type", f"{shown(value)} is neither true nor false."
        case "STRING" if not isinstance(value, str | int | float):
            return "invalid_input_type", f"{shown(value)} is not a text."
        case "COMBO" if spec.choices is not None:
            wanted = value if isinstance(value, list) else [value]
            wrong = next((one for one in wanted if not _is_choice(spec, one)), None)
            if wrong is not None:
                return "value_not_in_list", f"{shown(wrong)} is not one of the server's choices."
    return None


def shown(value: object) -> str:
    """A value for a message: short, whatever it is."""
    if isinstance(value, str):
        return repr(value if len(value) <= _SHOWN else value[:_SHOWN] + "…")
    if (
        value is None
        or isinstance(value, bool | float)
        or (isinstance(value, int) and abs(value) < 10**30)
    ):
        return repr(value)
    return f"a {type(value).__name__}"


def _is_choice(spec: InputSpec, value: Any) -> bool:
    return isinstance(value, str | int | float) and value in (spec.choices or ())


def _misfit_number(spec: InputSpec, value: Any) -> tuple[str, str] | None:
    try:
        number = float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        return "invalid_input_type", f"{shown(value)} is not a number."
    if spec.min is not None and number < spec.min:
        return "value_smaller_than_min", f"{shown(value)} is less than {spec.min}."
    if spec.max is not None and number > spec.max:
        return "value_bigger_than_max", f"{shown(value)} is more than {spec.max}."
    return None
