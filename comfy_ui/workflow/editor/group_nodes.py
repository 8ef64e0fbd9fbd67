"""Legacy group nodes, turned into subgraph definitions.

Before subgraphs, ComfyUI kept groups in ``extra.groupNodes`` and used them as nodes of type
``workflow>NAME`` (earlier ``workflow/NAME``). Their nodes are numbered by index. An instance's
inputs and outputs are the unlinked inner ones, and its fields are those of the inner nodes in
order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ...errors import InvalidWorkflowError
from ...protocol.object_info import NodeRegistry
from .editor_document import (
    INPUT_NODE,
    OUTPUT_NODE,
    EditorDocument,
    EditorGraph,
    EditorLink,
    EditorNode,
    NodeSlot,
    read_node,
)
from .link_resolution import MAX_DEPTH, PRIMITIVE, compatible
from .widget_values import MISSING, ListedValues, field_type, is_widget, read_values, widget_values

_PREFIXES = ("workflow>", "workflow/")
_MAX_INSTANCES = 1_000
_HINT = (
    "Open the workflow in a current ComfyUI, which turns group nodes into subgraphs, "
    "and save it again."
)


def expand_groups(document: EditorDocument, library: NodeRegistry) -> EditorDocument:
    """Return ``document`` with a separate definition for every instance of a group node.

    Raises InvalidWorkflowError for a group whose inputs or outputs cannot be distinguished.
    """
    groups = document.extra.get("groupNodes")
    if not isinstance(groups, Mapping) or not groups:
        return document
    expander = _Expander(groups, library)
    root = expander.expanded(document.root, depth=0)
    definitions = {
        key: expander.expanded(graph, depth=0) for key, graph in document.definitions.items()
    }
    return replace(document, root=root, definitions={**definitions, **expander.definitions})


@dataclass(frozen=True, slots=True)
class _Group:
    """One entry of ``extra.groupNodes``."""

    nodes: Mapping[str, EditorNode]
    links: tuple[EditorLink, ...]
    exposed: frozenset[tuple[str, int]]  # outputs that are visible although linked inside
    config: Mapping[str, Any]

    def alias(self, node: str, side: str, name: str | int) -> str:
        """Return the author's name for an input or output."""
        alias = self._config(node, side, name).get("name")
        return alias if isinstance(alias, str) else ""

    def is_hidden(self, node: str, side: str, name: str | int) -> bool:
        return self._config(node, side, name).get("visible") is False

    def _config(self, *path: str | int) -> Mapping[str, Any]:
        config: Any = self.config
        for key in path:
            config = config.get(str(key)) if isinstance(config, Mapping) else None
        return config if isinstance(config, Mapping) else {}


class _End(NamedTuple):
    """An inner input or output that may be visible on the instance, and its name there."""

    node: str
    name: str
    type: str
    shown_as: str
    slot: int


class _Expander:
    def __init__(self, groups: Mapping[str, Any], library: NodeRegistry) -> None:
        self.definitions: dict[str, EditorGraph] = {}
        self._groups = groups
        self._library = library

    def expanded(self, graph: EditorGraph, *, depth: int) -> EditorGraph:
        """Return ``graph`` with every group node replaced by a subgraph instance."""
        nodes = {key: self._instance(node, depth) for key, node in graph.nodes.items()}
        return replace(graph, nodes=nodes)

    def _instance(self, host: EditorNode, depth: int) -> EditorNode:
        name = next((host.type[len(p) :] for p in _PREFIXES if host.type.startswith(p)), None)
        raw = self._groups.get(name) if name is not None else None
        if not isinstance(raw, Mapping):
            return host
        key = f"{host.type}#{len(self.definitions)}"
        if depth >= MAX_DEPTH or len(self.definitions) >= _MAX_INSTANCES:
            raise InvalidWorkflowError("Group nodes are nested endlessly.", hint=_HINT)
        self.definitions[key] = EditorGraph(
            {}, {}
        )  # reserves the number; nested groups get the next ones
        group = _read_group(raw, host.type)
        graph = self._with_border(group, self._with_values(group, host), host)
        self.definitions[key] = self.expanded(graph, depth=depth + 1)
        inputs = (replace(slot, name=str(index)) for index, slot in enumerate(host.inputs))
        return replace(host, type=key, inputs=tuple(inputs), values=(), named={})

    def _with_values(self, group: _Group, host: EditorNode) -> dict[str, EditorNode]:
        """Return the inner nodes with the values of the instance's fields."""
        saved = ListedValues(host.values)
        nodes: dict[str, EditorNode] = {}
        for key, node in group.nodes.items():
            nodes[key] = node
            if node.type == PRIMITIVE:
                value = saved.take("value")
                saved.skip_control(None)
                if value is not MISSING:
                    nodes[key] = replace(node, values=(value,))
            elif node.type in self._library:
                spec = self._library[node.type]
                own = widget_values(spec, node)
                hidden = {slot.name for slot in node.inputs if slot.link is not None}
                hidden |= {name for name in own if group.is_hidden(key, "input", name)}
                nodes[key] = replace(node, named=read_values(spec, _Shared(saved, own, hidden)))
        return nodes

    def _with_border(
        self, group: _Group, nodes: dict[str, EditorNode], host: EditorNode
    ) -> EditorGraph:
        """Build the definition: the inner nodes, linked to the instance's inputs and outputs."""
        links = {link.id: link for link in group.links}
        inputs: list[NodeSlot] = []
        free = [*self._open_inputs(group, nodes)]
        for index, slot in enumerate(host.inputs):
            end = _matching(slot, free)
            if end is None and slot.link is not None:
                raise _unclear(host, f"input {slot.name!r}")
            key = f"in{index}"
            inputs.append(NodeSlot(str(index), slot.type, links=(key,) if end else ()))
            if end is not None:
                links[key] = EditorLink(key, INPUT_NODE, index, end.node, end.slot, slot.type)
                nodes[end.node] = _joined(nodes[end.node], end, key)
        outputs: list[NodeSlot] = []
        open_outputs = [*_open_outputs(group)]
        same_count = len(open_outputs) == len(host.outputs)
        for index, slot in enumerate(host.outputs):
            end = open_outputs[index] if same_count else _matching(slot, open_outputs)
            if end is None and slot.links:
                raise _unclear(host, f"output {slot.name!r}")
            key = f"out{index}"
            outputs.append(NodeSlot(str(index), slot.type, links=(key,)))
            if end is not None:
                links[key] = EditorLink(key, end.node, end.slot, OUTPUT_NODE, index, slot.type)
        return EditorGraph(nodes, links, tuple(inputs), tuple(outputs), host.type)

    def _open_inputs(self, group: _Group, nodes: Mapping[str, EditorNode]) -> Iterator[_End]:
        for key, node in nodes.items():
            if node.type == PRIMITIVE:
                continue
            for index, slot in enumerate(node.inputs):
                if slot.link is None and not group.is_hidden(key, "input", slot.name):
                    alias = group.alias(key, "input", slot.name) or slot.label or slot.name
                    yield _End(key, slot.name, slot.type, alias, index)
            slot_names = {slot.name for slot in node.inputs}
            spec = self._library.get(node.type)
            for name, declared in spec.inputs.items() if spec else ():
                if name not in slot_names and is_widget(declared):
                    alias = group.alias(key, "input", name) or name
                    yield _End(key, name, field_type(declared), alias, -1)


class _Shared:
    """An inner node's values, from the instance's list; hidden fields keep their own values."""

    def __init__(self, host: ListedValues, own: Mapping[str, Any], hidden: set[str]) -> None:
        self._host, self._own, self._hidden = host, own, hidden
        self._was_hidden = False

    def take(self, name: str) -> Any:
        self._was_hidden = name in self._hidden
        value = MISSING if self._was_hidden else self._host.take(name)
        return self._own.get(name, MISSING) if value is MISSING else value

    def skip_control(self, choices: tuple[Any, ...] | None) -> None:
        if not self._was_hidden:
            self._host.skip_control(choices)


def _read_group(raw: Mapping[str, Any], where: str) -> _Group:
    entries = raw.get("nodes")
    nodes: dict[str, EditorNode] = {}
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        with_index = {**entry, "id": index} if isinstance(entry, Mapping) else entry
        node = read_node(with_index, f"{where}.nodes[{index}]")
        nodes[node.id] = replace(node, inputs=tuple(replace(s, links=()) for s in node.inputs))
    links: list[EditorLink] = []
    for index, entry in enumerate(_lists(raw.get("links"))):
        match entry:
            case [int(origin), int(origin_slot), int(target), int(slot), *_]:
                if str(origin) not in nodes or str(target) not in nodes:
                    continue
                node = nodes[str(target)]
                if not 0 <= slot < len(node.inputs):
                    continue
                key = f"link{index}"
                links.append(EditorLink(key, str(origin), origin_slot, node.id, slot, "*"))
                joined = [*node.inputs]
                joined[slot] = replace(joined[slot], links=(key,))
                nodes[node.id] = replace(node, inputs=tuple(joined))
    exposed = frozenset(
        (str(entry[0]), entry[1])
        for entry in _lists(raw.get("external"))
        if len(entry) > 1 and isinstance(entry[0], int) and isinstance(entry[1], int)
    )
    config = raw.get("config")
    return _Group(nodes, tuple(links), exposed, config if isinstance(config, Mapping) else {})


def _open_outputs(group: _Group) -> Iterator[_End]:
    used = {(link.origin, link.origin_slot) for link in group.links}
    for key, node in group.nodes.items():
        for index, slot in enumerate(node.outputs):
            inner_only = (key, index) in used and (key, index) not in group.exposed
            if not inner_only and not group.is_hidden(key, "output", index):
                alias = group.alias(key, "output", index) or slot.label or slot.name or slot.type
                yield _End(key, slot.name, slot.type, alias, index)


def _matching(slot: NodeSlot, free: list[_End]) -> _End | None:
    """Remove and return the first end in ``free`` that matches ``slot``.

    A name that occurs twice is prefixed with its node's title.
    """
    fitting = [end for end in free if compatible(end.type, slot.type)]
    exact = [end for end in fitting if end.shown_as == slot.name]
    prefixed = [end for end in fitting if slot.name.endswith(f" {end.shown_as}")]
    chosen = next(iter([*exact, *prefixed]), None)
    if chosen is not None:
        free.remove(chosen)
    return chosen


def _joined(node: EditorNode, end: _End, link: str) -> EditorNode:
    """Return ``node`` with ``link`` into the input at ``end``; adds a socket if it is a field."""
    if end.slot < 0:
        return replace(
            node, inputs=(*node.inputs, NodeSlot(end.name, end.type, links=(link,), widget=True))
        )
    inputs = [*node.inputs]
    inputs[end.slot] = replace(inputs[end.slot], links=(link,))
    return replace(node, inputs=tuple(inputs))


def _lists(raw: object) -> Iterator[Sequence[Any]]:
    return (entry for entry in (raw if isinstance(raw, list) else ()) if isinstance(entry, list))


def _unclear(host: EditorNode, slot_kind: str) -> InvalidWorkflowError:
    return InvalidWorkflowError(
        f"The group node {host.title or host.type} has an undefined {slot_kind}.",
        hint=_HINT,
    )
