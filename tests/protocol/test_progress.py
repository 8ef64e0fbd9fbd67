from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st

from comfy_ui.protocol.durations import NodeDurations
from comfy_ui.protocol.frames import parse_text
from comfy_ui.protocol.graph_cost import GraphCost
from comfy_ui.protocol.progress import Phase, Tracker
from tests.protocol import support
from tests.protocol.support import message_of, snapshot


def track(
    *frames: Any,
    graph: Any = support.GRAPH,
    pause: float = 1.0,
    durations: NodeDurations | None = None,
) -> list[Tracker]:
    """Return the tracker after each frame, the first at time 0."""
    tracker = Tracker(plan=None if graph is None else GraphCost(graph), durations=durations)
    states = []
    for i, frame in enumerate(frames):
        message = parse_text(frame) if isinstance(frame, str) else frame
        tracker = tracker.hear(message, i * pause)
        states.append(tracker)
    return states


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def test_phase_is_final_matches_four_end_phases() -> None:
    final = {phase for phase in Phase if phase.is_final}
    assert final == {Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED, Phase.LOST}


def test_tracker_value_rises_to_99_percent_and_to_1_after_success() -> None:
    states = track(*support.run_frames())
    values = [tracker.value for tracker in states]
    assert values[0] == 0
    assert values == sorted(values)
    assert values[-1] == 0.99
    assert states[-1].end(99.0, success=True).value == 1
    assert states[5].end(6.0, success=False).value < 0.99


def test_tracker_without_durations_counts_weights_of_later_nodes() -> None:
    """4 steps weigh 8 of 27.2: the model 9, two texts 3 each, decode 3, save 1, latent 0.2."""
    start, sampling = track(
        message_of("execution_start"),
        snapshot(
            {
                **dict.fromkeys(("4", "5", "6", "7"), ("finished", 1.0, 1.0)),
                "3": ("running", 2, 4),
            }
        ),
    )
    assert start.outlook.units == pytest.approx(27.2)
    assert sampling.outlook.units == pytest.approx(3 + 1)


def test_tracker_cached_nodes_are_not_ahead() -> None:
    states = track(*support.run_frames(cached=("4", "5", "6", "7")))
    assert states[0].value == 0
    assert states[1].outlook.units == pytest.approx(8 + 3 + 1)


def test_tracker_ancestors_of_cached_nodes_only_are_not_ahead() -> None:
    states = track(
        message_of("execution_start"), message_of("execution_cached", nodes=["3", "unneeded"])
    )
    assert states[-1].outlook.units == pytest.approx(9 + 3 + 1), "the loader feeds the decoder"


def test_tracker_value_is_time_while_steps_are_even() -> None:
    """40 steps of one second each, in two samplers, and nothing else."""
    graph = {
        "1": node("KSampler", latent_image=["0", 0], steps=10),
        "2": node("KSampler", latent_image=["1", 0], steps=30),
        "3": node("SaveImage", images=["2", 0]),
    }
    frames = [snapshot({"1": ("running", step, 10)}) for step in range(1, 11)]
    frames += [
        snapshot({"1": ("finished", 10, 10), "2": ("running", step, 30)}) for step in range(1, 31)
    ]
    states = track(message_of("execution_start"), *frames, graph=graph)
    assert states[5].value == pytest.approx(5 / 40, abs=0.02)
    assert states[25].value == pytest.approx(25 / 40, abs=0.02)
    assert states[25].value_at(25.5) == pytest.approx(25.5 / 40, abs=0.02)


def test_tracker_slow_server_is_not_overtaken_by_its_guessed_sampler() -> None:
    """The nodes before the sampler take longer than all that is guessed of a 256² image."""
    sampler = {**support.GRAPH["3"]["inputs"], "steps": 12}
    latent = {"width": 256, "height": 256}
    graph = {
        **support.GRAPH,
        "3": {"class_type": "KSampler", "inputs": sampler},
        "5": {"class_type": "EmptyLatentImage", "inputs": latent},
    }
    frames = [snapshot({"4": ("running", 0, 1)})]
    before = {"4": ("finished", 1, 1), "6": ("finished", 1, 1), "7": ("finished", 1, 1)}
    frames += [snapshot({**before, "3": ("running", step, 12)}) for step in range(2)]
    *_, sampling, first_step = track(message_of("execution_start"), *frames, graph=graph, pause=8.0)
    assert sampling.value_at(20.0) < 0.45, "15 of 43 units, and a step"
    assert first_step.value <= sampling.value_at(31.9)
    assert first_step.value_at(32.0) == pytest.approx(0.38, abs=0.08)


def test_tracker_on_a_cpu_expects_more_of_the_sampler_than_of_loading() -> None:
    """A model from the page cache is there within a second, and each of 4 steps takes long."""
    before = dict.fromkeys(("4", "6", "7"), ("finished", 1, 1))
    frames = [message_of("execution_start"), snapshot({**before, "3": ("running", 0, 4)})]
    values = {}
    for device in ("cuda", "cpu"):
        durations = NodeDurations()
        durations.device = device
        values[device] = track(*frames, durations=durations)[-1].value
    assert values["cpu"] < 0.1
    assert values["cuda"] > 2 * values["cpu"]


def test_tracker_keeps_what_it_assumed_when_its_run_began() -> None:
    durations = NodeDurations()
    frames = [message_of("execution_start"), snapshot({"4": ("running", 0, 1)})]
    tracker = track(*frames, durations=durations)[-1]
    before = tracker.value_at(3.0)
    durations.device = "cpu"
    assert tracker.value_at(3.0) == before


def test_tracker_value_moves_during_a_node_without_steps() -> None:
    tracker = track(message_of("execution_start"), snapshot({"4": ("running", 0, 1)}))[-1]
    values = [tracker.value_at(1.0 + second) for second in range(5)]
    assert all(a < b for a, b in pairwise(values))


def test_tracker_unselected_branch_of_lazy_switch_is_excluded() -> None:
    graph = {
        "1": node("KSampler", latent_image=["0", 0], steps=10),
        "2": node("KSampler", latent_image=["0", 0], steps=10),
        "5": node("Decide"),
        "3": node("ComfySwitchNode", switch=["5", 0], on_true=["1", 0], on_false=["2", 0]),
        "4": node("SaveImage", images=["3", 0]),
    }
    states = track(
        message_of("execution_start"),
        snapshot({"5": ("finished", 1, 1), "1": ("finished", 10, 10)}),
        snapshot({"5": ("finished", 1, 1), "1": ("finished", 10, 10), "3": ("finished", 1, 1)}),
        graph=graph,
    )
    assert states[0].outlook.units == pytest.approx(20 + 20 + 0.2 + 0.2 + 1)
    assert states[2].outlook.units == pytest.approx(1)


def test_tracker_switch_waiting_for_lazy_input_is_not_done() -> None:
    graph = {
        "1": node("KSampler", latent_image=["0", 0], steps=10),
        "3": node("ComfySwitchNode", switch=["5", 0], on_true=["1", 0]),
        "4": node("SaveImage", images=["3", 0]),
    }
    states = track(
        message_of("execution_start"),
        snapshot({"3": ("running", 0, 1)}),
        message_of("executing", node="3"),
        snapshot({"3": ("running", 0, 1), "1": ("running", 0, 1)}),
        message_of("executing", node="1"),
        graph=graph,
    )
    assert states[-1].outlook.units == pytest.approx(0.2 + 1)


def test_tracker_value_does_not_fall_when_sampler_restarts() -> None:
    frames = [snapshot({"3": ("running", value, 4)}) for value in (1, 2, 3, 4, 1, 2, 3, 4)]
    values = [tracker.value for tracker in track(message_of("execution_start"), *frames)]
    assert all(a <= b for a, b in pairwise(values))


def test_tracker_inner_nodes_count_for_parent_node() -> None:
    graph = {"2": node("Expand"), "3": node("SaveImage", images=["2", 0])}
    states = track(
        message_of("execution_start"),
        snapshot({"2": ("running", 0, 1)}),
        snapshot({"2": ("running", 0, 1), "2.0.0.1": ("finished", 1, 1)}),
        snapshot(
            {"2": ("running", 0, 1), "2.0.0.1": ("finished", 1, 1), "2.0.0.2": ("running", 5, 10)}
        ),
        snapshot({"2": ("finished", 1, 1), "2.0.0.1": ("finished", 1, 1)}),
        graph=graph,
    )
    assert [tracker.fractions.get("2", 0) for tracker in states] == [0, 0, 0.5, 0.5, 1]
    assert (states[3].node, states[3].step, states[3].steps) == ("2", 5, 10)
    assert states[3].title("2.0.0.2") == "Expand"


def test_tracker_without_progress_state_uses_executing_and_progress() -> None:
    frames = [frame for frame in support.run_frames() if "progress_state" not in frame]
    states = track(*frames)
    values = [tracker.value for tracker in states]
    assert values == sorted(values)
    assert values[-1] > 0.95
    assert len(set(values)) > 8


def test_tracker_without_graph_has_node_and_step_but_no_value() -> None:
    tracker = track(message_of("execution_start"), snapshot({"3": ("running", 2, 4)}), graph=None)[
        -1
    ]
    assert (tracker.node, tracker.step, tracker.steps, tracker.value) == ("3", 2, 4, 0)
    assert tracker.title("3") is None


def test_tracker_inner_node_is_shown_as_parent_node() -> None:
    tracker = track(message_of("executing", node="3.0.0.1", display_node="3"))[-1]
    assert tracker.node == "3"


def test_tracker_cached_nodes_accumulate() -> None:
    states = track(
        message_of("execution_start"),
        message_of("execution_cached", nodes=["4", "5", "6", "7"]),
        message_of("execution_cached", nodes=["3"]),
        support.executed(node="4"),
    )
    assert states[-1].cached == {"3", "4", "5", "6", "7"}


def test_tracker_step_0_is_not_counted() -> None:
    states = track(*[snapshot({"3": ("running", step, 4)}) for step in (0, 1)], pause=10.0)
    assert states[-1].steps_heard == 1


def test_tracker_with_plan_counts_nodes_that_ended_before() -> None:
    tracker = track(message_of("execution_start"), snapshot({"4": ("finished", 1, 1)}), graph=None)[
        -1
    ]
    tracker = tracker.with_plan(GraphCost(support.GRAPH))
    assert tracker.outlook.units == pytest.approx(27.2 - 9)


def test_tracker_steps_are_those_of_current_node() -> None:
    states = track(
        message_of("execution_start"),
        snapshot({"3": ("running", 4, 4)}),
        snapshot({"3": ("finished", 4, 4), "8": ("running", 0, 1)}),
    )
    assert (states[1].step, states[1].steps) == (4, 4)
    assert (states[2].node, states[2].step, states[2].steps) == ("8", None, None)


def test_tracker_phase_follows_class_or_reported_activity() -> None:
    loading, running, busy, saving = track(
        snapshot({"4": ("running", 0, 1)}),
        snapshot({"8": ("running", 0, 1)}),
        snapshot({"3": ("running", 0, 1)}, activity="loading"),
        snapshot({"9": ("running", 0, 1)}),
    )
    assert [t.phase for t in (loading, running, busy, saving)] == [
        Phase.LOADING,
        Phase.RUNNING,
        Phase.LOADING,
        Phase.SAVING,
    ]
    assert busy.hear(parse_text(snapshot({"3": ("running", 1, 4)})), 9.0).phase is Phase.RUNNING


# ---- estimated time ---------------------------------------------------------------------------


def test_eta_before_two_steps_is_none() -> None:
    one, two = track(
        snapshot({"3": ("running", 1, 4)}), snapshot({"3": ("running", 2, 4)}), pause=10.0
    )
    assert one.eta_s(10.0) is None
    assert two.eta_s(10.0) is not None


def test_eta_is_the_time_of_the_remaining_steps_and_nodes() -> None:
    start = message_of("execution_start")
    cached = message_of("execution_cached", nodes=["4", "5", "6", "7"])
    steps = [snapshot({"3": ("running", step, 4)}) for step in (1, 2)]
    tracker = track(start, cached, *steps, pause=5.0)[-1]
    decoding_s = 4 * 2.5  # decode and save weigh 4; a step of 5 s weighs 2
    assert tracker.eta_s(15.0) == pytest.approx(10 + decoding_s, rel=0.2)
    assert tracker.eta_s(15.0) - tracker.eta_s(18.0) == pytest.approx(3), "it runs down"
    assert tracker.end(16.0, success=True).eta_s(16.0) is None


def test_eta_of_unknown_nodes_with_little_progress_is_none() -> None:
    graph = {
        "3": node("KSampler", latent_image=["0", 0], steps=20),
        "4": node("KSampler", latent_image=["3", 0], steps=1000),
        "9": node("SaveImage", x=["4", 0]),
    }
    frames = [snapshot({"3": ("running", step, 20)}) for step in (1, 2, 3)]
    assert track(*frames, graph=graph)[-1].eta_s(3.0) is None


# ---- invariants ------------------------------------------------------------------------------

ids = st.sampled_from([*support.ORDER, "3.0.1", "77"])
states_of_nodes = st.dictionaries(
    ids,
    st.tuples(
        st.sampled_from(["running", "finished", "error"]),
        st.floats(-1, 50),
        st.floats(-1, 50),
    ),
    max_size=7,
)
messages = (
    st.builds(snapshot, states_of_nodes).map(parse_text)
    | st.builds(lambda node: message_of("executing", node=node), ids)
    | st.builds(lambda nodes: message_of("execution_cached", nodes=nodes), st.lists(ids))
    | st.builds(lambda node: parse_text(support.executed(node=node)), ids)
    | st.builds(
        lambda node, value: message_of("progress", node=node, value=value, max=20),
        ids,
        st.floats(0, 40),
    )
    | st.just(message_of("execution_start"))
)


@given(st.lists(messages, max_size=25), st.booleans())
def test_tracker_any_messages_value_never_falls_or_reaches_1(
    received: list[Any], late: bool
) -> None:
    tracker = Tracker(plan=None if late else GraphCost(support.GRAPH))
    value = 0.0
    for i, message in enumerate(received):
        tracker = tracker.hear(message, float(i))
        if late and i == 5:
            tracker = tracker.with_plan(GraphCost(support.GRAPH))
        assert value <= tracker.value <= 0.99
        value = tracker.value
        eta = tracker.eta_s(float(i))
        assert eta is None or eta >= 0


def test_tracker_500_nodes_cost_less_than_5_ms_per_message() -> None:
    graph = {str(i): node("Filter", x=[str(i - 1), 0]) for i in range(500)}
    plan = GraphCost(graph)
    touched: dict[str, tuple[str, float, float]] = {}
    frames = []
    for i in range(500):
        touched[str(i)] = ("finished", 1, 1)
        frames.append(parse_text(snapshot(touched)))
    tracker = Tracker(plan=plan)
    started = time.process_time()
    for i, frame in enumerate(frames):
        tracker = tracker.hear(frame, float(i))
    per_message_ms = (time.process_time() - started) / 500 * 1000
    assert tracker.value == 0.99
    assert per_message_ms < 5, "a sampler sends about ten a second"
