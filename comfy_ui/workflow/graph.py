"""Read, copy, edit and hash graphs in API format.

A graph is the ``prompt`` of ``POST /prompt``::

    {"5": {"class_type": "KSampler",
           "inputs": {"steps": 20, "model": ["1", 0]},
           "_meta": {"title": "Sampler"}}}

Node ids are strings and may hold ``:`` (a node inside a subgraph). A list of a string and a number
is a link to another node's output; a list that is meant as a value travels as
``{"__value__": […]}``.
"""

from __future__ import annotations

import copy
import hashlib
import json
import marshal
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeGuard

Graph = dict[str, dict[str, Any]]
"""A graph in API format. Functions here read any mapping of that shape, and return plain dicts."""

AnyGraph = Mapping[str, Mapping[str, Any]]


_MAX_TITLE = 200


class NodeLink(NamedTuple):
    """Where an input gets its value from: an output slot of another node."""

    node: str
    slot: int


class GraphEdge(NamedTuple):
    """A link together with the input that it feeds."""

    node: str
    input: str
    source: NodeLink


def as_link(value: object) -> NodeLink | None:
    """Return an input's value as a link, or None if it is a literal."""
    match value:
        case [str(node), int(slot)] if not isinstance(slot, bool):
            return NodeLink(node, slot)
    return None


def literal(value: Any) -> Any:
    """Return ``value`` as an input has it: lists are wrapped to distinguish them from links."""
    return {"__value__": value} if isinstance(value, list) else value


def unwrap(value: Any) -> Any:
    """Return the literal inside ``{"__value__": …}``, or ``value`` itself."""
    return value["__value__"] if isinstance(value, dict) and "__value__" in value else value


def is_api_graph(data: object) -> TypeGuard[Graph]:
    """Whether ``data`` has the shape of an API-format graph: nodes, all with a class."""
    return (
        isinstance(data, dict)
        and bool(data)
        and all(
            isinstance(key, str)
            and isinstance(node, dict)
            and isinstance(node.get("class_type"), str)
            and isinstance(node.get("inputs", {}), dict)
            for key, node in data.items()
        )
    )


def is_editor_workflow(data: object) -> TypeGuard[dict[str, Any]]:
    """Whether ``data`` has the shape of an editor-format workflow: lists of nodes and links."""
    return (
        isinstance(data, dict)
        and isinstance(data.get("nodes"), list)
        and isinstance(data.get("links", []), list)
        and all(isinstance(node, dict) and "type" in node for node in data["nodes"])
    )


def inputs_of(graph: AnyGraph, node: str) -> Mapping[str, Any]:
    """Return the inputs of a node; empty if it has none."""
    inputs = graph[node].get("inputs")
    return inputs if isinstance(inputs, Mapping) else {}


def edges(graph: AnyGraph) -> Iterator[GraphEdge]:
    """Yield every link of the graph, dangling ones included, in the order of nodes and inputs."""
    for node in graph:
        for name, value in inputs_of(graph, node).items():
            link = as_link(value)
            if link is not None:
                yield GraphEdge(node, name, link)


def literals(graph: AnyGraph) -> Iterator[tuple[str, str, Any]]:
    """Yield every input that is not a link, as ``(node, input, value)``."""
    for node in graph:
        for name, value in inputs_of(graph, node).items():
            if as_link(value) is None:
                yield node, name, value


def consumers(graph: AnyGraph, source: NodeLink) -> list[tuple[str, str]]:
    """Return the inputs ``(node, input)`` that an output slot feeds."""
    return [(edge.node, edge.input) for edge in edges(graph) if edge.source == source]


def ancestors(graph: AnyGraph, nodes: Iterable[str]) -> set[str]:
    """Return ``nodes`` and all their ancestors. Dangling links and cycles are allowed."""
    seen: set[str] = set()
    todo = [node for node in nodes if node in graph]
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        for value in inputs_of(graph, node).values():
            link = as_link(value)
            if link is not None and link.node in graph and link.node not in seen:
                todo.append(link.node)
    return seen


def title(graph: AnyGraph, node: str) -> str:
    """Return the display name of a node: its title, else its class, else its id."""
    entry = graph.get(node, {})
    meta = entry.get("_meta")
    text = meta.get("title") if isinstance(meta, Mapping) else None
    return str(text or entry.get("class_type") or node)[:_MAX_TITLE]


def classes(graph: AnyGraph) -> set[str]:
    """Return the node classes that the graph uses."""
    return {str(node["class_type"]) for node in graph.values() if "class_type" in node}


def copied(graph: AnyGraph) -> Graph:
    """Return a deep copy that may be edited."""
    try:
        nodes = _json_copy({**graph})
    except ValueError:  # a node holds something else than JSON
        nodes = {key: _copied(dict(node)) for key, node in graph.items()}
    return {str(key): node for key, node in nodes.items()}


def _copied(value: Any) -> Any:
    try:
        return _json_copy(value)
    except ValueError:  # an instance of a class, or nested without end
        return copy.deepcopy(value)


def _json_copy(value: Any) -> Any:
    """Copy JSON: each job is copied twice, and ``deepcopy`` takes forty times as long."""
    # Version 2: what stands in two places is copied twice.
    return marshal.loads(marshal.dumps(value, 2))  # noqa: S302 -- bytes made here


def free_id(graph: AnyGraph) -> str:
    """Return an unused node id: one above the largest number."""
    return str(1 + max((int(key) for key in graph if key.isascii() and key.isdigit()), default=0))


def drop_node(graph: Graph, node: str) -> None:
    """Remove a node, in place, with every link that comes from it."""
    graph.pop(node, None)
    for edge in [edge for edge in edges(graph) if edge.source.node == node]:
        del graph[edge.node]["inputs"][edge.input]


def splice(graph: Graph, sources: Mapping[str, NodeLink], entry: dict[str, Any]) -> list[NodeLink]:
    """Insert a node into every link that starts at ``sources``, in place.

    ``sources`` maps the new node's inputs to outputs; the new node's outputs 0, 1, … then feed, in
    the same order, what those outputs fed. Returns the new outputs, to splice in the next node.
    """
    node = free_id(graph)
    outputs = [NodeLink(node, slot) for slot in range(len(sources))]
    for source, output in zip(sources.values(), outputs, strict=True):
        for consumer, name in consumers(graph, source):
            graph[consumer]["inputs"][name] = [*output]
    links = {name: [*source] for name, source in sources.items()}
    graph[node] = {**entry, "inputs": {**entry.get("inputs", {}), **links}}
    return outputs


def content_hash(graph: AnyGraph) -> str:
    """Return a hash of what the graph computes, 64 hexadecimal digits.

    Titles and the order of keys do not matter.
    """
    bare = {
        node: {"class_type": graph[node].get("class_type"), "inputs": dict(inputs_of(graph, node))}
        for node in graph
    }
    text = json.dumps(bare, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def find_cycle(graph: AnyGraph) -> list[str]:
    """Return the ids of one cycle of links, each feeding the previous, or an empty list."""
    done: set[str] = set()
    for start in graph:
        path: dict[
            str, Iterator[str]
        ] = {}  # the nodes from `start` to here, each with its untried sources
        step: str | None = start
        while step is not None or path:
            if step is None:
                done.add(path.popitem()[0])
            elif step in path:
                circle = list(path)
                return circle[circle.index(step) :]
            elif step not in done:
                path[step] = _sources(graph, step)
            step = next(next(reversed(path.values())), None) if path else None
    return []


def _sources(graph: AnyGraph, node: str) -> Iterator[str]:
    links = (as_link(value) for value in inputs_of(graph, node).values())
    return iter([link.node for link in links if link is not None and link.node in graph])
