"""Learned durations: how long the nodes of a server take, by their shape.

A server's :class:`NodeDurations` learns from each run (:meth:`.progress.Tracker.measurements`) and
estimates the next one. It keeps the newest few measurements of each shape and uses their median.
A shape that never ran is estimated from the most similar one of its class, scaled by size and
steps.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import Final, NamedTuple

from .graph_cost import GraphCost, NodeShape, ancestors, is_loader

KEPT_MEASUREMENTS: Final = 5
MAX_SHAPES: Final = 2000
UNIT_S: Final = 0.25
"""Assumed seconds of one unit of :attr:`.graph_cost.GraphCost.weights` on an unknown GPU."""
_CPU_TIMES: Final = 30.0  # how many times longer a unit takes without a GPU
_KEPT_RUNS: Final = 64
_MAX_SCALE: Final = 16.0  # sizes that differ more say nothing about each other
_MAX_S: Final = 7 * 86400.0
_WARM_START: Final = 0.1  # the part of a start that remains when no model is loaded


class ShapeKey(NamedTuple):
    """A node's shape, and whether a model it uses was loaded in the same run."""

    shape: NodeShape
    cold: bool


class Measurement(NamedTuple):
    """The duration of one node: ``start_s`` once, and ``step_s`` for each step.

    A node without steps has only ``start_s``. Both are for one pass of a loop.
    """

    start_s: float
    step_s: float = 0.0

    def total_s(self, steps: float) -> float:
        """Return the whole duration."""
        return self.start_s + self.step_s * steps


class NodeDurations:
    """The learned durations of one server, in memory and bounded."""

    def __init__(self) -> None:
        self._known: OrderedDict[ShapeKey, deque[Measurement]] = OrderedDict()
        # Their medians; None until they are needed.
        self._by_class: dict[str, dict[ShapeKey, Measurement | None]] = {}
        self._unsaved: dict[ShapeKey, None] = {}
        self._runs: deque[Callable[[], Mapping[ShapeKey, Measurement]]] = deque(maxlen=_KEPT_RUNS)
        self.device: str | None = None
        """The type of the server's device as it reports it; empty: unknown, None: never asked."""

    @property
    def unit_s(self) -> float:
        """Assumed seconds of one unit of :attr:`.graph_cost.GraphCost.weights` on this server."""
        return UNIT_S * _CPU_TIMES if self.device == "cpu" else UNIT_S

    def __len__(self) -> int:
        self._catch_up()
        return len(self._known)

    def learn(self, measurements: Mapping[ShapeKey, Measurement]) -> None:
        """Add the measurements of a run; the least recently used shapes are forgotten."""
        for key, measured in measurements.items():
            if all(0 <= seconds <= _MAX_S for seconds in measured):
                self.restore(key, [*self._known.get(key, ()), measured])
                self._unsaved[key] = None

    def learn_later(self, measure: Callable[[], Mapping[ShapeKey, Measurement]]) -> None:
        """Learn from a run when something is asked; only from the newest runs until then.

        To measure a run takes a part of a millisecond, as much as a fifth of a client's work for
        it, and a program that asks for no progress never needs it.
        """
        self._runs.append(measure)

    def _catch_up(self) -> None:
        """Learn from the runs that have been put off."""
        while self._runs:
            self.learn(self._runs.popleft()())

    def take_unsaved(self) -> dict[ShapeKey, tuple[Measurement, ...]]:
        """Return what was learned since the last call, for a store."""
        self._catch_up()
        unsaved = {key: self.measurements(key) for key in self._unsaved if key in self._known}
        self._unsaved.clear()
        return unsaved

    def restore(self, key: ShapeKey, measurements: Iterable[Measurement]) -> None:
        """Set the measurements of a shape, oldest first, as :meth:`measurements` returned them."""
        self._known[key] = deque(measurements, maxlen=KEPT_MEASUREMENTS)
        self._known.move_to_end(key)
        self._by_class.setdefault(key.shape.class_type, {})[key] = None
        while len(self._known) > MAX_SHAPES:
            oldest, _ = self._known.popitem(last=False)
            del self._by_class[oldest.shape.class_type][oldest]
            self._unsaved.pop(oldest, None)

    def measurements(self, key: ShapeKey) -> tuple[Measurement, ...]:
        """Return what is known of a shape, oldest first."""
        self._catch_up()
        return tuple(self._known.get(key, ()))

    def estimate(self, shape: NodeShape, *, cold: bool) -> Measurement | None:
        """Return the expected duration of a node; None if its class never ran here."""
        self._catch_up()
        known = self._by_class.get(shape.class_type)
        if not known:
            return None
        if (exact := ShapeKey(shape, cold)) in known:
            return self._median(exact)
        nearest = min(known, key=lambda key: _distance(key, shape, cold))
        measured = self._median(nearest)
        scale = 1.0
        if shape.megapixels > 0 and nearest.shape.megapixels > 0:
            scale = shape.megapixels / nearest.shape.megapixels
            scale = min(max(scale, 1 / _MAX_SCALE), _MAX_SCALE)
        loads = nearest.cold and not cold and (measured.step_s > 0 or "Encode" in shape.class_type)
        start_s = measured.start_s * (_WARM_START if loads else 1.0)
        if measured.step_s > 0:
            return Measurement(start_s, measured.step_s * scale)
        return Measurement(start_s * scale)

    def _median(self, key: ShapeKey) -> Measurement:
        medians = self._by_class[key.shape.class_type]
        known = medians[key]
        if known is None:
            measured = self._known[key]
            known = medians[key] = Measurement(
                median(one.start_s for one in measured), median(one.step_s for one in measured)
            )
        return known

    def seconds(self, plan: GraphCost, *, loaded: bool = False) -> float | None:
        """Return the expected duration of a whole run; None if too little of it is known.

        ``loaded``: the server has the models in memory, so that no loader runs again.
        """
        loaders = {id_ for id_, class_type in plan.classes.items() if is_loader(class_type)}
        runs = ancestors(plan.outputs, plan.sources, done=loaders if loaded else ())
        unit_s = self.unit_s * plan.size_factor
        known_s = unknown_s = 0.0
        for id_ in runs:
            shape = plan.shapes[id_]
            cold = not plan.loaders[id_].isdisjoint(runs)
            passes = math.prod(plan.passes.get(loop, 1) for loop in plan.loops.get(id_, ()))
            measured = self.estimate(shape, cold=cold)
            if measured is not None:
                known_s += measured.total_s(shape.steps) * passes
            else:
                unknown_s += plan.weights[id_] * unit_s * passes
        return known_s + unknown_s if known_s >= unknown_s and known_s > 0 else None


def _distance(key: ShapeKey, shape: NodeShape, cold: bool) -> tuple[bool, bool, float, float]:
    other = key.shape
    sizes = abs(math.log((shape.megapixels or 1.0) / (other.megapixels or 1.0)))
    steps = abs(math.log(max(shape.steps, 1.0) / max(other.steps, 1.0)))
    return other.models != shape.models, key.cold != cold, sizes, steps
