"""Controls of any graph: which values can be set, what they mean, and where they go.

- ``control``: what a control is
- ``literal_inputs``: every literal value of a graph, with its declaration
- ``graph_trace``, ``graph_walk``, ``name_clues``: what the values mean, from the samplers back to
  prompts, seeds, sizes and models
- ``author_hints``: App mode, parameter nodes, promoted inputs, titled primitives
- ``find_controls``, ``presentation``: both combined, with labels, ranges and an order
- ``result_nodes``: which nodes produce results, and of what kind
- ``apply_values``: values of controls, written into a graph
"""

from __future__ import annotations

from .apply_values import apply_values
from .control import Control, ControlKind, ControlTarget, GraphOutput
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
]
