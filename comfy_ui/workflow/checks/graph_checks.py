"""Validate a graph before it is queued, as the server would, with a hint for each problem.

Follows what ``POST /prompt`` of ComfyUI 0.3.64 and 0.33.0 accepts and refuses: every node's class
must exist, then the outputs and their ancestors are checked. Stricter in two cases that old servers
accept and that then fail during execution: newer-style choices, and loaders without any model file.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ...errors import InvalidWorkflowError, MissingModelsError, MissingNodesError, Problem
from ...protocol.object_info import InputSpec, NodeRegistry, NodeSpec
from ..graph import AnyGraph, NodeLink, as_link, find_cycle, inputs_of, title, unwrap
from ..model_files import is_model_file
from ..presets.graph_builder import ObjectInfo, as_library
from ..presets.schema import ModelRequirement, Preset
from .input_specs import declared_inputs
from .node_packs import DEMO_HINT
from .requirements import known_models, missing_nodes, unknown_model, version_problem
from .value_checks import ValueProblem, connect, fits, is_socket, short, value_fault

_SHOWN_NODES = 6  # of a cycle, in a message


def check_workflow(
    graph: AnyGraph,
    object_info: ObjectInfo,
    *,
    uploads: Container[str] = (),
    models: Iterable[ModelRequirement] = (),
    min_comfyui: str | None = None,
    comfyui_version: str | None = None,
    shipped: Mapping[str, Preset] | None = None,
) -> list[Problem]:
    """Return all problems that keep a server from running the graph, in the order of its nodes.

    An empty list means that the server will accept the graph. A ``warning`` does not prevent a run.

    Args:
        graph: in API format.
        object_info: the server's node list, raw or as a :class:`NodeRegistry`.
        uploads: names of input files that exist although ``object_info`` may not list them yet.
        models: further model files with a URL, size and license, besides those of the shipped
            presets.
        min_comfyui: the version that the graph needs, if known.
        comfyui_version: the server's version, compared with ``min_comfyui``.
        shipped: the built-in presets, whose model files and node classes are known; read if None.
    """
    library = as_library(object_info)
    if not graph:
        return [_no_output()]
    problems = [*version_problem(min_comfyui, comfyui_version)]
    unknown = _class_problems(graph, library, shipped)
    if unknown:
        return problems + unknown  # the server stops here too
    return problems + _GraphCheck(graph, library, uploads, (*models,), shipped).run()


def error_for(problems: Iterable[Problem]) -> InvalidWorkflowError | None:
    """Return an error with these problems, or None if all of them are warnings."""
    errors = [problem for problem in problems if problem.severity == "error"]
    if not errors:
        return None
    first, more = errors[0], len(errors) - 1
    text = str(first) + (f" And {more} more." if more else "")
    nodes = sorted({str(p.class_type) for p in errors if p.kind == "missing_node"})
    if nodes:
        hint = DEMO_HINT if errors[0].hint == DEMO_HINT else ""
        return MissingNodesError(text, hint=hint, class_types=nodes, problems=errors)
    models = [p.extra["model"] for p in errors if p.kind == "missing_model"]
    if len(models) == len(errors):
        return MissingModelsError(text, models=models, problems=errors)
    return InvalidWorkflowError(text, problems=errors)


@dataclass(frozen=True, slots=True)
class _GraphCheck:
    """One check of a graph: its state and rules."""

    graph: AnyGraph
    library: NodeRegistry
    uploads: Container[str]
    models: tuple[ModelRequirement, ...]
    shipped: Mapping[str, Preset] | None
    declared: dict[str, dict[str, InputSpec]] = field(default_factory=dict)

    def run(self) -> list[Problem]:
        outputs = [node for node in self.graph if self._spec(node).output_node]
        if not outputs:
            return [_no_output()]
        needed = self._needed(outputs)
        problems = [
            problem
            for node in self.graph
            if node in needed
            for problem in self._node_problems(node)
        ]
        return problems + self._cycle_problem(needed)

    def _spec(self, node: str) -> NodeSpec:
        return self.library[self.graph[node]["class_type"]]

    def _inputs(self, node: str) -> dict[str, InputSpec]:
        if node not in self.declared:
            self.declared[node] = declared_inputs(self._spec(node), inputs_of(self.graph, node))
        return self.declared[node]

    def _links(self, node: str) -> Iterator[tuple[str, NodeLink]]:
        """Yield the links that the server follows: of declared inputs, with matching types."""
        inputs = inputs_of(self.graph, node)
        for name, spec in self._inputs(node).items():
            link = as_link(inputs.get(name))
            if link is not None and self._link_fault(node, spec, inputs[name]) is None:
                yield name, link

    def _needed(self, outputs: Iterable[str]) -> set[str]:
        seen: set[str] = set()
        todo = [*outputs]
        while todo:
            node = todo.pop()
            if node not in seen:
                seen.add(node)
                todo += [link.node for _, link in self._links(node)]
        return seen

    def _node_problems(self, node: str) -> Iterator[Problem]:
        inputs = self.graph[node].get("inputs")
        if not isinstance(inputs, Mapping):
            hint = "Export the workflow again in API format."
            yield self._problem(
                node, None, ValueProblem(self._raised(node), "It has no 'inputs'.", hint)
            )
            return
        for name, spec in self._inputs(node).items():
            if name in inputs:
                fault = self._input_fault(node, spec, inputs[name])
            elif spec.required:
                hint = connect(spec) if is_socket(spec) else "Give it a value."
                message = f"The input '{name}' is missing."
                fault = ValueProblem("required_input_missing", message, hint)
            else:
                continue
            if isinstance(fault, ValueProblem):
                yield self._problem(node, name, fault)
            elif fault is not None:
                yield fault

    def _input_fault(
        self, node: str, spec: InputSpec, value_or_link: Any
    ) -> ValueProblem | Problem | None:
        if isinstance(value_or_link, list):
            return self._link_fault(node, spec, value_or_link)
        value = unwrap(value_or_link)
        fault = value_fault(spec, value, self.uploads)
        if fault is None or fault.kind != "value_not_in_list" or not is_model_file(value):
            return fault
        missing = unknown_model(
            self.graph[node]["class_type"],
            spec.name,
            value,
            spec.choices or (),
            known_models(self.models, self.shipped),
        )
        return replace(missing, node=node, node_title=title(self.graph, node), input=spec.name)

    def _link_fault(self, node: str, spec: InputSpec, raw_link: list[Any]) -> ValueProblem | None:
        link = as_link(raw_link)
        cure = connect(spec)
        if link is None:
            kind = "bad_linked_input" if len(raw_link) != 2 else self._raised(node)
            hint = 'A link is [node id, output number]; a list as a value is {"__value__": […]}.'
            return ValueProblem(kind, f"The input '{spec.name}' is a list, but not a link.", hint)
        start = f"The input '{spec.name}'"
        if link.node not in self.graph:
            message = f"{start} is linked to node {short(link.node)}, which is not there."
            return ValueProblem(self._raised(node), message, cure)
        outputs, source = self._spec(link.node).outputs, title(self.graph, link.node)
        # The server indexes a Python list, so it accepts negative numbers.
        if not -len(outputs) <= link.slot < len(outputs):
            has = f"which has {len(outputs)}"
            message = f"{start} is linked to output {link.slot} of '{source}', {has}."
            return ValueProblem(self._raised(node), message, cure)
        if not fits(outputs[link.slot], spec.type):
            message = f"{start} takes {spec.type}, and '{source}' gives {outputs[link.slot]} there."
            return ValueProblem("return_type_mismatch", message, cure)
        return None

    def _raised(self, node: str) -> str:
        """Return the server's error type for an exception in its check, as for a dangling link."""
        inner = "" if self._spec(node).output_node else "inner_"
        return f"exception_during_{inner}validation"

    def _cycle_problem(self, needed: set[str]) -> list[Problem]:
        counted = {
            node: {"inputs": {name: [*link] for name, link in self._links(node)}}
            for node in self.graph
            if node in needed
        }
        circle = find_cycle(counted)
        if not circle:
            return []
        names = [title(self.graph, node) for node in circle[:_SHOWN_NODES]]
        names += ["…"] if len(circle) > _SHOWN_NODES else []
        message = f"The nodes feed each other in a cycle: {' ← '.join([*names, names[0]])}."
        fault = ValueProblem("dependency_cycle", message, "Remove one of these connections.")
        return [self._problem(circle[0], None, fault)]

    def _problem(self, node: str, name: str | None, fault: ValueProblem) -> Problem:
        return Problem(
            kind=fault.kind,
            message=fault.message,
            hint=fault.hint,
            node=node,
            node_title=title(self.graph, node),
            class_type=self.graph[node]["class_type"],
            input=name,
            severity=fault.severity,
        )


def _no_output() -> Problem:
    return Problem(
        kind="prompt_no_outputs",
        message="The workflow has no node that saves or shows a result.",
        hint="Add one, for instance Save Image.",
    )


def _class_problems(
    graph: Mapping[str, Any], library: NodeRegistry, shipped: Mapping[str, Preset] | None
) -> list[Problem]:
    """Return a problem for each node without a class, or with one that the server lacks."""
    named: dict[str, str] = {}
    problems: dict[str, Problem] = {}
    for node, entry in graph.items():
        class_type = entry.get("class_type") if isinstance(entry, Mapping) else None
        if isinstance(class_type, str):
            named[node] = class_type
        else:
            problems[node] = Problem(
                kind="invalid_prompt",
                message=f"Node '{node}' has no class.",
                hint="Export the workflow again in API format.",
                node=node,
            )
    missing = missing_nodes(
        {name for name in named.values() if name not in library}, library, shipped
    )
    for node, class_type in named.items():
        if class_type in missing:
            problem = replace(missing[class_type], node=node, node_title=title(graph, node))
            problems[node] = problem
    return [problems[node] for node in graph if node in problems]
