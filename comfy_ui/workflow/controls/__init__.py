"""Controls of any graph: its settable values, their roles, and the inputs they set.

- ``control``: the dataclasses
- ``literal_inputs``: every literal value of a graph, with its declaration
- ``graph_trace``, ``graph_walk``, ``name_clues``: the roles of values, from the samplers back to
  prompts, seeds, sizes and models
- ``author_hints``: App mode, parameter nodes, promoted inputs, titled primitives
- ``find_controls``, ``presentation``: both combined, with labels, ranges and an order
- ``result_nodes``: the nodes that produce results, and their media types
- ``control_names``, ``apply_values``: write values into a graph, by the names of controls
"""

from __future__ import annotations

from .apply_values import apply_values
from .control import Control, ControlKind, ControlTarget, GraphOutput
from .control_names import named_values, values_in
from .find_controls import MAX_MAIN, find_controls
from .result_nodes import find_outputs

__all__ = [
    "MAX_MAIN",
    "Control",
    "ControlKind",
    "ControlTarget",
    "GraphOutput",
    "apply_values",
    "find_controls",
    "find_outputs",
    "named_values",
    "values_in",
]
