"""Where an input's value comes from: back through reroutes, bypassed nodes, Get/Set pairs and
subgraph borders.

Every step leads to exactly one other slot, so following a link is a loop, and a chain of ten
thousand reroutes is no deeper than one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from ...errors import InvalidWorkflowError
from .editor_document import INPUT_NODE, EditorDocument, EditorGraph, EditorNode, NodeMode, NodeSlot
from .widget_values import MISSING

REROUTES = frozenset({"Reroute", "Reroute (rgthree)"})
GETTERS = frozenset({"GetNode", "easy getNode"})
SETTERS = frozenset({"SetNode", "easy setNode"})
PRIMITIVE = "PrimitiveNode"

MAX_DEPTH = 32  # subgraphs inside subgraphs
_MAX_STEPS = 500_000  # links followed in one conversion; keeps a hostile file from taking minutes


class ValueOrigin(NamedTuple):
    """Where a value is set: a field of a subgraph instance or of a primitive node."""

    node: str  # by the id that it has, or would have, in the prompt
    field: str


@dataclass(frozen=True, slots=True)
class OutputSlot:
    """An output slot of a node that runs, by its id in the prompt."""

    node: str
    slot: int


@dataclass(frozen=True, slots=True)
class LiteralValue:
    """A value stored on another node than the one that takes it."""

    value: Any
    origin: ValueOrigin


Resolved = OutputSlot | LiteralValue | None
"""None: the input is not fed by anything, and keeps its own value if it has one."""


@dataclass(eq=False)
class Scope:
    """One use of a graph: the file's own, or a definition at the place of one of its instances.

    Two instances of a definition are two scopes with values of their own.
    """

    graph: EditorGraph
    prefix: str = ""
    depth: int = 0
    host: EditorNode | None = None
    parent: Scope | None = None
    # Values that the instance gives: to inputs of its definition, and directly to fields of inner
    # nodes.
    ports: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, dict[str, Any]] = field(default_factory=dict)
    children: dict[str, Scope] = field(default_factory=dict)
    host_links: dict[str, str | None] = field(default_factory=dict)  # into the instance, by name

    @cached_property
    def setters(self) -> dict[str, EditorNode]:
        """The Set nodes of the graph by the name that they give."""
        found = [node for node in self.graph.nodes.values() if node.type in SETTERS and node.values]
        return {node.values[0]: node for node in found if isinstance(node.values[0], str)}

    def origin(self, field: str) -> ValueOrigin:
        """A field of the instance that this scope is the inside of."""
        return ValueOrigin(self.prefix.removesuffix(":"), field)

    def id_of(self, node: EditorNode) -> str:
        """The node's id in the prompt."""
        return self.prefix + node.id


FieldValue = Callable[[Scope, EditorNode, str], Any]
"""The value of a field on a node as saved, or MISSING."""


class LinkResolver:
    """Follows links through one document."""

    def __init__(self, document: EditorDocument, own_value: FieldValue) -> None:
        self._definitions = document.definitions
        self._own_value = own_value
        self._steps = 0
        self.root = Scope(document.root)

    def definition(self, node: EditorNode) -> EditorGraph | None:
        """The definition that ``node`` is an instance of."""
        return self._definitions.get(node.type)

    def enter(self, scope: Scope, host: EditorNode) -> Scope:
        """The inside of a subgraph instance. The same scope for the same instance, every time.

        Raises InvalidWorkflowError for subgraphs nested without end.
        """
        child = scope.children.get(host.id)
        if child is None:
            if scope.depth >= MAX_DEPTH:
                raise InvalidWorkflowError(
                    f"Subgraphs are nested more than {MAX_DEPTH} deep, or contain themselves.",
                    hint="Open the workflow in ComfyUI and unpack the innermost subgraphs.",
                )
            graph = self._definitions[host.type]
            child = Scope(graph, f"{scope.id_of(host)}:", scope.depth + 1, host, scope)
            child.host_links = {slot.name: slot.link for slot in host.inputs}
            _read_host_values(child, host)
            child.ports.update(scope.fields.get(host.id, {}))  # values from further out win
            scope.children[host.id] = child
        return child

    def resolve(self, scope: Scope, slot: NodeSlot) -> Resolved:
        """What feeds the input ``slot`` of a node in ``scope``."""
        wanted = slot.type
        link = slot.link
        fallbacks: list[tuple[Scope, NodeSlot]] = []
        while link is not None:
            self._count_step()
            found = scope.graph.links.get(link)
            if found is None:
                break
            if found.origin == INPUT_NODE and scope.host is not None and scope.parent is not None:
                port = scope.graph.port_of.get(link)
                if port is None:
                    break
                fallbacks.append((scope, port))
                link, scope = scope.host_links.get(port.name), scope.parent
                continue
            node = scope.graph.nodes.get(found.origin)
            if node is None or node.mode is NodeMode.MUTED:
                break
            index = found.origin_slot
            if node.mode is NodeMode.BYPASSED:
                self._count_step(len(node.inputs))
                link = _passed_through(node, index, wanted)
            elif node.type in self._definitions:
                scope = self.enter(scope, node)
                link = scope.graph.outlets.get(index)
            elif node.type in REROUTES or node.type in SETTERS:
                link = node.inputs[0].link if node.inputs else None
            elif node.type in GETTERS:
                setter = _setter(scope, node)
                if setter is None:
                    break
                scope, link = setter
            elif node.type == PRIMITIVE:
                value = scope.fields.get(node.id, {}).get("value", next(iter(node.values), None))
                origin = ValueOrigin(scope.id_of(node), "value")
                return None if value is None else LiteralValue(value, origin)
            else:
                return OutputSlot(scope.id_of(node), index)
        # Nothing feeds it. A field on a subgraph's border that it passed keeps its own value,
        # like any other field.
        for passed, port in reversed(fallbacks):
            value = self.port_value(passed, port)
            if value is not MISSING:
                return LiteralValue(value, passed.origin(port.name))
        return None

    def port_value(self, scope: Scope, port: NodeSlot) -> Any:
        """The value that an instance gives to an input of its definition that nothing is linked to.

        Where the instance says nothing, it is that of the first field inside that the input is
        joined to.
        """
        value = scope.ports.get(port.name)
        if value is None:
            value = scope.ports[port.name] = self._inner_value(scope, port)
        return value

    def _inner_value(self, scope: Scope, port: NodeSlot) -> Any:
        targets = [*scope.graph.targets(port)]
        for node, slot in targets:
            value = scope.fields.get(node.id, {}).get(slot.name)
            if value is not None:
                return value
        for node, slot in targets[:1]:
            definition = self._definitions.get(node.type)
            if definition is None:
                return self._own_value(scope, node, slot.name)
            place = definition.port_places.get(slot.name)
            if place is not None:
                return self.port_value(self.enter(scope, node), definition.inputs[place])
        return MISSING

    def _count_step(self, count: int = 1) -> None:
        self._steps += count
        if self._steps > _MAX_STEPS:
            raise InvalidWorkflowError(
                "The links of this workflow lead in a circle, or are too many to follow.",
                hint="Open it in ComfyUI and look for reroutes that feed each other.",
            )


def compatible(one: str, other: str) -> bool:
    """Whether an output of one type may feed an input of the other, as the editor sees it."""
    if one in ("", "*") or other in ("", "*"):
        return True
    return not _kinds(one).isdisjoint(_kinds(other))


def _kinds(types: str) -> set[str]:
    return {kind.strip() for kind in types.upper().split(",")}


def _passed_through(node: EditorNode, index: int, wanted: str) -> str | None:
    """The link into a bypassed node that replaces its output ``index``.

    ``wanted`` is the type of the input at the end of the way.
    """
    inputs = node.inputs
    same = inputs[index] if 0 <= index < len(inputs) else None
    if wanted in ("", "*"):
        chosen = same or next(iter(inputs), None)
        return chosen.link if chosen else None
    given = node.outputs[index].type if 0 <= index < len(node.outputs) else "*"
    if same is not None and compatible(same.type, given) and compatible(same.type, wanted):
        return same.link
    exact = (slot for slot in inputs if slot.type.upper() == wanted.upper())
    fitting = (slot for slot in inputs if compatible(slot.type, wanted))
    chosen = next(exact, None) or next(fitting, None)
    return chosen.link if chosen else None


def _setter(scope: Scope, getter: EditorNode) -> tuple[Scope, str | None] | None:
    """The link into the Set node that has the getter's name, here or in a graph around."""
    name = next(iter(getter.values), None)
    where: Scope | None = scope
    while where is not None:
        node = where.setters.get(name) if isinstance(name, str) else None
        if node is not None:
            muted = node.mode is NodeMode.MUTED or not node.inputs
            return where, None if muted else node.inputs[0].link
        where = where.parent
    return None


def _read_host_values(scope: Scope, host: EditorNode) -> None:
    """What an instance's own fields say, in any of the spellings that files have had."""
    proxies = [*_proxies(host)]
    if proxies:
        for (inner, widget), value in zip(proxies, host.values, strict=False):
            if value is None or widget.startswith("$$"):  # a preview, not a field
                continue
            if inner == "-1":
                scope.ports[widget] = value
            else:
                scope.fields.setdefault(inner, {})[widget] = value
    elif not host.named:
        scope.ports.update(zip(scope.graph.fields, host.values, strict=False))
    scope.ports.update(host.named)


def _proxies(host: EditorNode) -> Iterator[tuple[str, str]]:
    entries = host.properties.get("proxyWidgets")
    for entry in entries if isinstance(entries, list) else ():
        match entry:
            case [str() | int() as inner, str(widget), *_]:
                yield str(inner), widget
            case _:  # keeps its place in the list of values
                yield "", "$$"
