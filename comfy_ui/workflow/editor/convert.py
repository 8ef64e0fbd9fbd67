"""Build the API-format graph of an editor-format file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...errors import InvalidWorkflowError, MissingNodesError, Problem, Severity
from ...protocol.object_info import NodeRegistry, NodeSpec
from ..checks.graph_checks import check_workflow
from ..checks.node_packs import DEMO_HINT, find_pack
from ..graph import Graph as ApiGraph, as_link
from ..presets.graph_builder import ObjectInfo, as_library
from .editor_document import MAX_NODES, EditorDocument, EditorNode, NodeMode, read_document
from .group_nodes import expand_groups
from .link_resolution import (
    GETTERS,
    PRIMITIVE,
    REROUTES,
    SETTERS,
    LinkResolver,
    LiteralValue,
    OutputSlot,
    Scope,
    ValueOrigin,
)
from .widget_values import MISSING, as_input, widget_values

# Classes that exist only in the editor and are never sent to a server.
_EDITOR_ONLY = REROUTES | GETTERS | SETTERS | {PRIMITIVE, "Note", "MarkdownNote"}


@dataclass(frozen=True, slots=True)
class Conversion:
    """A converted workflow.

    ``problems`` are those of ``check_workflow``, and a warning for each node that was left out.
    ``origins`` has the inputs, as (node, input), whose value is stored elsewhere in the file: on a
    subgraph instance or a primitive node.
    """

    graph: ApiGraph
    problems: tuple[Problem, ...]
    origins: Mapping[tuple[str, str], ValueOrigin]
    document: EditorDocument


def convert_workflow(editor: Mapping[str, Any], object_info: ObjectInfo) -> ApiGraph:
    """Convert an editor-format workflow to an API-format graph, as ComfyUI's editor does on Run.

    Reads versions 0.4 and 1.0, with subgraphs and legacy group nodes. Pure; takes milliseconds.
    Nodes that no output needs are kept. Two steps of the editor are not deterministic and happen
    elsewhere: choosing among ``{red|blue}`` in prompts (:mod:`..wildcards`), and ``%date%`` in
    file names (:mod:`..filename_prefix`). ``//`` comments in prompts are kept.

    Args:
        editor: the file as JSON; not changed.
        object_info: the server's answer of that name, raw or as a :class:`NodeRegistry`.

    Raises:
        MissingNodesError: node classes that the server does not have, each with its title.
        InvalidWorkflowError: not a workflow, one that contains itself, or one whose links the
            editor only creates on Run ("Use Everywhere").
    """
    return convert_only(editor, as_library(object_info)).graph


def convert(editor: Mapping[str, Any], object_info: ObjectInfo) -> Conversion:
    """Convert a workflow as :func:`convert_workflow` does, and check the graph.

    A list of saved values shifts when a node has gained an input since the file was saved; the
    editor then sends a seed as a model's name. The problems include every such value.
    """
    library = as_library(object_info)
    conversion = convert_only(editor, library)
    return replace(
        conversion, problems=(*conversion.problems, *check_workflow(conversion.graph, library))
    )


def convert_only(editor: Mapping[str, Any], library: NodeRegistry) -> Conversion:
    """Convert a workflow without checking its values."""
    return _Converter(editor, library).run()


class _Converter:
    """One conversion in progress."""

    def __init__(self, editor: Mapping[str, Any], library: NodeRegistry) -> None:
        self._library = library
        self._document = expand_groups(read_document(editor), library)
        _no_links_made_on_run(self._document)
        self._resolver = LinkResolver(self._document, self._own_value)
        self._values: dict[str, dict[str, Any]] = {}
        self._origins: dict[tuple[str, str], ValueOrigin] = {}

    def run(self) -> Conversion:
        active = [*self._active(self._resolver.root)]
        left_out = self._unknown(active)
        graph: ApiGraph = {}
        for scope, node in active:
            if node.type not in self._library:
                continue
            key = scope.id_of(node)
            if key in graph:
                raise InvalidWorkflowError(f"Two nodes have the id {key}.")
            spec = self._library[node.type]
            graph[key] = {
                "class_type": node.type,
                "inputs": self._inputs(scope, node, spec),
                "_meta": {"title": node.title or spec.display_name},
            }
        _drop_dangling(graph)
        return Conversion(graph, left_out, self._origins, self._document)

    def _active(self, root: Scope) -> Iterator[tuple[Scope, EditorNode]]:
        """Yield every node that runs, with its scope."""
        count = 0
        todo: list[tuple[Scope, Iterator[EditorNode]]] = [(root, iter(root.graph.nodes.values()))]
        while todo:
            scope, nodes = todo[-1]
            node = next(nodes, None)
            if node is None:
                todo.pop()
            elif node.mode is NodeMode.ALWAYS and node.type not in _EDITOR_ONLY:
                count += 1
                if count > MAX_NODES:
                    raise InvalidWorkflowError(f"More than {MAX_NODES} nodes, including subgraphs.")
                if self._resolver.definition(node) is None:
                    yield scope, node
                else:
                    inner = self._resolver.enter(scope, node)
                    todo.append((inner, iter(inner.graph.nodes.values())))

    def _unknown(self, active: Iterable[tuple[Scope, EditorNode]]) -> tuple[Problem, ...]:
        """Raise for classes that the server lacks, unless none of their nodes is linked.

        Nodes without links are labels, bookmarks and switches that packs add to the editor. They
        are left out, with a warning for each.
        """
        problems = [
            _missing(scope.id_of(node), node, self._library)
            for scope, node in active
            if node.type not in self._library
        ]
        missing = [problem for problem in problems if problem.severity == "error"]
        if missing:
            names = dict.fromkeys(str(problem.class_type) for problem in missing)
            raise MissingNodesError(
                f"The server does not have these nodes of the workflow: {', '.join(names)}.",
                hint=DEMO_HINT if self._library.is_demo else "",
                class_types=names,
                problems=missing,
            )
        return tuple(problems)

    def _inputs(self, scope: Scope, node: EditorNode, spec: NodeSpec) -> dict[str, Any]:
        key = scope.id_of(node)
        inputs = {**self._own_values(scope, node, spec)}
        for name, value in scope.fields.get(node.id, {}).items():
            inputs[name] = as_input(value, spec.inputs.get(name))
            self._origins[key, name] = scope.origin(name)
        for slot in node.inputs:
            if slot.link is None:
                continue
            match self._resolver.resolve(scope, slot):
                case OutputSlot(origin, index):
                    inputs[slot.name] = [origin, index]
                case LiteralValue(value, where):
                    inputs[slot.name] = as_input(value, spec.inputs.get(slot.name))
                    self._origins[key, slot.name] = where
        return inputs

    def _own_values(self, scope: Scope, node: EditorNode, spec: NodeSpec) -> dict[str, Any]:
        key = scope.id_of(node)
        if key not in self._values:
            self._values[key] = widget_values(spec, node)
        return self._values[key]

    def _own_value(self, scope: Scope, node: EditorNode, name: str) -> Any:
        if node.type not in self._library:
            return MISSING
        return self._own_values(scope, node, self._library[node.type]).get(name, MISSING)


def _no_links_made_on_run(document: EditorDocument) -> None:
    """Refuse workflows with links that the editor creates on Run.

    "Use Everywhere" links nodes by script when the editor runs a workflow. The file lists those
    links in a private format, which is not read here.
    """
    created = document.extra.get("ue_links")
    if isinstance(created, list) and created:
        raise InvalidWorkflowError(
            f"'Anything Everywhere' nodes create {len(created)} links of this workflow "
            "when ComfyUI's editor runs it, so the links are not in the file.",
            hint="In ComfyUI, convert them to real links and save, or export the workflow in API "
            "format.",
        )


def _missing(key: str, node: EditorNode, library: NodeRegistry) -> Problem:
    joined = any(slot.links for slot in (*node.inputs, *node.outputs))
    severity: Severity = "error" if joined else "warning"
    node_pack = find_pack(node.type)
    pack, version = node.properties.get("cnr_id"), node.properties.get("ver")
    if library.is_demo:
        hint = DEMO_HINT
    elif pack == "comfy-core":
        newer = f" to {version}" if isinstance(version, str) and version[:1].isdigit() else ""
        hint = f"Update ComfyUI{newer} or newer."
    elif node_pack is not None:
        hint, pack = node_pack.install, node_pack.name
    elif isinstance(pack, str) or isinstance(pack := node.properties.get("aux_id"), str):
        hint = f"Install '{pack[:100]}' with ComfyUI-Manager, then restart ComfyUI."
    else:
        hint, pack = "Search for it in ComfyUI-Manager.", None
    return Problem(
        "missing_node",
        f"The server has no node '{node.type[:100]}'.",
        hint,
        node=key,
        node_title=node.title or node.type,
        class_type=node.type,
        severity=severity,
        extra={"pack": pack} if pack else {},
    )


def _drop_dangling(graph: ApiGraph) -> None:
    """Remove inputs whose link starts at a missing node."""
    for entry in graph.values():
        links = {name: as_link(value) for name, value in entry["inputs"].items()}
        for name, link in links.items():
            if link is not None and link.node not in graph:
                del entry["inputs"][name]
