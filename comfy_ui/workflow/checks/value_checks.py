"""Check one value against its input's declaration, as ComfyUI does."""

from __future__ import annotations

import reprlib
from collections.abc import Container
from typing import Any, NamedTuple

from ...errors import Severity, closest
from ...protocol.object_info import InputSpec

_SHOWN = 80  # characters of a value in a message
_VALUE_TYPES = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"})
_CORE_SOCKETS = frozenset(
    {
        "MODEL", "CLIP", "VAE", "CONDITIONING", "LATENT", "IMAGE", "MASK", "CONTROL_NET",
        "CLIP_VISION", "SAMPLER", "SIGMAS", "GUIDER", "NOISE", "UPSCALE_MODEL", "STYLE_MODEL",
        "AUDIO", "VIDEO",
    }
)  # fmt: skip


class ValueProblem(NamedTuple):
    """A problem of one value: ComfyUI's error type, a message and a hint."""

    kind: str
    message: str
    hint: str
    severity: Severity = "error"


def value_fault(spec: InputSpec, value: Any, uploads: Container[str] = ()) -> ValueProblem | None:
    """Return why a literal is not valid for an input, or None. Coerces numbers as the server does.

    ``uploads`` are names of input files that exist although an older ``spec`` may not list them.
    """
    if spec.type in ("INT", "FLOAT"):
        return _number_fault(spec, value)
    if spec.upload is not None:
        return _file_fault(spec, value, uploads)
    if spec.type == "COMBO" and spec.choices is not None:
        return _choice_fault(spec, value, uploads)
    if spec.type in _CORE_SOCKETS:
        # The server accepts it, and the node then fails on a literal.
        message = f"The input '{spec.name}' takes a link of type {spec.type}, not {short(value)}."
        return ValueProblem("invalid_input_type", message, connect(spec), "warning")
    return None


def fits(output_type: str, input_type: str) -> bool:
    """Whether an output type may feed an input type; commas separate alternatives."""
    if (
        output_type == input_type
        or "*" in (output_type, input_type)
        or output_type.startswith("COMFY_")
    ):
        return True  # COMFY_…: a type that is only known during execution
    return not {part.strip() for part in output_type.split(",")}.isdisjoint(
        part.strip() for part in input_type.split(",")
    )


def is_socket(spec: InputSpec) -> bool:
    """Whether only a link can feed the input."""
    return spec.type not in _VALUE_TYPES


def connect(spec: InputSpec) -> str:
    """Return the hint for an input with a missing or wrong link."""
    return f"Connect an output of type {spec.type}."


def short(value: Any) -> str:
    """Format a value for a message, bounded in length and depth."""
    text = f"'{value[:_SHOWN]}'" if isinstance(value, str) else reprlib.repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _number_fault(spec: InputSpec, value: Any) -> ValueProblem | None:
    low, high = spec.min, spec.max
    hint = (
        f"Choose a value from {low:g} to {high:g}." if low is not None and high is not None else ""
    )
    try:
        number: float = int(value) if spec.type == "INT" else float(value)
    except (TypeError, ValueError, OverflowError):
        kind = "a whole number" if spec.type == "INT" else "a number"
        return ValueProblem(
            "invalid_input_type", f"'{spec.name}' takes {kind}, not {short(value)}.", hint
        )
    if low is not None and number < low:
        message = f"'{spec.name}' is {short(value)}, but the minimum is {low:g}."
        return ValueProblem("value_smaller_than_min", message, hint)
    if high is not None and number > high:
        message = f"'{spec.name}' is {short(value)}, but the maximum is {high:g}."
        return ValueProblem("value_bigger_than_max", message, hint)
    return None


def _choice_fault(spec: InputSpec, value: Any, uploads: Container[str]) -> ValueProblem | None:
    choices = spec.choices or ()
    several = isinstance(value, list) and bool(spec.options.get("multiselect"))
    for word in value if several else [value]:
        if _is_among(word, choices) or (isinstance(word, str) and word in uploads):
            continue
        text = word[:200] if isinstance(word, str) else short(word)
        hint = closest(text, [str(choice) for choice in choices])
        hint = hint or "This server has no choices for it."
        return ValueProblem("value_not_in_list", f"'{spec.name}' cannot be {short(word)}.", hint)
    return None


def _file_fault(spec: InputSpec, value: Any, uploads: Container[str]) -> ValueProblem | None:
    # The server's list has no files in subfolders or other folders.
    if isinstance(value, str) and (
        spec.choices is None
        or value in spec.choices
        or value in uploads
        or "/" in value
        or "\\" in value
        or value.endswith("]")
    ):
        return None
    message = f"The server has no file {short(value)} to load."
    return ValueProblem(
        "custom_validation_failed", message, "Upload it, or choose an existing file."
    )


def _is_among(value: Any, choices: tuple[Any, ...]) -> bool:
    return any(value == choice for choice in choices)  # `in` would need a hashable value
