"""The literal values of a graph, with their declarations by the node class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...protocol.object_info import InputSpec, NodeRegistry, NodeSpec
from ..checks.input_specs import declared_inputs
from ..graph import AnyGraph, NodeLink, ancestors, as_link, inputs_of, title
from .control import ControlTarget
from .name_clues import parameter_input

_VALUE_TYPES = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"})


@dataclass(frozen=True, slots=True)
class LiteralInput:
    """An input with a settable literal value."""

    target: ControlTarget
    value: Any
    spec: InputSpec


class GraphView:
    """A graph combined with a server's node classes. Unknown classes have no inputs."""

    def __init__(self, graph: AnyGraph, library: NodeRegistry) -> None:
        self.graph = graph
        self.library = library
        self.outputs = [node for node in graph if self._is_output(node)]
        needed = ancestors(graph, self.outputs)
        # Outputs without links do not show which nodes are needed.
        self.needed = needed if len(needed) > len(self.outputs) else set(graph)
        self._inputs: dict[str, dict[str, InputSpec]] = {}

    def class_of(self, node: str) -> str:
        return str(self.graph[node].get("class_type", ""))

    def spec(self, node: str) -> NodeSpec | None:
        return self.library.get(self.class_of(node)) if node in self.graph else None

    def title(self, node: str) -> str:
        return title(self.graph, node)

    def own_title(self, node: str) -> str:
        """Return the author's title; empty if it is only the name of the class."""
        spec = self.spec(node)
        text = self.title(node)
        usual = {self.class_of(node), spec.display_name if spec else ""}
        return "" if text in usual else text

    def inputs(self, node: str) -> dict[str, InputSpec]:
        """Return the declared inputs of a node, with dynamic ones expanded."""
        if node not in self._inputs:
            spec = self.spec(node)
            self._inputs[node] = declared_inputs(spec, inputs_of(self.graph, node)) if spec else {}
        return self._inputs[node]

    def value(self, node: str, name: str) -> Any:
        return inputs_of(self.graph, node).get(name)

    def source(self, node: str, name: str) -> NodeLink | None:
        """Return the output that feeds an input."""
        link = as_link(self.value(node, name))
        return link if link is not None and link.node in self.graph else None

    def parameter(self, node: str) -> str | None:
        """Return the value input of a node that declares a parameter of the workflow, or None."""
        return parameter_input(self.class_of(node), inputs_of(self.graph, node))

    def literal_input(self, node: str, name: str) -> LiteralInput | None:
        """Return the input if it has a settable literal value."""
        if self.parameter(node) not in (None, name):
            return None  # title, range or order of a declared parameter
        spec = self.inputs(node).get(name)
        value = self.value(node, name)
        if spec is None or not isinstance(value, str | int | float):
            return None
        spec = _settable(spec, self.spec(node), inputs_of(self.graph, node))
        return LiteralInput(ControlTarget(node, name), value, spec) if spec else None

    def literal_inputs(self) -> Iterator[LiteralInput]:
        """Yield all literals that an output needs, in the order of nodes and declarations."""
        for node in self.graph:
            if node in self.needed:
                for name in self.inputs(node):
                    literal = self.literal_input(node, name)
                    if literal is not None:
                        yield literal

    def _is_output(self, node: str) -> bool:
        spec = self.spec(node)
        return spec is not None and spec.output_node


def _settable(
    spec: InputSpec, node: NodeSpec | None, values: Mapping[str, Any]
) -> InputSpec | None:
    """Return ``spec`` as a form can offer it; None for an input without a field."""
    widget = spec.options.get("widgetType")
    if isinstance(widget, str) and widget in _VALUE_TYPES:
        spec = replace(spec, type=widget)
    if spec.type not in _VALUE_TYPES:
        return None
    if node is not None and node.class_type == "CustomCombo" and spec.name == "choice":
        words = (value for name, value in values.items() if name.startswith("option"))
        return replace(spec, choices=tuple(word for word in words if word))
    options = spec.options.get("options")
    if isinstance(options, list) and any(isinstance(option, Mapping) for option in options):
        return replace(spec, choices=tuple(_complete_options(spec.name, options, values)))
    return spec


def _complete_options(name: str, options: list[Any], values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the options of a dynamic choice whose own required inputs the node already has.

    Other options need inputs that the graph does not set.
    """
    for option in options:
        inputs = option.get("inputs") if isinstance(option, Mapping) else None
        key = option.get("key") if isinstance(inputs, Mapping) else None
        required = inputs.get("required") if isinstance(inputs, Mapping) else None
        needed = required if isinstance(required, Mapping) else {}
        if isinstance(key, str) and all(f"{name}.{child}" in values for child in needed):
            yield key
