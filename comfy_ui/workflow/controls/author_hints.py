"""The author's hints about a workflow's controls, from the most deliberate to the least.

App mode's list, nodes that declare a parameter (SwarmUI, Krita, CozyGen, comfy-pack), inputs
promoted to a subgraph node, and primitives with a title.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..editor.convert import Conversion
from ..editor.editor_document import EditorDocument, EditorGraph, EditorNode
from ..editor.link_resolution import PRIMITIVE, ValueOrigin
from ..graph import inputs_of
from .control import ControlTarget
from .literal_inputs import GraphView

_MAX_CHOSEN = 200  # entries of App mode; longer forms are not usable
_TITLES = ("title", "param_name", "name", "label")
_PRIMITIVE_CLASS = re.compile(r"Primitive|(SeedNode|CustomCombo|Constant)$|^(Int|Float|String)$")


@dataclass(frozen=True, slots=True)
class AuthorHint:
    """The author's settings for one control; None or empty where there is no hint."""

    targets: tuple[ControlTarget, ...]
    label: str = ""
    chosen: bool = False  # listed in App mode, so it comes first
    main: bool = True
    group: str = ""
    help: str = ""
    min: float | None = None
    max: float | None = None
    step: float | None = None
    choices: tuple[str, ...] | None = None


def find_hints(
    view: GraphView, editor: Mapping[str, Any] | None, conversion: Conversion | None
) -> Iterator[AuthorHint]:
    """Yield all hints, the strongest first. Several may name the same input."""
    promoted = _promoted(view, conversion) if conversion else {}
    labels = _Labels(conversion.document) if conversion else None
    if editor is not None:
        yield from _app_mode(view, editor, promoted, labels)
    yield from _parameter_nodes(view)
    if labels is not None:
        for origin in sorted(promoted, key=labels.place):
            label = labels.of(origin)
            yield AuthorHint(tuple(promoted[origin]), label, main=":" not in origin.node)
    yield from _titled_primitives(view)


def app_mode_list(editor: Mapping[str, Any], key: str) -> list[Any]:
    """Return the ``inputs`` or ``outputs`` that the author chose for App mode; empty if none."""
    extra = editor.get("extra")
    data = extra.get("linearData") if isinstance(extra, Mapping) else None
    listed = data.get(key) if isinstance(data, Mapping) else None
    return listed[:_MAX_CHOSEN] if isinstance(listed, list) else []


def _promoted(view: GraphView, conversion: Conversion) -> dict[ValueOrigin, list[ControlTarget]]:
    """Group the graph's inputs by where the editor shows their value, in the file's order."""
    targets_by_origin: dict[ValueOrigin, list[ControlTarget]] = {}
    for (node, name), origin in conversion.origins.items():
        if node in view.needed and view.literal_input(node, name) is not None:
            targets_by_origin.setdefault(origin, []).append(ControlTarget(node, name))
    return targets_by_origin


def _app_mode(
    view: GraphView,
    editor: Mapping[str, Any],
    promoted: Mapping[ValueOrigin, list[ControlTarget]],
    labels: _Labels | None,
) -> Iterator[AuthorHint]:
    """Yield hints from ``extra.linearData``.

    Its entries are ``[node id, field]`` or ``["graph id:node id:field", field]``.
    """
    for entry in app_mode_list(editor, "inputs"):
        match entry:
            case [str() | int() as place, str(name), *_]:
                parts = str(place).split(":")
                node = parts[1] if len(parts) >= 3 else parts[-1]
            case _:
                continue
        origin = ValueOrigin(node, name)
        targets = promoted.get(origin) or _plain(view, node, name)
        if targets:
            label = labels.of(origin) if labels and origin in promoted else ""
            yield AuthorHint(tuple(targets), label, chosen=True)


def _plain(view: GraphView, node: str, name: str) -> list[ControlTarget]:
    """Return the targets of an entry; App mode names nodes inside subgraphs by their own id."""
    ids = [key for key in view.graph if key == node or key.endswith(f":{node}")]
    exact = [node] if node in view.graph else ids if len(ids) == 1 else []
    return [ControlTarget(key, name) for key in exact if view.literal_input(key, name) is not None]


def _parameter_nodes(view: GraphView) -> Iterator[AuthorHint]:
    hints = []
    for node in view.graph:
        name = view.parameter(node)
        if node not in view.needed or name is None:
            continue
        inputs = inputs_of(view.graph, node)
        label = next((t for key in _TITLES if (t := _text(inputs.get(key)))), view.own_title(node))
        group, place = "", 0.0
        if view.class_of(node).startswith("ETN_"):
            group, place, label = _krita_name(label)
        hint = AuthorHint(
            (ControlTarget(node, name),),
            label,
            chosen=True,
            main=inputs.get("is_advanced") is not True,
            group=group,
            help=_text(inputs.get("description")),
            min=_number(inputs.get("min"), inputs.get("min_value")),
            max=_number(inputs.get("max"), inputs.get("max_value")),
            step=_number(inputs.get("step")) or None,
            choices=_words(_text(inputs.get("values")) or _text(inputs.get("choices"))),
        )
        order = _number(inputs.get("order_priority"), inputs.get("priority"))
        hints.append((place if order is None else order, hint))
    yield from (hint for _, hint in sorted(hints, key=lambda pair: pair[0]))


def _krita_name(name: str) -> tuple[str, float, str]:
    """Split ``"group/2. Label"`` into group, position and label."""
    group, _, label = name.rpartition("/")
    numbered = re.match(r"(\d{1,9})[.)]\s*", label)
    return (group, float(numbered[1]), label[numbered.end() :]) if numbered else (group, 0.0, label)


def _titled_primitives(view: GraphView) -> Iterator[AuthorHint]:
    for node in view.graph:
        if node in view.needed and _PRIMITIVE_CLASS.search(view.class_of(node)):
            title = view.own_title(node)
            targets = [
                ControlTarget(node, name)
                for name in view.inputs(node)
                if view.literal_input(node, name)
            ]
            if title and targets:
                yield AuthorHint((targets[0],), title)


class _Labels:
    """The editor's labels of fields on subgraph instances and primitive nodes."""

    def __init__(self, document: EditorDocument) -> None:
        self._document = document
        self._places = {key: place for place, key in enumerate(document.root.nodes)}

    def of(self, origin: ValueOrigin) -> str:
        node, definition = self._find(origin)
        if node is None:
            return ""
        if node.type == PRIMITIVE:
            return "" if node.title in ("Primitive", PRIMITIVE) else node.title
        slot_label = next((slot.label for slot in node.inputs if slot.name == origin.field), "")
        place = definition.port_indices.get(origin.field) if definition else None
        return slot_label or (
            definition.inputs[place].label if definition and place is not None else ""
        )

    def place(self, origin: ValueOrigin) -> tuple[int, int]:
        """Return a sort key for fields in the editor's order: by node, then the author's order."""
        _, definition = self._find(origin)
        places = definition.port_indices if definition else {}
        host = self._places.get(origin.node.partition(":")[0], 0)
        return host, places.get(origin.field, len(places))

    def _find(self, origin: ValueOrigin) -> tuple[EditorNode | None, EditorGraph | None]:
        graph: EditorGraph | None = self._document.root
        node = None
        for key in origin.node.split(":"):
            node = graph.nodes.get(key) if graph else None
            graph = self._document.definitions.get(node.type) if node else None
        return node, graph


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(*values: object) -> float | None:
    return next((v for v in values if isinstance(v, int | float) and not isinstance(v, bool)), None)


def _words(text: str) -> tuple[str, ...] | None:
    """Split choices that are separated by commas, lines or ``||``."""
    words = (word.strip() for word in re.split(r"\|\||\n|,", text))
    return tuple(word for word in words if word) or None
