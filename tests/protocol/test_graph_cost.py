from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from comfy_ui.protocol.graph_cost import GraphCost, ancestors
from comfy_ui.workflow import get_preset, list_presets
from tests.protocol import support


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def weight_of(class_type: str, *, others: dict[str, Any] | None = None, **inputs: Any) -> float:
    return GraphCost({"1": node(class_type, **inputs), **(others or {})}).weights["1"]


def test_graph_cost_outputs_are_sinks_and_save_nodes() -> None:
    assert GraphCost(support.GRAPH).outputs == {"9"}
    graph = {**support.GRAPH, "10": node("Ending", images=["9", 0])}
    plan = GraphCost(graph)
    assert plan.outputs == {"9", "10"}
    assert not plan.outputs_reported


def test_graph_cost_reported_output_nodes_take_precedence() -> None:
    plan = GraphCost(support.GRAPH, output_nodes=["8", "unknown"])
    assert plan.outputs == {"8"}
    assert plan.outputs_reported


def test_graph_cost_titles_default_to_class() -> None:
    titles = GraphCost(support.GRAPH).titles
    assert (titles["3"], titles["8"]) == ("Paint it", "VAEDecode")


@pytest.mark.parametrize(
    ("class_type", "inputs", "expected"),
    [
        ("KSampler", {"latent_image": ["5", 0], "steps": 20}, 40),
        (
            "KSamplerAdvanced",
            {"latent_image": ["5", 0], "steps": 20, "start_at_step": 5, "end_at_step": 10_000},
            30,
        ),
        (
            "KSamplerAdvanced",
            {"latent_image": ["5", 0], "steps": 20, "start_at_step": 0, "end_at_step": 8},
            16,
        ),
        ("KSampler", {"latent_image": ["5", 0], "steps": ["77", 0]}, 40),
        ("KSampler", {"latent_image": ["5", 0], "steps": "many"}, 40),
        ("KSamplerSelect", {"sampler_name": "euler"}, 0.2),
        ("CheckpointLoaderSimple", {}, 9),
        ("UpscaleModelLoader", {}, 1.5),
        ("VAELoader", {}, 1.5),
        ("UNETLoader", {}, 9),
        ("LoadDA3Model", {}, 9),
        ("LoadImage", {}, 0.2),
        ("CLIPTextEncodeFlux", {}, 3),
        ("VAEDecodeTiled", {}, 3),
        ("VAEEncode", {}, 3),
        ("ImageUpscaleWithModel", {}, 10),
        ("FrameInterpolate", {}, 10),
        ("SaveVideo", {}, 1),
        ("EmptyLatentImage", {}, 0.2),
    ],
)
def test_graph_cost_weight_follows_class_and_steps(
    class_type: str, inputs: dict[str, Any], expected: float
) -> None:
    assert weight_of(class_type, **inputs) == expected


def test_graph_cost_steps_resolve_through_primitive_and_sigmas() -> None:
    others = {"2": node("PrimitiveInt", value=7)}
    assert weight_of("KSampler", others=others, latent_image=["5", 0], steps=["2", 0]) == 14
    others = {
        "2": node("SplitSigmas", sigmas=["3", 0], step=2),
        "3": node("BasicScheduler", steps=12),
    }
    assert weight_of("SamplerCustomAdvanced", others=others, sigmas=["2", 0]) == 24


def test_graph_cost_cyclic_sigmas_use_default_steps() -> None:
    others = {"2": node("A", sigmas=["3", 0]), "3": node("B", sigmas=["2", 0])}
    assert weight_of("SamplerCustomAdvanced", others=others, sigmas=["2", 0]) == 40


@pytest.mark.parametrize(("switch", "taken"), [(True, {"2", "1"}), (False, {"2", "0"})])
def test_ancestors_constant_switch_includes_selected_branch_only(
    switch: bool, taken: set[str]
) -> None:
    graph = {
        "0": node("A"),
        "1": node("B"),
        "2": node("ComfySwitchNode", on_false=["0", 0], on_true=["1", 0]),
    }
    graph["2"]["inputs"]["switch"] = switch
    plan = GraphCost(graph, output_nodes=["2"])
    assert ancestors(plan.outputs, plan.sources) == taken
    graph["2"]["inputs"]["switch"] = ["5", 0]
    graph["5"] = node("PrimitiveBoolean", value=switch)
    plan = GraphCost(graph, output_nodes=["2"])
    assert ancestors(plan.outputs, plan.sources) == {*taken, "5"}


def test_ancestors_computed_switch_includes_both_branches() -> None:
    graph = {
        "0": node("A"),
        "1": node("B"),
        "2": node("ComfySwitchNode", on_false=["0", 0], on_true=["1", 0], switch=["0", 1]),
    }
    plan = GraphCost(graph, output_nodes=["2"])
    assert ancestors(plan.outputs, plan.sources) == {"0", "1", "2"}


def test_ancestors_stop_at_done_nodes() -> None:
    plan = GraphCost(support.GRAPH)
    assert ancestors(plan.outputs, plan.sources) == set(support.ORDER)
    assert ancestors(plan.outputs, plan.sources, done={"3"}) == {"9", "8", "4"}
    assert ancestors(plan.outputs, plan.sources, done={"9"}) == set()


def test_ancestors_cycle_terminates() -> None:
    plan = GraphCost({"1": node("A", x=["2", 0]), "2": node("B", x=["1", 0])}, output_nodes=["1"])
    assert ancestors(plan.outputs, plan.sources) == {"1", "2"}


def test_graph_cost_accepts_every_shipped_preset() -> None:
    for preset in list_presets():
        plan = GraphCost(get_preset(preset.id).graph)
        assert plan.outputs
        heaviest = max(plan.weights, key=lambda id_: plan.weights[id_])
        assert plan.weights[heaviest] >= 5, plan.classes


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["1", "2", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["class_type", "inputs", "_meta", "title", "sigmas", "steps", "switch"]
            ),
            inner,
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["1", "2", "3"]), anything))
def test_graph_cost_any_json_returns_finite_weights(graph: dict[str, Any]) -> None:
    plan = GraphCost(graph)
    assert all(0 < w <= 20_000 for w in plan.weights.values())
    assert plan.outputs <= plan.classes.keys() == plan.weights.keys() == plan.titles.keys()
    assert all(source in plan.classes for ids in plan.sources.values() for source in ids)
