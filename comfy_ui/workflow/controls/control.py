"""A control: one settable value of a graph, and the inputs that it sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ..fields.field_types import Role
from ..presets.schema import Kind

ControlKind = Literal["text", "choice", "bool", "int", "float", "file"]
"""The type of a control's value, whatever its role; decides the widget."""

# ComfyUI's type of an input → the kind of its value, also its role when no other is known.
PLAIN: Mapping[str, Literal["text", "choice", "bool", "int", "float"]] = {
    "STRING": "text",
    "COMBO": "choice",
    "BOOLEAN": "bool",
    "INT": "int",
    "FLOAT": "float",
}


class ControlTarget(NamedTuple):
    """An input of a node in a graph."""

    node: str
    input: str


@dataclass(frozen=True, slots=True)
class Control:
    """One settable value of a graph.

    ``id`` is stable for a given graph and usable as a keyword (``prompt``, ``width``, ``steps_2``).
    ``targets`` are never empty; all of them get the value. ``default`` is the graph's own value.
    ``min``, ``max`` and ``step`` are None without a sensible bound; ``choices`` is None if any
    value is allowed. ``advanced`` controls are collapsed under the heading ``group``; ``hidden``
    ones are technical and not shown at all. ``optional`` controls may stay empty.
    """

    id: str
    role: Role
    kind: ControlKind
    label: str
    targets: tuple[ControlTarget, ...]
    default: Any = None
    min: float | None = None
    max: float | None = None
    step: float | None = None
    choices: tuple[Any, ...] | None = None
    advanced: bool = False
    hidden: bool = False
    group: str = "Main"
    help: str = ""
    multiline: bool = False
    optional: bool = False


@dataclass(frozen=True, slots=True)
class GraphOutput:
    """A node that produces a result, and the result's media type."""

    node: str
    kind: Kind
    title: str
    temporary: bool = False  # a preview: the server drops it when it restarts
