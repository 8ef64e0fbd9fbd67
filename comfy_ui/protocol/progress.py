"""One percentage and one remaining time for a whole graph.

A :class:`Tracker` measures a run. The percentage is time: the seconds since the start over those
seconds and the remaining ones. What remains is estimated from the pace of the running node, from
learned :mod:`.durations`, and else from the weights of :mod:`.graph_cost`. Nodes from the server's
cache and branches that turn out to be unused do not count. It never falls, and is 100 only after a
success.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

from ._replace import fast_replace
from .durations import UNIT_S, Measurement, NodeDurations, ShapeKey
from .frames import node_states
from .graph_cost import GraphCost, NodeShape, ancestors, is_loader, is_saver
from .messages import (
    Executed,
    Executing,
    ExecutionCached,
    Message,
    NodeProgress,
    NodeState,
    PreviewFrame,
    ProgressState,
    ProgressText,
)

MIN_STEPS_FOR_ETA = 2
MIN_FRACTION_FOR_ETA = 0.05
MAX_GUESSED_FOR_ETA = 0.2  # of the remaining time, if no steps are known yet
ALMOST = 0.99  # the most that a node or run gets before its end is reported
_GUESS_UNITS: Final = 4.0  # how many measured units count as much as the assumed ones
_STEPS_CREDIT: Final = 4.0  # a unit measured by steps counts for so many of others
_LEARNED_STEPS: Final = 1.0  # how many heard steps count as much as a learned pace
_OVERDUE: Final = 0.05  # of its duration that a node is assumed to need when it exceeds that
_MAX_TEXT: Final = 500
_ITERATION: Final = re.compile(r"Iteration (\d{1,9}) / (\d{1,9})")


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
    or learned durations allow an estimate. ``preview`` is the newest preview image, encoded as
    ``preview_type`` says. ``elapsed_s`` counts from the start of the run; 0 before it.
    ``iteration`` of ``iterations`` is the running pass of a loop; of a loop in a loop, all passes
    count. ``text`` is the line that a node showed last.
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
    iteration: int | None = None
    iterations: int | None = None
    text: str | None = None


class _Pace(NamedTuple):
    """The steps of the running node: the first one heard, and the newest of ``steps``."""

    first: float
    first_at: float
    step: float
    at: float
    steps: float

    @property
    def step_s(self) -> float | None:
        """Seconds of one step; None before the second one."""
        done = self.step - self.first
        return (self.at - self.first_at) / done if done > 0 else None


class _Stepped(NamedTuple):
    """The measured steps of a node: how many took how long, and how many it made in all."""

    seconds: float = 0.0
    measured: float = 0.0
    steps: float = 0.0


class _Loop(NamedTuple):
    """The passes of a loop. ``counts_done``: the server reports finished passes, not started."""

    iteration: int
    iterations: int
    counts_done: bool

    @property
    def current(self) -> int:
        """The number of the pass that is running."""
        return min(self.iteration + self.counts_done, self.iterations)


class Outlook(NamedTuple):
    """What is expected of the nodes that do not run yet.

    ``seconds`` are those of the nodes whose duration is known, ``units`` the weights of the others.
    """

    seconds: float = 0.0
    units: float = 0.0


@dataclass(frozen=True, slots=True)
class Preview:
    """A preview image of a running job, encoded as ``media_type`` says.

    ``node`` and ``node_title`` name the node that sent it; None if unknown.
    """

    prompt_id: str
    image: bytes = field(repr=False)
    media_type: str
    node: str | None = None
    node_title: str | None = None


@dataclass(frozen=True)
class Tracker:
    """The measured state of a run. Pass messages to :meth:`hear`, in any order.

    ``fractions`` has the nodes that were started: 1.0 is done. ``value`` is 0-1, as of the last
    message; :meth:`value_at` follows the time. ``spent`` has the seconds of the nodes that were
    left, and ``durations`` what earlier runs of the server took. What is ``known_`` was
    computed when it was needed, and holds until a message changes it.
    """

    plan: GraphCost | None = None
    durations: NodeDurations | None = field(default=None, compare=False)
    started_at: float | None = None
    fractions: Mapping[str, float] = field(default_factory=dict)
    cached: frozenset[str] = frozenset()
    known_expected: Mapping[str, Measurement | None] | None = field(default=None, compare=False)
    known_outlook: Outlook | None = field(default=None, compare=False)
    value: float = 0.0
    node: str | None = None
    entered_at: float = 0.0
    spent: Mapping[str, float] = field(default_factory=dict)
    pace: _Pace | None = None
    stepped: Mapping[str, _Stepped] = field(default_factory=dict)
    loops: Mapping[str, _Loop] = field(default_factory=dict)
    loop: str | None = None  # the one whose pass was reported last
    activity: str | None = None
    step: int | None = None
    steps: int | None = None
    steps_heard: int = 0
    text: str | None = None
    has_snapshots: bool = False
    preview: PreviewFrame | None = None
    assumed_s: float = field(default=UNIT_S, compare=False)  # of one unit of weight

    def with_plan(self, plan: GraphCost) -> Tracker:
        """The same run, measured by another graph cost."""
        return fast_replace(self, plan=plan, known_expected=None, known_outlook=None)

    @property
    def expected(self) -> Mapping[str, Measurement | None]:
        """The expected duration of each node; None if its class never ran here."""
        expected = self.known_expected
        if expected is None:
            expected = _expected(self)
            object.__setattr__(self, "known_expected", expected)
        return expected

    @property
    def outlook(self) -> Outlook:
        """What is expected of the nodes that do not run yet."""
        outlook = self.known_outlook
        if outlook is None:
            outlook = _outlook(self)
            object.__setattr__(self, "known_outlook", outlook)
        return outlook

    def start(self, now: float) -> Tracker:
        """The state after the first sign that the job runs."""
        # What is assumed stays so for the run, or the percentage might fall.
        assumed_s = UNIT_S if self.durations is None else self.durations.unit_s
        return fast_replace(
            self, started_at=now, entered_at=now, known_outlook=None, assumed_s=assumed_s
        )

    def hear(self, message: Message, now: float) -> Tracker:
        """The state after a message of this job."""
        if isinstance(message, PreviewFrame):
            return fast_replace(self, preview=message)
        return self.hear_all([(message, now)])

    def hear_all(self, messages: Sequence[tuple[Message, float]]) -> Tracker:
        """The state after messages other than previews, each with its time.

        Its value is computed once, after the last one.
        """
        before, tracker = self._after(messages)
        if tracker is before:
            return before  # its value does not fall with time
        first_at, last_at = messages[0][1], messages[-1][1]
        value = max(before.value_at(first_at), tracker.value_at(last_at))
        return fast_replace(tracker, value=value) if value > tracker.value else tracker

    def end(
        self, now: float, *, success: bool, messages: Sequence[tuple[Message, float]] = ()
    ) -> Tracker:
        """The state after the last messages and the end of the run.

        Only a success makes it 100 %.
        """
        if success:
            _, tracker = self._after(messages)
            return fast_replace(_leave(tracker, now), value=1.0)
        tracker = self.hear_all(messages)
        return fast_replace(_leave(tracker, now), value=tracker.value_at(now))

    def _after(self, messages: Sequence[tuple[Message, float]]) -> tuple[Tracker, Tracker]:
        """The states before and after messages, still with the value before them."""
        before = self
        if messages and self.started_at is None:
            before = self.start(messages[0][1])
        tracker = before
        for message, now in messages:
            tracker = _take(tracker, message, now)
        return before, tracker

    @property
    def phase(self) -> Phase:
        """Loading, running or saving, by the node that is running."""
        class_type = self.plan.classes.get(self.node or "", "") if self.plan else ""
        if self.activity == "loading" or is_loader(class_type):
            return Phase.LOADING
        return Phase.SAVING if is_saver(class_type) else Phase.RUNNING

    @property
    def iteration(self) -> tuple[int, int] | None:
        """The running pass of the innermost loop, and the number of its passes.

        In a loop of 2 passes, a loop of 3 passes has 6.
        """
        if self.loop is None:
            return None
        around = self.plan.loops.get(self.loop, ()) if self.plan else ()
        done, total = 0, 1
        for loop in (self.loops.get(start) for start in (*around, self.loop)):
            if loop is None or not loop.iterations:
                continue
            done = done * loop.iterations + max(0, loop.current - 1)
            total *= loop.iterations
        inner = self.loops[self.loop]
        if not inner.iterations:
            return None
        return done + min(inner.current, 1), total

    def title(self, node: str | None) -> str | None:
        """A node's title in the graph, else its class; None if unknown."""
        if self.plan is None or node is None:
            return None
        titles = self.plan.titles
        return titles.get(node) or titles.get(node.partition(".")[0])  # 2 created 2.0.0.1

    def value_at(self, now: float) -> float:
        """The part of the run that is over, 0-1. Never falls with later times and messages."""
        if self.plan is None or self.started_at is None or self.value >= ALMOST:
            return self.value
        elapsed_s = now - self.started_at
        remaining_s, guessed_s = self._remaining_s(now)
        if elapsed_s <= 0:
            return self.value
        value = elapsed_s / (elapsed_s + remaining_s)
        if 2 * guessed_s > remaining_s and self._is_blind:
            # On a slow server, the nodes before the sampler exceed all that is guessed of it. A
            # value too low is corrected at the first steps, one too high never.
            value = min(value, self._weight_share(now))
        return max(self.value, min(ALMOST, value))

    def eta_s(self, now: float) -> float | None:
        """Seconds to the end; None while that is too uncertain."""
        if self.plan is None or self.started_at is None or self.value >= 1.0:
            return None
        remaining_s, guessed_s = self._remaining_s(now)
        if guessed_s <= MAX_GUESSED_FOR_ETA * remaining_s:
            return remaining_s
        enough = self.steps_heard >= MIN_STEPS_FOR_ETA
        return remaining_s if enough and self.value_at(now) > MIN_FRACTION_FOR_ETA else None

    def measurements(self) -> dict[ShapeKey, Measurement]:
        """The durations of the nodes that have ended, for :meth:`.NodeDurations.learn`."""
        if self.plan is None:
            return {}
        measured: dict[ShapeKey, list[Measurement]] = {}
        for node, spent_s in self.spent.items():
            shape = self.plan.shapes.get(node)
            if shape is None or self.fractions.get(node) != 1.0:
                continue
            passes = _passes_of(self, node)
            stepped = self.stepped.get(node, _Stepped())
            steps_s = 0.0
            if stepped.measured > 0:
                steps_s = min(spent_s, stepped.seconds / stepped.measured * stepped.steps)
            one = Measurement((spent_s - steps_s) / passes, steps_s / passes / shape.steps)
            measured.setdefault(ShapeKey(shape, _is_cold(self, node)), []).append(one)
        # Several nodes may have one shape: the first of two text encoders loads the model.
        return {
            key: Measurement(
                math.fsum(one.start_s for one in found) / len(found),
                math.fsum(one.step_s for one in found) / len(found),
            )
            for key, found in measured.items()
        }

    @property
    def _is_blind(self) -> bool:
        """Whether the pace of this server is unknown: no steps heard yet, and mostly new nodes."""
        steps_known = self.pace is not None and self.pace.step_s is not None
        return (
            not steps_known
            and not any(stepped.measured for stepped in self.stepped.values())
            and self.outlook.units * self._unit_s() > self.outlook.seconds
        )

    def _weight_share(self, now: float) -> float:
        """The part of the run that is over by weights alone, whatever the server's speed, 0-1."""
        plan, node = self.plan, self.node
        if plan is None:
            return 0.0
        done = ended = math.fsum(
            plan.weights.get(id_, 0.0)
            for id_, fraction in self.fractions.items()
            if fraction == 1.0 and id_ not in self.cached
        )
        running = 0.0
        if node is not None and node in plan.weights and self.fractions.get(node) != 1.0:
            running = plan.weights[node]
            waited_s = max(0.0, now - self.entered_at)
            part = waited_s / (waited_s + self._running_s(now)[0]) if waited_s else 0.0
            done += running * min(part, 1.0 / plan.shapes[node].steps)  # no step has ended yet
        whole = ended + running + self.outlook.units
        return done / whole if whole else 0.0

    def _remaining_s(self, now: float) -> tuple[float, float]:
        """Seconds to the end, and the part of them that is guessed from weights."""
        known_s, guessed_s = self.outlook.seconds, self.outlook.units * self._unit_s()
        whole_s = known_s + guessed_s
        if self.node is None:  # polling alone says only that the job runs
            waited_s = now - (self.started_at or 0.0)
            if guessed_s > known_s:
                return whole_s, whole_s
            return max(whole_s - waited_s, _OVERDUE * whole_s), guessed_s
        running_s, running_guess_s = self._running_s(now)
        return running_s + whole_s, running_guess_s + guessed_s

    def _running_s(self, now: float) -> tuple[float, float]:
        plan, node = self.plan, self.node
        if plan is None or node is None or node not in plan.shapes:
            return 0.0, 0.0
        if self.fractions.get(node) == 1.0:
            return 0.0, 0.0
        passes = _passes_of(self, node)
        done = int(self.fractions.get(node, 0.0) * passes + 1e-6)
        known = self.expected.get(node)
        if known is None:
            expected_s = plan.weights[node] * self._unit_s()
        else:
            expected_s = known.total_s(plan.shapes[node].steps)
        later_s = max(0, passes - done - 1) * expected_s
        waited_s = max(0.0, now - self.entered_at)
        if self.pace is not None:
            one_s = self._pace_s(self.pace, plan.shapes[node], known, now)
        elif known is not None:
            one_s = max(expected_s - waited_s, _OVERDUE * expected_s)
        elif plan.shapes[node].steps > 1:
            one_s = self._unheard_steps_s(plan.shapes[node].steps, expected_s, waited_s)
        else:
            one_s = expected_s**2 / (expected_s + waited_s) if expected_s > 0 else 0.0
        is_guess = known is None and (self.pace is None or self.pace.step_s is None)
        return one_s + later_s, one_s + later_s if is_guess else 0.0

    def _unheard_steps_s(self, steps: float, expected_s: float, waited_s: float) -> float:
        """Seconds of a sampler's steps before the first one; each takes longer than the wait.

        They grow no faster than the time since the start, so that the percentage never falls.
        """
        before_s = self.entered_at - (self.started_at or 0.0)
        longer_after_s = expected_s / steps
        if waited_s <= longer_after_s:
            return expected_s
        grown_s = expected_s * (before_s + waited_s) / (before_s + longer_after_s)
        return min(steps * waited_s, grown_s)

    def _pace_s(
        self, pace: _Pace, shape: NodeShape, known: Measurement | None, now: float
    ) -> float:
        step_s = pace.step_s
        if known is not None and known.step_s > 0:
            heard = pace.step - pace.first
            learned_s = known.step_s * shape.steps / pace.steps * _LEARNED_STEPS
            step_s = (learned_s + pace.at - pace.first_at) / (_LEARNED_STEPS + heard)
        if step_s is None:  # the first step may include the loading of a model
            step_s = max((pace.first_at - self.entered_at) / pace.first, 2 * self._unit_s())
        remaining = max(0.0, pace.steps - pace.step)
        if remaining == 0:
            return _OVERDUE * step_s
        longest_s = (1 - _OVERDUE) * step_s * min(remaining, 1.0)
        return remaining * step_s - min(max(0.0, now - pace.at), longest_s)

    def _unit_s(self) -> float:
        """Seconds of one unit of weight: measured by the steps so far, else assumed."""
        seconds = units = 0.0
        for stepped in self.stepped.values():
            seconds += stepped.seconds
            units += 2 * stepped.measured
        if self.pace is not None:
            seconds += self.pace.at - self.pace.first_at
            units += 2 * (self.pace.step - self.pace.first)
        credit = _STEPS_CREDIT
        if units == 0 and self.plan is not None:
            credit = 1.0
            for node, spent_s in self.spent.items():
                class_type = self.plan.classes.get(node, "")
                if not is_loader(class_type) and "Encode" not in class_type:
                    seconds += spent_s
                    units += self.plan.weights.get(node, 0.0)
        guess_s = self.assumed_s * (self.plan.size_factor if self.plan is not None else 1.0)
        return (_GUESS_UNITS * guess_s + credit * seconds) / (_GUESS_UNITS + credit * units)


def _take(tracker: Tracker, message: Message, now: float) -> Tracker:
    """The state after a message, of a run that has started; its value may have fallen."""
    match message:
        case ProgressState(nodes=nodes):
            return _take_snapshot(tracker, nodes, now)
        case NodeProgress():
            return _count(tracker, message, now)
        case Executing(node=str(node)):
            return _enter(tracker, message.display_node or node, now)
        case Executed(node=node):
            return _raise(tracker, {node: 1.0})
        case ExecutionCached(nodes=nodes) if not tracker.cached.issuperset(nodes):
            cached = tracker.cached.union(nodes)
            return fast_replace(tracker, cached=cached, known_expected=None, known_outlook=None)
        case ProgressText():
            return _read_text(tracker, message)
    return tracker


def _is_cold(tracker: Tracker, node: str) -> bool:
    """Whether a model that the node uses is loaded in this run."""
    plan = tracker.plan
    return plan is not None and not plan.loaders.get(node, frozenset()) <= tracker.cached


def _passes_of(tracker: Tracker, node: str) -> int:
    """How often the node runs: the product of the passes of the loops around it."""
    plan = tracker.plan
    loops = plan.loops.get(node, ()) if plan is not None else ()
    passes = 1
    for loop in loops:
        heard = tracker.loops.get(loop)
        number = heard.iterations if heard else plan.passes.get(loop, 1) if plan else 1
        passes *= max(1, number)
    return passes


def _leave(tracker: Tracker, now: float) -> Tracker:
    """Record the time and steps of the node that was running until now."""
    node = tracker.node
    if node is None:
        return fast_replace(tracker, entered_at=now)
    spent_s = tracker.spent.get(node, 0.0) + max(0.0, now - tracker.entered_at)
    tracker = _end_steps(tracker)
    return fast_replace(tracker, spent={**tracker.spent, node: spent_s}, entered_at=now)


def _end_steps(tracker: Tracker) -> Tracker:
    pace, node = tracker.pace, tracker.node
    if pace is None or node is None:
        return tracker
    old = tracker.stepped.get(node, _Stepped())
    stepped = _Stepped(
        old.seconds + pace.at - pace.first_at,
        old.measured + pace.step - pace.first,
        old.steps + pace.step,
    )
    return fast_replace(tracker, stepped={**tracker.stepped, node: stepped}, pace=None)


def _enter(tracker: Tracker, node: str, now: float) -> Tracker:
    previous = tracker.node
    if node == previous:
        return tracker
    tracker = fast_replace(_leave(tracker, now), node=node, activity=None, step=None, steps=None)
    # Only for servers without progress_state: a node that waits for a lazy input is also left, but
    # not done.
    if previous is None or tracker.has_snapshots:
        return _changed(tracker)
    return _changed(_raise(tracker, {previous: 1.0}))


def _count(tracker: Tracker, message: NodeProgress, now: float) -> Tracker:
    tracker = _step(tracker, message.value, message.max, now)
    node = message.node or tracker.node
    if tracker.has_snapshots or node is None:
        return tracker  # the snapshot has the same and maps inner nodes
    return _raise(tracker, {node: _fraction(message.value, message.max)})


def _take_snapshot(tracker: Tracker, nodes: Mapping[str, Any], now: float) -> Tracker:
    classes = tracker.plan.classes if tracker.plan else {}
    own: dict[str, float] = {}
    inner: dict[str, dict[str, list[float]]] = {}  # of each node, by its copy in loops
    running: NodeState | None = None
    for state in node_states(nodes):
        fraction = 1.0 if state.state == "finished" else _fraction(state.value, state.max)
        if state.node in classes or state.display_node not in classes:
            own[state.node] = fraction
        else:
            copy = _copy_of(state.node, state.display_node)
            fractions = inner.setdefault(state.display_node, {}).setdefault(copy, [])
            if state.node == copy:  # those that it made come after it
                fractions.insert(0, fraction)
            else:
                fractions.append(fraction)
        if state.state == "running":
            running = state
    for node, copies in inner.items():
        passes = _passes_of(tracker, node)
        done = sum(_fraction_of_copy(copy, fractions) for copy, fractions in copies.items())
        own[node] = max(own.get(node, 0.0), min(1.0, done / passes))
    if not tracker.has_snapshots:
        tracker = fast_replace(tracker, has_snapshots=True)
    if running is not None:
        visible_node = running.node if running.node in classes else running.display_node
        tracker = _step(_enter(tracker, visible_node, now), running.value, running.max, now)
        if tracker.activity != running.activity:
            tracker = fast_replace(tracker, activity=running.activity)
    return _raise(tracker, own)


def _copy_of(node: str, original: str) -> str:
    """The copy of a node that a node belongs to: ``5.0.0.3_7`` of ``5.0.0.3_7.0.0.1``; or empty."""
    parts = node.split(".")
    for index in reversed(range(1, len(parts))):
        if parts[index].partition("_")[2] == original:
            return ".".join(parts[: index + 1])
    return ""


def _fraction_of_copy(copy: str, fractions: list[float]) -> float:
    """How much of a copy is done: the first fraction is its own, the others are of what it made.

    The number of nodes that a node expands into is known only at its last one.
    """
    if copy and (len(fractions) == 1 or fractions[0] == 1.0):
        return fractions[0]
    made = fractions[1:] if copy else fractions
    return sum(made) / (len(made) + 1)


def _step(tracker: Tracker, value: float, maximum: float, now: float) -> Tracker:
    if maximum <= 1 or (tracker.step, tracker.steps) == (int(value), int(maximum)):
        return tracker
    heard = tracker.steps_heard + (value >= 1)
    pace = tracker.pace
    if pace is not None and (value < pace.step or maximum != pace.steps):  # it started over
        tracker, pace = _end_steps(tracker), None
    if value >= 1:
        first, first_at = (value, now) if pace is None else (pace.first, pace.first_at)
        pace = _Pace(first, first_at, value, now, maximum)
    return fast_replace(tracker, step=int(value), steps=int(maximum), steps_heard=heard, pace=pace)


def _changed(tracker: Tracker) -> Tracker:
    """The state, whose outlook has changed."""
    return tracker if tracker.known_outlook is None else fast_replace(tracker, known_outlook=None)


def _read_text(tracker: Tracker, message: ProgressText) -> Tracker:
    node = _node_of_copy(tracker, message.node)
    match = _ITERATION.fullmatch(message.text)
    if match is None:
        return fast_replace(tracker, text=message.text[:_MAX_TEXT])
    old = tracker.loops.get(node)
    iteration, iterations = int(match[1]), int(match[2])
    # ComfyUI has counted the passes that start, and since then those that have ended, from 0.
    counts_done = (iteration == 0 or (old is not None and old.counts_done)) and iterations > 0
    new = _Loop(iteration, iterations, counts_done)
    loops = {**tracker.loops, node: new}
    around = tracker.plan.loops if tracker.plan else {}
    if old is None or new.current != old.current:  # the loops in it start again
        inside = (start for start in loops if node in around.get(start, ()))
        loops |= {start: loops[start]._replace(iteration=0) for start in [*inside]}
    innermost = tracker.loop if node in around.get(tracker.loop or "", ()) else node
    return _changed(fast_replace(tracker, loops=loops, loop=innermost))


def _node_of_copy(tracker: Tracker, node: str) -> str:
    """The node of the graph that a loop has copied: ``5.0.0.3_7`` is the fourth copy of 7."""
    classes = tracker.plan.classes if tracker.plan else {}
    if node in classes or "." not in node:
        return node
    original = node.rpartition(".")[2].partition("_")[2]
    return original if original in classes else node


def _raise(tracker: Tracker, fractions: Mapping[str, float]) -> Tracker:
    """Raise the fractions of some nodes; none ever falls, although a sampler may start over."""
    old = tracker.fractions
    raised = {node: f for node, f in fractions.items() if f > old.get(node, -1.0)}
    if not raised:
        return tracker
    tracker = fast_replace(tracker, fractions={**old, **raised})
    return _changed(tracker) if 1.0 in raised.values() else tracker


def _outlook(tracker: Tracker) -> Outlook:
    """Add up the nodes that will run after the current one: those that unfinished outputs need.

    Unused branches of a lazy switch drop out here: once the switch is done, nothing needs them.
    """
    plan = tracker.plan
    if plan is None or tracker.started_at is None:
        return Outlook()
    finished = {node for node, fraction in tracker.fractions.items() if fraction == 1.0}
    runs = ancestors(plan.outputs, plan.sources, done=finished | tracker.cached)
    runs.discard(tracker.node or "")
    ahead_s = units = 0.0
    for node in runs:
        remaining = _passes_of(tracker, node) * (1.0 - tracker.fractions.get(node, 0.0))
        known = tracker.expected.get(node)
        if known is None:
            units += plan.weights[node] * remaining
        else:
            ahead_s += known.total_s(plan.shapes[node].steps) * remaining
    return Outlook(ahead_s, units)


def _expected(tracker: Tracker) -> dict[str, Measurement | None]:
    plan, durations = tracker.plan, tracker.durations
    if plan is None:
        return {}
    if durations is None:
        return dict.fromkeys(plan.shapes)
    return {
        node: durations.estimate(shape, cold=_is_cold(tracker, node))
        for node, shape in plan.shapes.items()
    }


def _fraction(value: float, maximum: float) -> float:
    return min(ALMOST, max(0.0, value / maximum)) if maximum > 0 else 0.0
