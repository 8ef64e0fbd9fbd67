"""Map saved widget values to inputs by name.

``widgets_values`` is a plain list in the order in which the editor creates widgets from the node's
declaration; this module follows that order. Newer files also have ``widgets_values_named``, which
is preferred: a list shifts silently when a node has gained an input since the file was saved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from ...protocol.object_info import InputSpec, NodeSpec
from ..checks.input_specs import DYNAMIC_COMBO, nested_inputs
from ..graph import literal
from .editor_document import EditorNode

DYNAMIC_GROUP = "COMFY_DYNAMICGROUP_V3"

_VALUE_TYPES = frozenset({"INT", "FLOAT", "BOOLEAN", "STRING", "COMBO"})
# Types that the editor's frontend shows as a field; any other type is a socket.
_FIELD_TYPES = _VALUE_TYPES | {
    DYNAMIC_COMBO, DYNAMIC_GROUP, "AUDIO_RECORD", "BOUNDING_BOX", "BOUNDING_BOXES", "CHART",
    "COLOR", "COLORS", "COMPOSITOR", "CURVE", "GALLERIA", "IMAGECOMPARE", "LOAD_3D", "MARKDOWN",
    "PAINTER", "RANGE", "TEXTAREA", "VIDEO_EDIT", "WEBCAM",
}  # fmt: skip
_CONTROL_WORDS = frozenset({"fixed", "increment", "decrement", "randomize", "increment-wrap"})
_SEED_NAMES = frozenset({"seed", "noise_seed"})  # have a control without declaring it
_ZEROS: Mapping[str, Any] = {"INT": 0, "FLOAT": 0.0, "BOOLEAN": False, "STRING": ""}
_MAX_ROWS = 50  # of a dynamic group that declares no maximum

MISSING: Final = object()


def is_widget(spec: InputSpec) -> bool:
    """Whether the editor shows this input as a field and so saves a value for it."""
    return not spec.force_input and field_type(spec) in _FIELD_TYPES


def field_type(spec: InputSpec) -> str:
    """Return the type of the field; an input of several types may declare one for it."""
    widget = spec.options.get("widgetType")
    return widget if isinstance(widget, str) else spec.type


def default_value(spec: InputSpec) -> Any:
    """Return the value that the editor uses if none is saved; MISSING if it has none."""
    if spec.default is not None:
        return spec.default
    if spec.type == DYNAMIC_COMBO:
        return next(iter(_options(spec)), MISSING)
    if spec.type == DYNAMIC_GROUP:
        return _bound(spec.options.get("min"), 0)
    if spec.choices:
        return spec.choices[0]
    return _ZEROS.get(field_type(spec), MISSING)


def widget_values(spec: NodeSpec, node: EditorNode) -> dict[str, Any]:
    """Return the values of all fields of ``node``, as in a prompt, in declared order."""
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
    """Return the values of all fields of a class, taken from ``saved`` in declared order."""
    values: dict[str, Any] = {}
    _fill(spec.inputs.values(), saved, values)
    return values


class SavedValues(Protocol):
    """A source of saved field values."""

    def take(self, name: str, /) -> Any:
        """Return the value of the next field, which has this name; MISSING if there is none."""

    def skip_control(self, choices: tuple[Any, ...] | None, /) -> None:
        """Skip a seed's "control after generate" value, and a choice's filter beside it."""


class ListedValues:
    """Saved values by position."""

    def __init__(self, values: Iterable[Any]) -> None:
        self._values = list(values)
        self._next = 0

    def take(self, _name: str) -> Any:
        if self._next >= len(self._values):
            return MISSING
        self._next += 1
        return self._values[self._next - 1]

    def skip_control(self, choices: tuple[Any, ...] | None) -> None:
        # Old files lack the control, so only its known values are skipped.
        if self._peek() in _CONTROL_WORDS:
            self._next += 1
            if choices is not None and self._peek() == "":
                self._next += 1

    def _peek(self) -> str | None:
        value = self._values[self._next] if self._next < len(self._values) else None
        return value if isinstance(value, str) else None


class _Named:
    """Saved values by name."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def take(self, name: str) -> Any:
        return self._values.get(name, MISSING)

    def skip_control(self, _choices: tuple[Any, ...] | None) -> None:
        """Do nothing: the control has its own name."""


def _fill(inputs: Iterable[InputSpec], saved: SavedValues, values: dict[str, Any]) -> None:
    for spec in inputs:
        if not is_widget(spec):
            continue
        name = spec.name
        if spec.type == "IMAGECOMPARE":  # two images that only the editor knows; never saved
            values[name] = {"__value__": ["", ""]}
            continue
        value = saved.take(name)
        if value is MISSING or value is None:
            value = default_value(spec)
        if value is not MISSING:
            values[name] = as_input(value, spec)
        if _has_control(spec):
            saved.skip_control(spec.choices)
        if spec.type == DYNAMIC_COMBO:
            chosen = (
                nested_inputs(name, _options(spec).get(value), required=True)
                if isinstance(value, str)
                else ()
            )
            _fill(chosen, saved, values)
        elif spec.type == DYNAMIC_GROUP:
            template = spec.options.get("template")
            for row in range(min(_bound(value, 0), _bound(spec.options.get("max"), _MAX_ROWS))):
                fields = nested_inputs(f"{name}.{row}", template, required=True)
                _fill(fields, saved, values)


def _is_button(value: object) -> bool:
    """Whether a saved value is a button's, which 3D nodes save among their fields."""
    return isinstance(value, str) and value in {"upload3dmodel", "uploadExtraResources", "clear"}


def as_input(value: Any, spec: InputSpec | None) -> Any:
    """Return ``value`` as it appears in a prompt.

    Lists are wrapped, binary rounding noise (5.000000000000001) is removed, and a file in a
    subfolder is spelled as the server does: ``a\\b`` and ``a/b`` are one file.
    """
    if isinstance(value, Mapping) and "__value__" in value:  # already wrapped
        return value
    if spec is not None and spec.type == "CURVE":
        return {"__type__": "CURVE", "__value__": value}
    if isinstance(value, float):
        return float(f"{value:.12g}")
    if isinstance(value, str) and spec is not None and spec.choices and value not in spec.choices:
        others = (value.replace("\\", "/"), value.replace("/", "\\"))
        return next((other for other in others if other in spec.choices), value)
    return literal(value)


def _fill_custom_combo(node: EditorNode, values: dict[str, Any]) -> None:
    """Add CustomCombo's options, which only the editor knows: its class does not declare them."""
    if node.named:
        saved: Iterable[Any] = (
            value for key, value in node.named.items() if key.startswith("option")
        )
    else:
        saved = node.values[2:]
    options = [value for value in saved if isinstance(value, str)]
    choice = values.get("choice")
    values["index"] = options.index(choice) if choice in options else 0
    values.update({f"option{number}": value for number, value in enumerate(options, 1)})


def _has_control(spec: InputSpec) -> bool:
    if spec.control_after_generate:
        return True
    declared = "control_after_generate" in spec.options
    name = spec.name.rpartition(".")[2]
    return spec.type == "INT" and name in _SEED_NAMES and not declared


def _options(spec: InputSpec) -> dict[str, Mapping[str, Any]]:
    """Return the inputs of each key of a dynamic combo."""
    inputs_by_key: dict[str, Mapping[str, Any]] = {}
    options = spec.options.get("options")
    for option in options if isinstance(options, list) else ():
        if isinstance(option, Mapping) and isinstance(option.get("key"), str):
            inputs = option.get("inputs")
            inputs_by_key[option["key"]] = inputs if isinstance(inputs, Mapping) else {}
    return inputs_by_key


def _bound(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise
