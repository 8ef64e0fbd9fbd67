"""One percentage and one remaining time for a whole graph.

A :class:`Tracker` measures a run. The percentage is the cost of the finished nodes over the cost of
all nodes that run (costs as in :mod:`.graph_cost`). Nodes from the server's cache and branches that
turn out to be unused do not count. It never falls, and is 100 only after a success.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ._replace import fast_replace
from .graph_cost import GraphCost, ancestors, is_loader, is_saver
from .messages import (
    Executed,
    Executing,
    ExecutionCached,
    ExecutionStart,
    Message,
    NodeProgress,
    NodeState,
    PreviewFrame,
    ProgressState,
)

MIN_STEPS_FOR_ETA = 2
MIN_FRACTION_FOR_ETA = 0.05
ALMOST = 0.99  # the most that a node or run gets before its end is reported


class Phase(StrEnum):
    """The phase of a job. The last four are final."""

    QUEUED = "queued"
    LOADING = "loading"
    RUNNING = "running"
    SAVING = "saving"
    CANCELLING = "cancelling"
    RECONNECTING = "reconnecting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def is_final(self) -> bool:
        """Whether the job has ended."""
        return self in _FINAL


_FINAL = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED, Phase.LOST})


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a job at one moment.

    ``progress`` is 0-100 for the whole graph and never falls. ``node`` and ``node_title`` name the
    node that is running; ``step`` of ``steps`` is its own count (None for nodes without one).
    ``queue_position`` is 1 for the job that runs next, of ``queue_size`` that wait; None if the job
    is not waiting or its position is unknown. ``eta`` is seconds to the end, None until two steps
    allow an estimate. ``preview`` is the newest preview image, encoded as ``preview_type`` says.
    ``elapsed_s`` counts from the start of the run; 0 before it.
    """

    prompt_id: str
    phase: Phase = Phase.QUEUED
    progress: float = 0.0
    node: str | None = None
    node_title: str | None = None
    step: int | None = None
    steps: int | None = None
    queue_position: int | None = None
    queue_size: int | None = None
    eta: float | None = None
    elapsed_s: float = 0.0
    preview: bytes | None = field(default=None, repr=False)
    preview_type: str | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """A preview image of a running job, encoded as ``media_type`` says.

    ``node`` and ``node_title`` name the node that is running; None if unknown.
    """

    prompt_id: str
    image: bytes = field(repr=False)
    media_type: str
    node: str | None = None
    node_title: str | None = None


@dataclass(frozen=True)
class Tracker:
    """The measured state of a run. Pass messages to :meth:`hear`, in any order.

    ``fractions`` has the nodes that were started: 1.0 is done. ``value`` is 0-1.
    """

    plan: GraphCost | None = None
    started_at: float | None = None
    fractions: Mapping[str, float] = field(default_factory=dict)
    cached: frozenset[str] = frozenset()
    total: float = 0.0
    value: float = 0.0
    value_at: float = 0.0
    node: str | None = None
    activity: str | None = None
    step: int | None = None
    steps: int | None = None
    steps_heard: int = 0
    has_snapshots: bool = False
    preview: PreviewFrame | None = None

    def with_plan(self, plan: GraphCost) -> Tracker:
        """The same run, measured by another graph cost."""
        return _recount(fast_replace(self, plan=plan))

    def hear(self, message: Message, now: float) -> Tracker:
        """The state after a message of this job."""
        if isinstance(message, PreviewFrame):
            return fast_replace(self, preview=message)
        tracker = self if self.started_at is not None else fast_replace(self, started_at=now)
        match message:
            case ExecutionStart():
                return _recount(tracker)
            case ExecutionCached(nodes=nodes):
                return _recount(fast_replace(tracker, cached=tracker.cached | set(nodes)))
            case Executing(node=str(node)):
                return _enter(tracker, message.display_node or node, now)
            case Executed(node=node):
                return _raise(tracker, {node: 1.0}, now)
            case NodeProgress():
                return _count(tracker, message, now)
            case ProgressState(nodes=nodes):
                return _take_snapshot(tracker, nodes, now)
        return tracker

    def finish(self, now: float) -> Tracker:
        """The state after a success; only that makes it 100 %."""
        return fast_replace(self, value=1.0, value_at=now)

    @property
    def phase(self) -> Phase:
        """Loading, running or saving, by the node that is running."""
        class_type = self.plan.classes.get(self.node or "", "") if self.plan else ""
        if self.activity == "loading" or is_loader(class_type):
            return Phase.LOADING
        return Phase.SAVING if is_saver(class_type) else Phase.RUNNING

    def title(self, node: str | None) -> str | None:
        """A node's title in the graph, else its class; None if unknown."""
        if self.plan is None or node is None:
            return None
        titles = self.plan.titles
        return titles.get(node) or titles.get(node.partition(".")[0])  # 2 created 2.0.0.1

    def eta_s(self, now: float) -> float | None:
        """Seconds to the end, from the time taken so far; None while that is too uncertain."""
        if (
            self.started_at is None
            or self.steps_heard < MIN_STEPS_FOR_ETA
            or not MIN_FRACTION_FOR_ETA < self.value < 1.0
        ):
            return None
        elapsed_s = self.value_at - self.started_at
        return max(0.0, elapsed_s * (1 - self.value) / self.value - (now - self.value_at))


def _enter(tracker: Tracker, node: str, now: float) -> Tracker:
    previous = tracker.node
    if node == previous:
        return tracker
    tracker = fast_replace(tracker, node=node, activity=None, step=None, steps=None)
    # Only for servers without progress_state: a node that waits for a lazy input is also left, but
    # not done.
    if previous is None or tracker.has_snapshots:
        return tracker
    return _raise(tracker, {previous: 1.0}, now)


def _count(tracker: Tracker, message: NodeProgress, now: float) -> Tracker:
    tracker = _step(tracker, message.value, message.max)
    node = message.node or tracker.node
    if tracker.has_snapshots or node is None:
        return tracker  # the snapshot has the same and maps inner nodes
    return _raise(tracker, {node: _fraction(message.value, message.max)}, now)


def _take_snapshot(tracker: Tracker, states: tuple[NodeState, ...], now: float) -> Tracker:
    classes = tracker.plan.classes if tracker.plan else {}
    own: dict[str, float] = {}
    inner: dict[str, list[float]] = {}
    running: NodeState | None = None
    for state in states:
        fraction = 1.0 if state.state == "finished" else _fraction(state.value, state.max)
        if state.node in classes or state.display_node not in classes:
            own[state.node] = fraction
        else:
            inner.setdefault(state.display_node, []).append(fraction)
        if state.state == "running":
            running = state
    for node, fractions in inner.items():
        # The number of nodes that a node expands into is known only at its last one.
        rolled_up = sum(fractions) / (len(fractions) + 1)
        own[node] = max(own.get(node, 0.0), rolled_up)
    if not tracker.has_snapshots:
        tracker = fast_replace(tracker, has_snapshots=True)
    if running is not None:
        visible_node = running.node if running.node in classes else running.display_node
        tracker = _step(_enter(tracker, visible_node, now), running.value, running.max)
        if tracker.activity != running.activity:
            tracker = fast_replace(tracker, activity=running.activity)
    return _raise(tracker, own, now)


def _step(tracker: Tracker, value: float, maximum: float) -> Tracker:
    if maximum <= 1 or (tracker.step, tracker.steps) == (int(value), int(maximum)):
        return tracker
    heard = tracker.steps_heard + (value >= 1)
    return fast_replace(tracker, step=int(value), steps=int(maximum), steps_heard=heard)


def _raise(tracker: Tracker, fractions: Mapping[str, float], now: float) -> Tracker:
    """Raise the fractions of some nodes; none ever falls, although a sampler may start over."""
    old = tracker.fractions
    raised = {node: f for node, f in fractions.items() if f > old.get(node, -1.0)}
    if not raised:
        return tracker
    tracker = fast_replace(tracker, fractions={**old, **raised})
    if tracker.total == 0 or 1.0 in raised.values():
        tracker = _recount(tracker)
    if tracker.plan is None or tracker.total <= 0:
        return tracker
    weights, cached = tracker.plan.weights, tracker.cached
    done = sum(
        weights.get(node, 0.0) * fraction
        for node, fraction in tracker.fractions.items()
        if node not in cached
    )
    value = min(ALMOST, done / tracker.total)
    return fast_replace(tracker, value=value, value_at=now) if value > tracker.value else tracker


def _recount(tracker: Tracker) -> Tracker:
    """The cost of all nodes that run: those started, and those that unfinished outputs need.

    Unused branches of a lazy switch drop out here: once the switch is done, nothing needs them.
    """
    plan = tracker.plan
    if plan is None:
        return tracker
    finished = {node for node, fraction in tracker.fractions.items() if fraction == 1.0}
    runs = ancestors(plan.outputs, plan.sources, done=finished | tracker.cached)
    runs |= tracker.fractions.keys() - tracker.cached
    return fast_replace(tracker, total=sum(plan.weights.get(node, 0.0) for node in runs))


def _fraction(value: float, maximum: float) -> float:
    return min(ALMOST, max(0.0, value / maximum)) if maximum > 0 else 0.0
