"""An editor-format file as frozen dataclasses. All validation of types happens here.

Versions 0.4 (links are lists) and 1.0 (links are objects) give the same document; inside subgraph
definitions links are objects in both. Native reroutes are ignored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from typing import Any

from ...errors import InvalidWorkflowError, Problem

INPUT_NODE = "-10"  # the pseudo node of a definition's inputs
OUTPUT_NODE = "-20"

# In one file, and again after expansion. The largest shared workflows have some thousands.
MAX_NODES = 20_000


class NodeMode(IntEnum):
    """The execution mode of a node. Unknown numbers count as ALWAYS, as in the editor."""

    ALWAYS = 0
    MUTED = 2
    BYPASSED = 4


@dataclass(frozen=True, slots=True)
class NodeSlot:
    """An input or output of a node or subgraph definition, with its links."""

    name: str
    type: str = "*"
    label: str = ""
    links: tuple[str, ...] = ()
    widget: bool = False  # an input that is also a field on the node

    @property
    def link(self) -> str | None:
        """The link into this input."""
        return self.links[0] if self.links else None


@dataclass(frozen=True, slots=True)
class EditorLink:
    """A link from an output slot to an input.

    The target slot's number is stale in many files, so the link that an input names is used.
    """

    id: str
    origin: str
    origin_slot: int
    target: str
    target_slot: int
    type: str


@dataclass(frozen=True, slots=True)
class EditorNode:
    """One node as the editor saved it."""

    id: str
    type: str
    title: str = ""
    mode: NodeMode = NodeMode.ALWAYS
    inputs: tuple[NodeSlot, ...] = ()
    outputs: tuple[NodeSlot, ...] = ()
    values: tuple[Any, ...] = ()  # widget values by position
    named: Mapping[str, Any] = field(default_factory=dict)  # widget values by name, if saved
    properties: Mapping[str, Any] = field(default_factory=dict)
    center: tuple[float, float] | None = None  # on the canvas


@dataclass(frozen=True, slots=True)
class EditorGroup:
    """A titled rectangle that the author drew around nodes."""

    title: str
    left: float
    top: float
    width: float
    height: float

    def contains(self, point: tuple[float, float]) -> bool:
        """Whether a node with this center belongs to the group."""
        across, down = point[0] - self.left, point[1] - self.top
        return 0 <= across <= self.width and 0 <= down <= self.height


@dataclass(frozen=True)
class EditorGraph:
    """The nodes and links of a file or of one subgraph definition."""

    nodes: Mapping[str, EditorNode]
    links: Mapping[str, EditorLink]
    inputs: tuple[NodeSlot, ...] = ()
    outputs: tuple[NodeSlot, ...] = ()
    name: str = ""
    groups: tuple[EditorGroup, ...] = ()

    def group_of(self, node: EditorNode) -> str:
        """Return the title of the smallest group around a node, or an empty text."""
        center = node.center
        around = [group for group in self.groups if center and group.contains(center)]
        return min(around, key=lambda group: group.width * group.height).title if around else ""

    @cached_property
    def port_of(self) -> Mapping[str, NodeSlot]:
        """The definition's input by each link that starts at it."""
        ports = {
            link.id: self.inputs[link.origin_slot]
            for link in self.links.values()
            if link.origin == INPUT_NODE and 0 <= link.origin_slot < len(self.inputs)
        }
        return ports | {link: port for port in self.inputs for link in port.links}

    @cached_property
    def port_indices(self) -> Mapping[str, int]:
        """The indices of the definition's inputs by name."""
        return {port.name: place for place, port in enumerate(self.inputs)}

    @cached_property
    def outlets(self) -> Mapping[int, str]:
        """The inner link that ends at each output of the definition, by the output's index."""
        links = {
            link.target_slot: link.id for link in self.links.values() if link.target == OUTPUT_NODE
        }
        for index, port in enumerate(self.outputs):
            target = next((link for link in port.links if link in self.links), None)
            if target is not None:
                links[index] = target
        return links

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The names of the definition's inputs that are fields on an instance, in order."""
        return tuple(
            port.name for port in self.inputs if any(slot.widget for _, slot in self.targets(port))
        )

    def targets(self, port: NodeSlot) -> Iterator[tuple[EditorNode, NodeSlot]]:
        """Yield the inner inputs that an input of the definition is linked to, in order."""
        return (self._fed[link] for link in port.links if link in self._fed)

    @cached_property
    def _fed(self) -> Mapping[str, tuple[EditorNode, NodeSlot]]:
        """The input that each link feeds, as named by the inputs themselves."""
        return {
            slot.link: (node, slot)
            for node in self.nodes.values()
            for slot in node.inputs
            if slot.link is not None
        }


@dataclass(frozen=True, slots=True)
class EditorDocument:
    """An editor-format file."""

    root: EditorGraph
    definitions: Mapping[str, EditorGraph]
    extra: Mapping[str, Any]


def read_document(editor: object) -> EditorDocument:
    """Validate and read an editor-format workflow.

    Raises InvalidWorkflowError with the invalid part's location for anything else.
    """
    if not isinstance(editor, Mapping) or "nodes" not in editor:
        raise _invalid("workflow", "no list of nodes")
    raw = _mapping(editor.get("definitions"), "definitions").get("subgraphs")
    definitions: dict[str, EditorGraph] = {}
    budget = MAX_NODES
    for index, entry in enumerate(_list(raw, "definitions.subgraphs")):
        where = f"definitions.subgraphs[{index}]"
        definition = _mapping(entry, where)
        graph = _graph(definition, where)
        definitions[_text(definition.get("id"))] = graph
        budget -= len(graph.nodes)
    root = _graph(editor, "workflow")
    if budget < len(root.nodes):
        raise _invalid("workflow", f"more than {MAX_NODES} nodes")
    return EditorDocument(root, definitions, _loose_mapping(editor.get("extra")))


def _graph(raw: Mapping[str, Any], where: str) -> EditorGraph:
    nodes: dict[str, EditorNode] = {}
    doubles: list[EditorNode] = []
    for index, entry in enumerate(_list(raw.get("nodes"), f"{where}.nodes")):
        node = read_node(entry, f"{where}.nodes[{index}]")
        if node.id in nodes:
            doubles.append(node)
        else:
            nodes[node.id] = node
    free = 1 + max((int(key) for key in nodes if _is_number(key)), default=0)
    for number, node in enumerate(doubles, free):  # as in the editor, a duplicate gets a new id
        nodes[str(number)] = replace(node, id=str(number))
    return EditorGraph(
        nodes,
        {link.id: link for link in _links(raw.get("links"), f"{where}.links")},
        _slots(raw.get("inputs"), f"{where}.inputs"),
        _slots(raw.get("outputs"), f"{where}.outputs"),
        _text(raw.get("name")),
        tuple(_groups(raw.get("groups"))),
    )


def read_node(raw: object, where: str) -> EditorNode:
    """Read one node of a file; ``where`` is its location in errors."""
    entry = _mapping(raw, where)
    if not _is_id(entry.get("id")):
        raise _invalid(where, "no id")
    if not isinstance(entry.get("type"), str):
        raise _invalid(where, "no type")
    values = entry.get("widgets_values")
    named = _loose_mapping(entry.get("widgets_values_named"))
    if isinstance(values, Mapping):  # some packs (VideoHelperSuite) save values by name here
        named = {**values, **named}
    mode = entry.get("mode")
    return EditorNode(
        id=_key(entry["id"]),
        type=entry["type"],
        title=_text(entry.get("title")),
        mode=NodeMode(mode) if mode in (2, 4) and not isinstance(mode, bool) else NodeMode.ALWAYS,
        inputs=_slots(entry.get("inputs"), f"{where}.inputs"),
        outputs=_slots(entry.get("outputs"), f"{where}.outputs"),
        values=tuple(map(_finite, values)) if isinstance(values, list | tuple) else (),
        named={_text(key): _finite(value) for key, value in named.items()},
        properties=_loose_mapping(entry.get("properties")),
        center=_center(entry),
    )


def _groups(raw: object) -> Iterator[EditorGroup]:
    """Yield the groups that have a title. They are hints, so an invalid one counts as absent."""
    for entry in raw if isinstance(raw, list) else ():
        title = _text(entry.get("title")).strip() if isinstance(entry, Mapping) else ""
        box = _numbers(entry.get("bounding"), 4) if title else None
        if box is not None:
            yield EditorGroup(title, *box)


def _center(entry: Mapping[str, Any]) -> tuple[float, float] | None:
    corner, size = _numbers(entry.get("pos"), 2), _numbers(entry.get("size"), 2) or (0.0, 0.0)
    return (corner[0] + size[0] / 2, corner[1] + size[1] / 2) if corner else None


def _numbers(raw: object, count: int) -> tuple[float, ...] | None:
    """Read finite numbers, which LiteGraph saved as a list or as ``{"0": …}``."""
    listed = [*raw.values()] if isinstance(raw, Mapping) else raw
    if not isinstance(listed, list) or len(listed) < count:
        return None
    numbers = listed[:count]
    if all(isinstance(n, int | float) and math.isfinite(n) for n in numbers):
        return tuple(float(number) for number in numbers)
    return None


def _slots(raw: object, where: str) -> tuple[NodeSlot, ...]:
    return tuple(
        _slot(_mapping(entry, f"{where}[{index}]")) for index, entry in enumerate(_list(raw, where))
    )


def _slot(raw: Mapping[str, Any]) -> NodeSlot:
    links = raw.get("linkIds", raw.get("links"))
    if _is_id(raw.get("link")):
        links = [raw["link"]]
    kind = raw.get("type")
    return NodeSlot(
        name=_text(raw.get("name")),
        type=kind if isinstance(kind, str) else "*" if kind in (None, 0, -1) else "COMBO",
        label=_text(raw.get("label")),
        links=tuple(_key(link) for link in links if _is_id(link))
        if isinstance(links, list)
        else (),
        widget=isinstance(raw.get("widget"), Mapping),
    )


def _links(raw: object, where: str) -> Iterator[EditorLink]:
    for index, entry in enumerate(_list(raw, where)):
        match entry:
            case None:  # older editors left null for removed links
                continue
            case [link, origin, origin_slot, target, target_slot, *rest]:
                kind = rest[0] if rest else "*"
            case {"id": link, "origin_id": origin, "target_id": target}:
                origin_slot, target_slot = entry.get("origin_slot"), entry.get("target_slot")
                kind = entry.get("type")
            case _:
                raise _invalid(f"{where}[{index}]", "not a link")
        if not (_is_id(link) and _is_id(origin) and _is_id(target)):
            raise _invalid(f"{where}[{index}]", "not a link")
        yield EditorLink(
            _key(link), _key(origin), _number(origin_slot), _key(target), _number(target_slot),
            kind if isinstance(kind, str) else "*",
        )  # fmt: skip


def _invalid(where: str, what: str) -> InvalidWorkflowError:
    message = f"Not a valid workflow: {what} at {where}."
    return InvalidWorkflowError(
        message,
        problems=[Problem("invalid_workflow", message)],
        hint="Open the file in ComfyUI and save it again, or export it with Export (API).",
    )


def _mapping(raw: object, where: str) -> Mapping[str, Any]:
    if raw is None:
        return {}
    if not isinstance(raw, Mapping):
        raise _invalid(where, "no object")
    return raw


def _loose_mapping(raw: object) -> Mapping[str, Any]:
    """Read a part whose content packs choose: anything but an object counts as absent."""
    return raw if isinstance(raw, Mapping) else {}


def _list(raw: object, where: str) -> Sequence[Any]:
    if raw is None:
        return ()
    if isinstance(raw, Mapping) and all(_is_number(key) for key in raw):
        return [*raw.values()]  # LiteGraph once saved some lists as {"0": …}
    if not isinstance(raw, list | tuple):
        raise _invalid(where, "no list")
    return raw


def _finite(value: Any) -> Any:
    """Return ``value``, or None for NaN and infinities, which JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(raw: object) -> str:
    return raw if isinstance(raw, str) else ""


def _number(raw: object) -> int:
    """Read a slot's number; anything else gives a number that no slot has."""
    return raw if isinstance(raw, int) and not isinstance(raw, bool) else -1


def _is_number(key: object) -> bool:
    return isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 20


def _is_id(raw: object) -> bool:
    return isinstance(raw, str) or (
        isinstance(raw, int) and not isinstance(raw, bool) and abs(raw) < 2**63
    )


def _key(raw: int | str) -> str:
    return str(raw)
