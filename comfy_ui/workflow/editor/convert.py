"""The walk over an editor-format file that makes the graph a server runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import InvalidWorkflowError, MissingNodesError, Problem, Severity
from ...protocol.nodes import NodeLibrary, NodeSpec
from ..graph import Graph as ApiGraph, as_link, literal
from .document import MAX_NODES, Mode, Node, read_document
from .fit import value_problems
from .groups import expand_groups
from .links import GETTERS, PRIMITIVE, REROUTES, SETTERS, Literal, Output, Resolver, Scope
from .widgets import MISSING, as_input, widget_values

# Classes that exist in the editor alone: nothing of them is sent.
_EDITOR_ONLY = REROUTES | GETTERS | SETTERS | {PRIMITIVE, "Note", "MarkdownNote"}


@dataclass(frozen=True, slots=True)
class Conversion:
    """A converted workflow, and what in it does not fit the server that it was converted for."""

    graph: ApiGraph
    problems: tuple[Problem, ...] = ()


def convert_workflow(
    editor: Mapping[str, Any], object_info: Mapping[str, Any] | NodeLibrary
) -> ApiGraph:
    """Convert an editor-format workflow to an API-format graph, as ComfyUI's own editor does on
    Run.

    ``object_info`` is the server's answer of that name. Pure; takes milliseconds. Nodes that no
    output needs stay in.
    Raises MissingNodesError naming the node classes that the server does not have,
    InvalidWorkflowError for anything that is not a workflow. Values that do not fit are kept:
    ``convert`` tells of them.
    """
    return convert(editor, object_info).graph


def convert(editor: Mapping[str, Any], object_info: Mapping[str, Any] | NodeLibrary) -> Conversion:
    """Like ``convert_workflow``, with a list of the values that do not fit their inputs."""
    library = object_info if isinstance(object_info, NodeLibrary) else NodeLibrary(object_info)
    return _Converter(editor, library).run()


class _Converter:
    def __init__(self, editor: Mapping[str, Any], library: NodeLibrary) -> None:
        self._library = library
        self._resolver = Resolver(expand_groups(read_document(editor), library), self._own_value)
        self._values: dict[str, dict[str, Any]] = {}
        self._problems: list[Problem] = []

    def run(self) -> Conversion:
        active = [*self._active(self._resolver.root)]
        known = [
            (scope, node, self._library[node.type])
            for scope, node in active
            if node.type in self._library
        ]
        self._refuse_unknown(
            (scope, node) for scope, node in active if node.type not in self._library
        )
        graph: ApiGraph = {}
        for scope, node, spec in known:
            key = scope.id_of(node)
            if key in graph:
                raise InvalidWorkflowError(f"Two nodes have the id {key}.")
            graph[key] = {
                "class_type": node.type,
                "inputs": self._inputs(scope, node, spec),
                "_meta": {"title": _title(node, spec)},
            }
        _drop_dangling(graph)
        return Conversion(graph, tuple(self._problems))

    def _active(self, root: Scope) -> Iterator[tuple[Scope, Node]]:
        """Every node that runs, with the scope that it runs in."""
        count = 0
        todo: list[tuple[Scope, Iterator[Node]]] = [(root, iter(root.graph.nodes.values()))]
        while todo:
            scope, nodes = todo[-1]
            node = next(nodes, None)
            if node is None:
                todo.pop()
            elif node.mode is Mode.ALWAYS and node.type not in _EDITOR_ONLY:
                count += 1
                if count > MAX_NODES:
                    raise InvalidWorkflowError(
                        f"More than {MAX_NODES} nodes, counted with those in subgraphs."
                    )
                if self._resolver.definition(node) is None:
                    yield scope, node
                else:
                    inner = self._resolver.enter(scope, node)
                    todo.append((inner, iter(inner.graph.nodes.values())))

    def _refuse_unknown(self, unknown: Iterator[tuple[Scope, Node]]) -> None:
        """Raise for classes that the server lacks. One that is joined to nothing is left out with
        a warning: such nodes are labels, bookmarks and switches of the editor.
        """
        problems: list[Problem] = []
        for scope, node in unknown:
            joined = any(slot.links for slot in (*node.inputs, *node.outputs))
            problems.append(
                _missing(scope.id_of(node), node, severity="error" if joined else "warning")
            )
        missing = [problem for problem in problems if problem.severity == "error"]
        if missing:
            names = dict.fromkeys(str(problem.class_type) for problem in missing)
            raise MissingNodesError(
                f"This workflow uses nodes that the server does not have: {', '.join(names)}.",
                class_types=names,
                problems=missing,
            )
        self._problems += problems

    def _inputs(self, scope: Scope, node: Node, spec: NodeSpec) -> dict[str, Any]:
        inputs = {**self._own_values(scope, node, spec)}
        inputs.update(scope.fields.get(node.id, {}))
        for slot in node.inputs:
            if slot.link is None:
                continue
            match self._resolver.resolve(scope, slot):
                case Output(origin, index):
                    inputs[slot.name] = [origin, index]
                case Literal(value):
                    declared = spec.inputs.get(slot.name)
                    inputs[slot.name] = as_input(value, declared) if declared else literal(value)
        self._problems += value_problems(scope.id_of(node), _title(node, spec), spec, inputs)
        return inputs

    def _own_values(self, scope: Scope, node: Node, spec: NodeSpec) -> dict[str, Any]:
        key = scope.id_of(node)
        if key not in self._values:
            self._values[key] = widget_values(spec, node)
        return self._values[key]

    def _own_value(self, scope: Scope, node: Node, name: str) -> Any:
        if node.type not in self._library:
            return MISSING
        return self._own_values(scope, node, self._library[node.type]).get(name, MISSING)


def _missing(key: str, node: Node, *, severity: Severity) -> Problem:
    pack, version = (node.properties.get(name) for name in ("cnr_id", "ver"))
    pack = pack if isinstance(pack, str) else node.properties.get("aux_id")
    if pack == "comfy-core":
        newer = (
            f" to {version} or newer" if isinstance(version, str) and version[:1].isdigit() else ""
        )
        hint = f"Update ComfyUI{newer}."
    elif isinstance(pack, str):
        hint = f"Install the node pack {pack}."
    else:
        hint = "Search for it in ComfyUI-Manager."
    return Problem(
        "missing_node",
        f"The server has no node {node.type}.",
        hint,
        node=key,
        node_title=node.title or node.type,
        class_type=node.type,
        severity=severity,
        extra={"pack": pack, "version": version} if isinstance(pack, str) else {},
    )


def _drop_dangling(graph: ApiGraph) -> None:
    """Remove inputs that are fed by a node that is not there."""
    for entry in graph.values():
        inputs = entry["inputs"]
        for name in [
            name
            for name, value in inputs.items()
            if (link := as_link(value)) and link.node not in graph
        ]:
            del inputs[name]


def _title(node: Node, spec: NodeSpec) -> str:
    return node.title or spec.display_name or node.type
