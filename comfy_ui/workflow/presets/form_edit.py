"""Edit the form of a preset: names, order, headings, defaults and ranges of its fields.

The edit is a plain document, as the page sends it; the graph and the models stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from ...errors import ValidationError
from ..fields.field_types import FIELD_TYPES, FILE_ROLES, INTEGER_ROLES, NUMBER_ROLES
from ..fields.numbers import parse_number
from ..fields.param_values import limits
from .schema import Param, Preset, Value

__all__ = ["FieldEdit", "FormEdit", "Place", "edited", "place_of"]

Place = Literal["main", "advanced", "hidden"]

_Number = Annotated[int | float, Field(allow_inf_nan=False)]


class _EditRecord(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FieldEdit(_EditRecord):
    """One field. ``group`` is its heading under Advanced; empty keeps the present one."""

    id: str
    label: Annotated[str, Field(max_length=120)]
    place: Place = "main"
    group: Annotated[str, Field(max_length=120)] = ""
    help: Annotated[str, Field(max_length=1000)] = ""
    default: Value | None = None
    min: _Number | None = None
    max: _Number | None = None


class FormEdit(_EditRecord):
    """The whole form. ``fields`` are in their new order."""

    title: Annotated[str, Field(max_length=80)]
    description: Annotated[str, Field(max_length=2000)] = ""
    fields: Annotated[tuple[FieldEdit, ...], Field(max_length=1000)] = ()


def place_of(param: Param) -> Place:
    """Return where a form shows a param.

    >>> place_of(Param.model_validate({"id": "steps", "advanced": True}))
    'advanced'
    """
    return "hidden" if param.hidden else "advanced" if param.advanced else "main"


def edited(preset: Preset, edit: FormEdit) -> Preset:
    """Return a preset with an edited form. Params that the edit does not name come last.

    Raises:
        ValidationError: no title or label, an unknown or repeated field, a default out of range or
            not among the choices, or a hidden field that a run needs a value for.
    """
    title = " ".join(edit.title.split())
    if not title:
        raise ValidationError("Give it a name.", hint="Letters and digits, for instance.")
    params = {param.id: param for param in preset.params}
    changed: list[Param] = []
    for field in edit.fields:
        param = params.pop(field.id, None)
        if param is None:
            raise ValidationError(f"There is no field '{field.id}' in this form.")
        changed.append(_edited_param(param, field))
    ordered = [
        param.model_copy(update={"order": order})
        for order, param in enumerate((*changed, *params.values()))
    ]
    return preset.model_copy(
        update={
            "title": title,
            "description": edit.description.strip(),
            "params": _in_graph_order(preset.params, ordered),
        }
    )


def _in_graph_order(before: Sequence[Param], changed: Sequence[Param]) -> tuple[Param, ...]:
    """Keep the sequence of params, which decides which of a role is the first; only orders move."""
    by_id = {param.id: param for param in changed}
    return tuple(by_id[param.id] for param in before)


def _edited_param(param: Param, field: FieldEdit) -> Param:
    label = " ".join(field.label.split())
    if not label:
        raise ValidationError(f"The field '{param.label}' needs a name.")
    hidden = field.place == "hidden"
    if hidden and param.role == "prompt":
        raise ValidationError(f"'{label}' is the prompt and cannot be hidden.")
    is_number = param.role in NUMBER_ROLES
    changes: dict[str, Any] = {
        "label": label,
        "advanced": field.place != "main",
        "hidden": hidden,
        "group": " ".join(field.group.split()) or param.group,
        "help": field.help.strip(),
        "default": _default(param, label, field.default),
    }
    if is_number and param.role != "seed":
        changes |= {"min": field.min, "max": field.max}
    try:
        edited = Param.model_validate({**param.model_dump(exclude_unset=True), **changes})
    except pydantic.ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ValidationError(f"'{label}': {reason}.") from error
    if is_number and isinstance(edited.default, int | float):
        low, high = limits(edited)
        if not low <= edited.default <= high:
            raise ValidationError(
                f"The default of '{label}' is outside its range of {low:g} to {high:g}."
            )
    if hidden and edited.default is None and edited.role in FILE_ROLES and not edited.optional:
        raise ValidationError(
            f"'{label}' cannot be hidden, because a run needs a file for it.",
            hint="Give it a default, or show it.",
        )
    return edited


def _default(param: Param, label: str, value: Value | None) -> Value | None:
    """Return a default of the param's type; an empty text means none, except for texts."""
    kind = FIELD_TYPES[param.role].value
    if kind == "text" and param.choices is None and param.choices_from is None:
        return str(value) if value is not None else param.default and ""
    if value is None or value == "":
        return None if param.role == "seed" or param.role in FILE_ROLES else param.default
    if param.role in NUMBER_ROLES:
        try:
            return parse_number(value, whole=param.role in INTEGER_ROLES)
        except ValueError as error:
            raise ValidationError(f"The default of '{label}' is not a number.") from error
    if kind == "bool":
        return value in (True, "true")
    if param.choices is not None and value not in param.choices:
        raise ValidationError(f"'{value}' is not among the choices of '{label}'.")
    return value
