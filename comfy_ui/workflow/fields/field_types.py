"""The field types of forms, one entry for each role of a param or control.

A new type is one entry in :data:`FIELD_TYPES` and, if no widget fits, one function in ``WIDGETS``
of ``web/components/field_widgets.py``. Roles are listed nowhere else: parsing, the allow list,
grids and the page all read the entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from ..conditioning.control_values import parse_controlnets
from ..conditioning.reference_values import parse_references
from ..loras.lora_values import parse_loras
from .numbers import MAX_SEED

__all__ = [
    "FIELD_TYPES",
    "FILE_ROLES",
    "INTEGER_ROLES",
    "MODEL_ROLES",
    "NUMBER_ROLES",
    "OUTPAINT_ROLES",
    "SNAPPED_ROLES",
    "FieldType",
    "Role",
    "grid_hint",
    "usual",
]

Role: TypeAlias = str
"""The role of a param or control: a key of :data:`FIELD_TYPES`."""

ValueKind = Literal["text", "integer", "number", "bool", "file", "model", "loras", "pictures"]

_REPLACE_HINT: Final = "The words to replace, then their replacements: red, blue, green"
_NUMBER_HINT: Final = "8, 12, 20 or a range: 20-40 (+10)"
_LIST_HINT: Final = "Choose below, or separate values with commas"
_TEXT_HINT: Final = "Separate values with commas; quote a value that has one"
_INTEGERS: Final = "For example: 8, 12, 20 or 20-40 (+10)"
_NUMBERS: Final = "For example: 1, 3.5, 7 or 0.2-1 (+0.2)"
_SIDES: Final = {
    "left": "Extend left",
    "top": "Extend top",
    "right": "Extend right",
    "bottom": "Extend bottom",
}


@dataclass(frozen=True, slots=True)
class FieldType:
    """One type of field.

    Args:
        role: its name in presets.
        value: the kind of a value; decides how it is parsed and checked.
        widget: the key of its HTML in ``WIDGETS``.
        usual: default attributes of a param of this role. A low ``order`` puts fields that are set
            often first.
        parse: replaces the parser for ``value``; gets the param's label and the value, and raises
            ValidationError. Must be idempotent.
        takes_choices: whether a param with choices is shown as a list.
        slider: whether a number with a range has a slider.
        accept: the media types of a file field, as in HTML.
        in_grid: whether a grid of variations can vary it.
        grid_hint: the text under it in the grid panel; a general hint if empty.
        grid_example: an example for error messages.
    """

    role: str
    value: ValueKind
    widget: str = "text"
    usual: Mapping[str, Any] = field(default_factory=dict)
    parse: Callable[[str, Any], Any] | None = None
    takes_choices: bool = True
    slider: bool = False
    accept: str = ""
    in_grid: bool = True
    grid_hint: str = ""
    grid_example: str = "Separate them by commas."


FIELD_TYPES: Final[dict[str, FieldType]] = {
    entry.role: entry
    for entry in (
        FieldType(
            "prompt",
            "text",
            widget="text",
            grid_hint=_REPLACE_HINT,
            grid_example="For example: red, blue, green",
            usual={"label": "Prompt", "order": 0, "default": ""},
        ),
        FieldType(
            "negative",
            "text",
            widget="text",
            usual={
                "label": "Negative prompt",
                "order": 10,
                "default": "",
                "help": "What should not be in the result.",
            },
        ),
        FieldType(
            "seed",
            "integer",
            widget="seed",
            grid_hint="7, 8, 9 or -1, -1, -1 for random ones",
            grid_example=_INTEGERS,
            takes_choices=False,
            usual={
                "label": "Seed",
                "order": 40,
                "min": 0,
                "max": MAX_SEED,
                "step": 1,
                "help": "The same seed and settings give the same result. -1 picks a new one.",
            },
        ),
        FieldType(
            "steps",
            "integer",
            widget="number",
            slider=True,
            grid_hint=_NUMBER_HINT,
            grid_example=_INTEGERS,
            usual={
                "label": "Steps",
                "order": 50,
                "min": 1,
                "max": 100,
                "step": 1,
                "help": "More steps take longer and refine more.",
            },
        ),
        FieldType(
            "cfg",
            "number",
            widget="number",
            slider=True,
            grid_hint=_NUMBER_HINT,
            grid_example=_NUMBERS,
            usual={
                "label": "CFG",
                "order": 51,
                "min": 0,
                "max": 20,
                "step": 0.1,
                "help": "How closely the prompt is followed. "
                "At 1 the negative prompt has no effect.",
            },
        ),
        FieldType(
            "guidance",
            "number",
            widget="number",
            slider=True,
            grid_hint=_NUMBER_HINT,
            grid_example=_NUMBERS,
            usual={
                "label": "Guidance",
                "order": 52,
                "min": 0,
                "max": 20,
                "step": 0.1,
                "help": "How closely the prompt is followed.",
            },
        ),
        FieldType(
            "sampler",
            "text",
            widget="text",
            usual={
                "label": "Sampler",
                "order": 53,
                "advanced": True,
                "choices_from": "object_info",
            },
        ),
        FieldType(
            "scheduler",
            "text",
            widget="text",
            usual={
                "label": "Scheduler",
                "order": 54,
                "advanced": True,
                "choices_from": "object_info",
            },
        ),
        FieldType(
            "width",
            "integer",
            widget="number",
            grid_hint=_NUMBER_HINT,
            grid_example=_INTEGERS,
            usual={"label": "Width", "order": 30, "min": 256, "max": 2048, "step": 16},
        ),
        FieldType(
            "height",
            "integer",
            widget="number",
            grid_hint=_NUMBER_HINT,
            grid_example=_INTEGERS,
            usual={"label": "Height", "order": 31, "min": 256, "max": 2048, "step": 16},
        ),
        FieldType(
            "frames",
            "integer",
            widget="number",
            slider=True,
            grid_hint=_NUMBER_HINT,
            grid_example=_INTEGERS,
            usual={"label": "Frames", "order": 33},
        ),
        FieldType(
            "fps",
            "number",
            widget="number",
            grid_hint=_NUMBER_HINT,
            grid_example=_NUMBERS,
            usual={"label": "Frames per second", "order": 34, "min": 1, "max": 60, "step": 1},
        ),
        FieldType(
            "duration",
            "number",
            widget="number",
            slider=True,
            grid_hint=_NUMBER_HINT,
            grid_example=_NUMBERS,
            usual={"label": "Length (seconds)", "order": 32, "step": 0.1},
        ),
        FieldType(
            "batch",
            "integer",
            widget="number",
            slider=True,
            grid_hint=_NUMBER_HINT,
            grid_example=_INTEGERS,
            usual={"label": "Images", "order": 41, "min": 1, "max": 16, "step": 1, "default": 1},
        ),
        FieldType(
            "strength",
            "number",
            widget="number",
            slider=True,
            grid_hint=_NUMBER_HINT,
            grid_example=_NUMBERS,
            usual={
                "label": "Strength",
                "order": 20,
                "min": 0,
                "max": 1,
                "step": 0.05,
                "help": "How much may change: 0 keeps everything, 1 redraws it all.",
            },
        ),
        FieldType(
            "model",
            "model",
            widget="text",
            usual={
                "label": "Model",
                "order": 60,
                "advanced": True,
                "group": "Models",
                "choices_from": "object_info",
            },
        ),
        FieldType(
            "lora",
            "model",
            widget="text",
            usual={"label": "LoRA", "order": 61, "group": "Models", "choices_from": "object_info"},
        ),
        FieldType(
            "loras",
            "loras",
            widget="loras",
            parse=lambda _label, value: parse_loras(value),
            grid_hint="Compared one by one, with the others of the form: none, ink, glow:0.6",
            takes_choices=False,
            usual={"label": "LoRAs", "order": 1},
        ),
        FieldType(
            "controlnets",
            "pictures",
            widget="pictures",
            parse=lambda _label, value: parse_controlnets(value),
            in_grid=False,
            takes_choices=False,
            usual={"label": "ControlNets", "order": 2},
        ),
        FieldType(
            "references",
            "pictures",
            widget="pictures",
            parse=lambda _label, value: parse_references(value),
            in_grid=False,
            takes_choices=False,
            usual={"label": "References", "order": 3},
        ),
        FieldType(
            "image",
            "file",
            widget="upload",
            accept="image/*",
            in_grid=False,
            takes_choices=False,
            usual={"label": "Image", "order": 5},
        ),
        FieldType(
            "mask",
            "file",
            widget="upload",
            accept="image/*",
            in_grid=False,
            takes_choices=False,
            usual={"label": "Mask", "order": 6},
        ),
        FieldType(
            "video",
            "file",
            widget="upload",
            accept="video/*",
            in_grid=False,
            takes_choices=False,
            usual={"label": "Video", "order": 7},
        ),
        FieldType(
            "audio",
            "file",
            widget="upload",
            accept="audio/*",
            in_grid=False,
            takes_choices=False,
            usual={"label": "Audio", "order": 8},
        ),
        *(
            FieldType(
                f"outpaint_{side}",
                "integer",
                widget="number",
                grid_hint=_NUMBER_HINT,
                grid_example=_INTEGERS,
                usual={
                    "label": label,
                    "order": 12,
                    "min": 0,
                    "max": 2048,
                    "step": 8,
                    "default": 0,
                },
            )
            for side, label in _SIDES.items()
        ),
        FieldType("text", "text", widget="text"),
        FieldType("choice", "text", widget="text"),
        FieldType("bool", "bool", widget="switch", takes_choices=False),
        FieldType(
            "int", "integer", widget="number", grid_hint=_NUMBER_HINT, grid_example=_INTEGERS
        ),
        FieldType(
            "float", "number", widget="number", grid_hint=_NUMBER_HINT, grid_example=_NUMBERS
        ),
    )
}


class _Roles(AbstractSet[str]):
    """A live view of the roles in :data:`FIELD_TYPES` whose values have one of some kinds."""

    def __init__(self, *kinds: ValueKind) -> None:
        self._kinds = kinds

    def __contains__(self, role: object) -> bool:
        entry = FIELD_TYPES.get(role) if isinstance(role, str) else None
        return entry is not None and entry.value in self._kinds

    def __iter__(self) -> Iterator[str]:
        return (role for role in FIELD_TYPES if role in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @classmethod
    def _from_iterable(cls, it: Iterable[Any]) -> frozenset[Any]:
        return frozenset(it)


INTEGER_ROLES: Final = _Roles("integer")
NUMBER_ROLES: Final = _Roles("integer", "number")
FILE_ROLES: Final = _Roles("file")
MODEL_ROLES: Final = _Roles("model")
OUTPAINT_ROLES: Final = (*(f"outpaint_{side}" for side in _SIDES),)
"""The pixels that outpainting adds at each side; together they are the frame of the canvas."""
SNAPPED_ROLES: Final = frozenset({"width", "height", *OUTPAINT_ROLES})
"""Numbers that are rounded to the param's step."""


def usual(role: str) -> Mapping[str, Any]:
    """Return the default attributes of a param of that role."""
    entry = FIELD_TYPES.get(role)
    return entry.usual if entry else {}


def grid_hint(role: str, *, has_choices: bool) -> str | None:
    """Return the text under a field in the grid panel; None if a grid cannot vary it."""
    entry = FIELD_TYPES[role]
    if not entry.in_grid:
        return None
    return entry.grid_hint or (_LIST_HINT if has_choices else _TEXT_HINT)
