"""Saved widget values → inputs by name.

``widgets_values`` is a bare list: its meaning is the order in which the editor makes widgets out
of the node's declaration, which this module walks. Newer files also have
``widgets_values_named``, which is preferred: a list shifts silently when a node has gained an
input since the file was saved.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Protocol

from ...protocol.nodes import InputSpec, NodeSpec, read_input
from ..declared import DYNAMIC_COMBO
from ..graph import literal
from .document import Node

DYNAMIC_GROUP = "COMFY_DYNAMICGROUP_V3"

_VALUE_TYPES = frozenset({"INT", "FLOAT", "BOOLEAN", "STRING", "COMBO"})
# Types that the editor's own front end turns into a field; any other type is a socket.
_FIELD_TYPES = _VALUE_TYPES | {
    DYNAMIC_COMBO, DYNAMIC_GROUP, "AUDIO_RECORD", "BOUNDING_BOX", "BOUNDING_BOXES", "CHART",
    "COLOR", "COLORS", "COMPOSITOR", "CURVE", "GALLERIA", "IMAGECOMPARE", "LOAD_3D", "MARKDOWN",
    "PAINTER", "RANGE", "TEXTAREA", "VIDEO_EDIT", "WEBCAM",
}  # fmt: skip
_CONTROL_WORDS = frozenset({"fixed", "increment", "decrement", "randomize", "increment-wrap"})
_SEED_NAMES = frozenset({"seed", "noise_seed"})  # have a control without saying so
_ZEROS: Mapping[str, Any] = {"INT": 0, "FLOAT": 0.0, "BOOLEAN": False, "STRING": ""}
_MAX_ROWS = 50  # of a dynamic group that declares no maximum

MISSING: Final = object()


def is_widget(spec: InputSpec) -> bool:
    """Whether the editor shows this input as a field, and therefore saves a value for it."""
    return not spec.force_input and field_type(spec) in _FIELD_TYPES


def field_type(spec: InputSpec) -> str:
    """The type that decides on the field: a socket of several types may declare the one it is
    typed in as.
    """
    widget = spec.options.get("widgetType")
    return widget if isinstance(widget, str) else spec.type


def default_value(spec: InputSpec) -> Any:
    """What the editor fills in where nothing was saved; MISSING when there is nothing it could
    fill in.
    """
    if spec.default is not None:
        return spec.default
    if spec.type == DYNAMIC_COMBO:
        return next(iter(_options(spec)), MISSING)
    if spec.type == DYNAMIC_GROUP:
        return _bound(spec.options.get("min"), 0)
    if spec.choices:
        return spec.choices[0]
    return _ZEROS.get(field_type(spec), MISSING)


def widget_values(spec: NodeSpec, node: Node) -> dict[str, Any]:
    """The values of all fields of ``node``, in the order of its declaration, as a prompt carries
    them.
    """
    if node.named:
        saved: SavedValues = _Named(node.named)
    else:
        is_3d = any(declared.type == "LOAD_3D" for declared in spec.inputs.values())
        saved = ListedValues(value for value in node.values if not (is_3d and _is_button(value)))
    values = read_values(spec, saved)
    if spec.class_type == "CustomCombo":
        _fill_custom_combo(node, values)
    return values


def read_values(spec: NodeSpec, saved: SavedValues) -> dict[str, Any]:
    """The values of all fields of a class, taken one after the other from ``saved``."""
    values: dict[str, Any] = {}
    _fill(spec.inputs.values(), "", saved, values)
    return values


class SavedValues(Protocol):
    """Where the values of fields come from."""

    def take(self, name: str, /) -> Any:
        """The value of the next field, which has this name; MISSING when there is none."""

    def skip_control(self, choices: tuple[Any, ...] | None, /) -> None:
        """Pass over "what to do with the seed after a run", and the filter that choices may have
        besides.
        """


class ListedValues:
    """Values by position, taken one after the other."""

    def __init__(self, values: Iterable[Any]) -> None:
        self._values = list(values)
        self._next = 0

    def take(self, _name: str) -> Any:
        if self._next >= len(self._values):
            return MISSING
        self._next += 1
        return self._values[self._next - 1]

    def skip_control(self, choices: tuple[Any, ...] | None) -> None:
        # Old files lack the control, so only the words themselves are taken for it.
        if self._peek() in _CONTROL_WORDS:
            self._next += 1
            if choices is not None and self._peek() == "":
                self._next += 1

    def _peek(self) -> str | None:
        value = self._values[self._next] if self._next < len(self._values) else None
        return value if isinstance(value, str) else None


class _Named:
    """Values by name."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def take(self, name: str) -> Any:
        return self._values.get(name, MISSING)

    def skip_control(self, _choices: tuple[Any, ...] | None) -> None:
        """Nothing to pass over: the control has a name of its own."""


def _fill(
    inputs: Iterable[InputSpec], prefix: str, saved: SavedValues, values: dict[str, Any]
) -> None:
    for spec in inputs:
        if not is_widget(spec):
            continue
        name = prefix + spec.name
        if spec.type == "IMAGECOMPARE":  # two pictures that only the page knows; never saved
            values[name] = {"__value__": ["", ""]}
            continue
        value = saved.take(name)
        if value is MISSING or value is None:
            value = default_value(spec)
        if value is not MISSING:
            values[name] = _as_input(value, spec)
        if _has_control(spec):
            saved.skip_control(spec.choices)
        if spec.type == DYNAMIC_COMBO:
            chosen = _nested_inputs(_options(spec).get(value)) if isinstance(value, str) else ()
            _fill(chosen, f"{name}.", saved, values)
        elif spec.type == DYNAMIC_GROUP:
            fields = [*_nested_inputs(spec.options.get("template"))]
            for row in range(min(_bound(value, 0), _bound(spec.options.get("max"), _MAX_ROWS))):
                _fill(fields, f"{name}.{row}.", saved, values)


def _is_button(value: object) -> bool:
    """Whether a saved value is that of a button, which 3D nodes save among their fields."""
    return isinstance(value, str) and value in {"upload3dmodel", "uploadExtraResources", "clear"}


def _as_input(value: Any, spec: InputSpec) -> Any:
    """``value`` as a prompt carries it: lists wrapped, noise of binary fractions
    (5.000000000000001) removed.
    """
    if spec.type == "CURVE" and value is not MISSING:
        return {"__type__": "CURVE", "__value__": value}
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.12g}")
    return literal(value)


def _fill_custom_combo(node: Node, values: dict[str, Any]) -> None:
    """CustomCombo's options exist in the editor only: its class declares the choice alone."""
    if node.named:
        given: Iterable[Any] = (
            value for key, value in node.named.items() if key.startswith("option")
        )
    else:
        given = node.values[2:]
    options = [value for value in given if isinstance(value, str)]
    choice = values.get("choice")
    values["index"] = options.index(choice) if choice in options else 0
    values.update({f"option{number}": value for number, value in enumerate(options, 1)})


def _has_control(spec: InputSpec) -> bool:
    if spec.control_after_generate:
        return True
    declared = "control_after_generate" in spec.options
    return spec.type == "INT" and spec.name in _SEED_NAMES and not declared


def _options(spec: InputSpec) -> dict[str, Mapping[str, Any]]:
    """Key → the inputs that this key brings, of a dynamic combo."""
    found: dict[str, Mapping[str, Any]] = {}
    options = spec.options.get("options")
    for option in options if isinstance(options, list) else ():
        if isinstance(option, Mapping) and isinstance(option.get("key"), str):
            inputs = option.get("inputs")
            found[option["key"]] = inputs if isinstance(inputs, Mapping) else {}
    return found


def _nested_inputs(raw: object) -> Iterator[InputSpec]:
    """The inputs that an option of a dynamic type declares, required ones first."""
    for section in ("required", "optional"):
        declared = raw.get(section) if isinstance(raw, Mapping) else None
        for name, declaration in declared.items() if isinstance(declared, Mapping) else ():
            spec = read_input(str(name), declaration, required=section == "required")
            if spec is not None:
                yield spec


def _bound(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise
