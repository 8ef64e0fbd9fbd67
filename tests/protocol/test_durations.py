from __future__ import annotations

import math
from typing import Any

import pytest

from comfy_ui.protocol.durations import (
    KEPT_MEASUREMENTS,
    MAX_SHAPES,
    Measurement,
    NodeDurations,
    ShapeKey,
)
from comfy_ui.protocol.frames import parse_text
from comfy_ui.protocol.graph_cost import GraphCost, NodeShape
from comfy_ui.protocol.progress import Tracker
from tests.protocol import support
from tests.protocol.support import message_of, snapshot

SAMPLER = NodeShape("KSampler", "a.safetensors", 1.0, 20.0)
DECODER = NodeShape("VAEDecode", "a.safetensors", 1.0, 1.0)


def learned(shape: NodeShape, *measured: Measurement, cold: bool = False) -> NodeDurations:
    durations = NodeDurations()
    for one in measured:
        durations.learn({ShapeKey(shape, cold): one})
    return durations


def estimate(durations: NodeDurations, shape: NodeShape, *, cold: bool = False) -> Measurement:
    measured = durations.estimate(shape, cold=cold)
    assert measured is not None
    return measured


def key_of(number: int) -> ShapeKey:
    return ShapeKey(NodeShape("A", str(number), 0.0, 1.0), cold=False)


def test_estimate_unknown_class_is_none() -> None:
    assert learned(DECODER, Measurement(1.0)).estimate(SAMPLER, cold=False) is None


def test_estimate_is_the_median_of_the_newest_measurements() -> None:
    measured = [Measurement(seconds) for seconds in (900.0, 1.0, 2.0, 3.0, 4.0, 90.0)]
    durations = learned(DECODER, *measured)
    assert estimate(durations, DECODER) == Measurement(3.0)
    kept = durations.measurements(ShapeKey(DECODER, cold=False))
    assert kept == tuple(measured[-KEPT_MEASUREMENTS:])


def test_estimate_other_steps_and_size_are_scaled() -> None:
    durations = learned(SAMPLER, Measurement(2.0, 0.5))
    assert estimate(durations, SAMPLER._replace(steps=40.0)).total_s(40.0) == 22.0
    assert estimate(durations, SAMPLER._replace(megapixels=2.0)) == Measurement(2.0, 1.0)
    decoders = learned(DECODER, Measurement(3.0))
    assert estimate(decoders, DECODER._replace(megapixels=0.5)) == Measurement(1.5)
    assert estimate(decoders, DECODER._replace(megapixels=0.0)) == Measurement(3.0)


def test_estimate_prefers_the_same_model_to_the_same_size() -> None:
    durations = learned(SAMPLER, Measurement(0.0, 1.0))
    other = SAMPLER._replace(models="b.safetensors", megapixels=2.0)
    durations.learn({ShapeKey(other, cold=False): Measurement(0.0, 9.0)})
    assert estimate(durations, SAMPLER._replace(megapixels=2.0)).step_s == 2.0


def test_estimate_warm_run_after_a_cold_one_does_not_load_again() -> None:
    durations = learned(SAMPLER, Measurement(8.0, 0.5), cold=True)
    assert estimate(durations, SAMPLER).start_s < 1.0
    assert estimate(durations, SAMPLER, cold=True).start_s == 8.0


def test_learn_forgets_the_least_recently_used_shapes() -> None:
    durations = NodeDurations()
    for number in range(MAX_SHAPES + 10):
        durations.learn(
            {ShapeKey(NodeShape("A", str(number), 0.0, 1.0), cold=False): Measurement(1.0)}
        )
        durations.learn({ShapeKey(NodeShape("A", "0", 0.0, 1.0), cold=False): Measurement(1.0)})
    assert len(durations) == MAX_SHAPES
    assert durations.measurements(ShapeKey(NodeShape("A", "0", 0.0, 1.0), cold=False))
    assert not durations.measurements(ShapeKey(NodeShape("A", "1", 0.0, 1.0), cold=False))


@pytest.mark.parametrize("seconds", [-1.0, math.inf, math.nan])
def test_learn_ignores_impossible_durations(seconds: float) -> None:
    assert len(learned(DECODER, Measurement(seconds))) == 0


# ---- whole runs -------------------------------------------------------------------------------

SECONDS = {"4": 5.0, "5": 0.0, "6": 0.6, "7": 0.2, "8": 2.0, "9": 0.2}


def graph_of(steps: int) -> dict[str, Any]:
    sampler = support.GRAPH["3"]
    return {
        **support.GRAPH,
        "3": {**sampler, "inputs": {**sampler["inputs"], "steps": steps}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 1024, "height": 1024}},
    }


def run(
    durations: NodeDurations,
    *,
    step_s: float = 0.5,
    start_s: float = 1.0,
    steps: int = 4,
    cached: tuple[str, ...] = (),
) -> tuple[float, float, float]:
    """Simulate a run.

    Returns the mean of |progress - time|, the relative error of the remaining time after two
    steps, and the duration.
    """
    events = [
        (0.0, message_of("execution_start")),
        (0.0, message_of("execution_cached", nodes=list(cached))),
    ]
    now, touched = 0.0, {}
    for id_ in support.ORDER:
        if id_ in cached:
            continue
        touched[id_] = ("running", 0.0, 1.0)
        events.append((now, parse_text(snapshot(touched))))
        if id_ == "3":
            now += start_s
            for step in range(1, steps + 1):
                now += step_s
                touched[id_] = ("running", float(step), float(steps))
                events.append((now, parse_text(snapshot(touched))))
        else:
            now += SECONDS[id_]
        touched[id_] = ("finished", 1.0, 1.0)
        events.append((now, parse_text(snapshot(touched))))
    tracker = Tracker(plan=GraphCost(graph_of(steps)), durations=durations)
    errors, eta_error, waiting = [], math.inf, [*events]
    for sample in range(200):
        at = now * sample / 200
        while waiting and waiting[0][0] <= at:
            heard_at, message = waiting.pop(0)
            tracker = tracker.hear(message, heard_at)
            if tracker.steps_heard == 2 and eta_error == math.inf:
                eta = tracker.eta_s(heard_at)
                eta_error = abs((eta or 0.0) - (now - heard_at)) / (now - heard_at)
        errors.append(abs(tracker.value_at(at) - sample / 200))
    for heard_at, message in waiting:
        tracker = tracker.hear(message, heard_at)
    durations.learn(tracker.end(now, success=True).measurements())
    return sum(errors) / len(errors), eta_error, now


@pytest.mark.parametrize(("step_s", "steps"), [(0.2, 20), (0.5, 4), (0.5, 20), (2.0, 30)])
def test_progress_is_time_within_12_percent_at_first_and_5_percent_then(
    step_s: float, steps: int
) -> None:
    durations = NodeDurations()
    first, _, _ = run(durations, step_s=step_s, steps=steps)
    assert first <= 0.12
    second, eta_error, _ = run(durations, step_s=step_s, steps=steps)
    assert second <= 0.02
    assert eta_error <= 0.05
    cached, eta_error, _ = run(
        durations, step_s=step_s, steps=steps, start_s=0.0, cached=("4", "5", "6", "7")
    )
    assert cached <= 0.05
    assert eta_error <= 0.2


def test_seconds_of_a_known_graph_are_those_of_its_run() -> None:
    durations, plan = NodeDurations(), GraphCost(graph_of(4))
    assert durations.seconds(plan) is None
    _, _, took_s = run(durations)
    assert durations.seconds(plan) == pytest.approx(took_s, rel=0.02)
    warm = durations.seconds(plan, loaded=True)
    assert warm is not None
    assert warm < took_s - 5.0


def test_learn_later_measures_when_something_is_asked() -> None:
    durations, key = NodeDurations(), ShapeKey(DECODER, cold=False)
    measured = []

    def measure() -> dict[ShapeKey, Measurement]:
        measured.append(key)
        return {key: Measurement(2.0)}

    durations.learn_later(measure)
    assert measured == []
    assert durations.estimate(DECODER, cold=False) == Measurement(2.0)
    durations.learn_later(measure)
    assert durations.take_unsaved() == {key: (Measurement(2.0), Measurement(2.0))}
    for _ in range(1000):  # nobody asks
        durations.learn_later(measure)
    assert len(durations) == 1
    assert len(measured) < 100


def test_take_unsaved_returns_what_was_learned_since() -> None:
    durations = learned(DECODER, Measurement(1.0), Measurement(2.0))
    key = ShapeKey(DECODER, cold=False)
    assert durations.take_unsaved() == {key: (Measurement(1.0), Measurement(2.0))}
    assert durations.take_unsaved() == {}
    durations.restore(key, [Measurement(9.0)])
    assert durations.take_unsaved() == {}, "it comes from the store"
