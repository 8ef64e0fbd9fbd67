"""Resolve the source of an input's value, through reroutes, bypassed nodes, Get/Set pairs and
subgraph borders.

Every step leads to exactly one other slot, so following a link is a loop without recursion, and
long chains of reroutes cannot exhaust the stack.
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
    """The field that sets a value, on a subgraph instance or primitive node."""

    node: str  # its id, or the id it would have, in the prompt
    field: str


@dataclass(frozen=True, slots=True)
class OutputSlot:
    """An output slot of a node that runs, by its id in the prompt."""

    node: str
    slot: int


@dataclass(frozen=True, slots=True)
class LiteralValue:
    """A value that is stored on another node than the one that uses it."""

    value: Any
    origin: ValueOrigin


Resolved = OutputSlot | LiteralValue | None
"""None: the input has no source and keeps its own value, if any."""


@dataclass(eq=False)
class Scope:
    """One use of a graph: the file's own, or a definition within one of its instances.

    Two instances of a definition are two scopes with separate values.
    """

    graph: EditorGraph
    prefix: str = ""
    depth: int = 0
    host: EditorNode | None = None
    parent: Scope | None = None
    # Values from the instance: for its definition's inputs, and directly for fields of inner nodes.
    ports: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, dict[str, Any]] = field(default_factory=dict)
    children: dict[str, Scope] = field(default_factory=dict)
    host_links: dict[str, str | None] = field(default_factory=dict)  # into the instance, by name

    @cached_property
    def setters(self) -> dict[str, EditorNode]:
        """The Set nodes of the graph by the name that they define."""
        nodes = [node for node in self.graph.nodes.values() if node.type in SETTERS and node.values]
        return {node.values[0]: node for node in nodes if isinstance(node.values[0], str)}

    def origin(self, field: str) -> ValueOrigin:
        """Return the origin of a field on this scope's instance."""
        return ValueOrigin(self.prefix.removesuffix(":"), field)

    def id_of(self, node: EditorNode) -> str:
        """Return the node's id in the prompt."""
        return self.prefix + node.id


FieldValue = Callable[[Scope, EditorNode, str], Any]
"""Gets the saved value of a field on a node, or MISSING."""


class LinkResolver:
    """Follows the links of one document."""

    def __init__(self, document: EditorDocument, own_value: FieldValue) -> None:
        self._definitions = document.definitions
        self._own_value = own_value
        self._steps = 0
        self.root = Scope(document.root)

    def definition(self, node: EditorNode) -> EditorGraph | None:
        """Return the definition of a subgraph instance; None for other nodes."""
        return self._definitions.get(node.type)

    def enter(self, scope: Scope, host: EditorNode) -> Scope:
        """Return the scope of a subgraph instance, always the same for the same instance.

        Raises InvalidWorkflowError for endlessly nested subgraphs.
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
            child.ports.update(scope.fields.get(host.id, {}))  # values from outer graphs win
            scope.children[host.id] = child
        return child

    def resolve(self, scope: Scope, slot: NodeSlot) -> Resolved:
        """Return the source of the input ``slot`` of a node in ``scope``."""
        input_type = slot.type
        link = slot.link
        fallbacks: list[tuple[Scope, NodeSlot]] = []
        while link is not None:
            self._count_step()
            source = scope.graph.links.get(link)
            if source is None:
                break
            if source.origin == INPUT_NODE and scope.host is not None and scope.parent is not None:
                port = scope.graph.port_of.get(link)
                if port is None:
                    break
                fallbacks.append((scope, port))
                link, scope = scope.host_links.get(port.name), scope.parent
                continue
            node = scope.graph.nodes.get(source.origin)
            if node is None or node.mode is NodeMode.MUTED:
                break
            index = source.origin_slot
            if node.mode is NodeMode.BYPASSED:
                self._count_step(len(node.inputs))
                link = _passed_through(node, index, input_type)
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
        # Without a source, a field on a subgraph's border that was passed keeps its own value.
        for passed, port in reversed(fallbacks):
            value = self.port_value(passed, port)
            if value is not MISSING:
                return LiteralValue(value, passed.origin(port.name))
        return None

    def port_value(self, scope: Scope, port: NodeSlot) -> Any:
        """Return an instance's value for an unlinked input of its definition.

        Without one, this is the value of the first inner field that the input is linked to.
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
            place = definition.port_indices.get(slot.name)
            if place is not None:
                return self.port_value(self.enter(scope, node), definition.inputs[place])
        return MISSING

    def _count_step(self, count: int = 1) -> None:
        self._steps += count
        if self._steps > _MAX_STEPS:
            raise InvalidWorkflowError(
                "The links of this workflow form a cycle, or are too many to follow.",
                hint="Open it in ComfyUI and look for reroutes that feed each other.",
            )


def compatible(one: str, other: str) -> bool:
    """Whether the editor allows a link between these types."""
    if one in ("", "*") or other in ("", "*"):
        return True
    return not _kinds(one).isdisjoint(_kinds(other))


def _kinds(types: str) -> set[str]:
    return {kind.strip() for kind in types.upper().split(",")}


def _passed_through(node: EditorNode, index: int, input_type: str) -> str | None:
    """Return the link into a bypassed node that replaces its output ``index``.

    ``input_type`` is the type of the input that the value finally feeds.
    """
    inputs = node.inputs
    same = inputs[index] if 0 <= index < len(inputs) else None
    if input_type in ("", "*"):
        chosen = same or next(iter(inputs), None)
        return chosen.link if chosen else None
    output_type = node.outputs[index].type if 0 <= index < len(node.outputs) else "*"
    if (
        same is not None
        and compatible(same.type, output_type)
        and compatible(same.type, input_type)
    ):
        return same.link
    exact = (slot for slot in inputs if slot.type.upper() == input_type.upper())
    fitting = (slot for slot in inputs if compatible(slot.type, input_type))
    chosen = next(exact, None) or next(fitting, None)
    return chosen.link if chosen else None


def _setter(scope: Scope, getter: EditorNode) -> tuple[Scope, str | None] | None:
    """Return the link into the Set node with the getter's name, here or in an outer graph."""
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
    """Read the values of an instance's own fields, in each spelling that files have."""
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
            case _:  # keeps its position in the list of values
                yield "", "$$"
