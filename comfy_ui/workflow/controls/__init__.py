"""The controls a person needs, found in any graph: what to show, where each value goes.

``control``   what a control is
``leaves``    every literal value of a graph, with what its node class declares about it
``trace``     what the values mean, read off the graph: from samplers back to prompts, seeds,
sizes, models ``hints``     what the author said: App mode, parameter nodes, promoted inputs,
titled primitives ``form``      the two put together: labels, ranges, one control for what belongs
together, an order ``outputs``   which nodes give results, and of what kind ``apply``     values
of controls → a graph
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
