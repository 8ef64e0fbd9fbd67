"""Broken and hostile editor files cause a typed error or a graph in bounded time."""

from __future__ import annotations

import random
from collections.abc import Callable
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from comfy_ui.errors import InvalidWorkflowError
from comfy_ui.protocol.object_info import NodeRegistry
from comfy_ui.workflow.editor import convert, convert_workflow
from tests.workflow import official_templates
from tests.workflow.editor.editor_files import SERVER, File, border, text_to_image
from tests.workflow.editor.fuzzing import JSON, mutate


def deep(levels: int) -> Any:
    value: Any = "bottom"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "editor",
    [
        None,
        [],
        "nodes",
        {},
        {"nodes": None, "links": 5},
        {"nodes": "abc"},
        {"nodes": [None]},
        {"nodes": [[]]},
        {"nodes": [{}]},
        {"nodes": [{"id": True, "type": "KSampler"}]},
        {"nodes": [{"id": 1, "type": 5}]},
        {"nodes": [{"id": 10**400, "type": "KSampler"}]},
        {"nodes": [{"id": 1, "type": "KSampler", "inputs": 7}]},
        {"nodes": [], "links": [[1]]},
        {"nodes": [], "links": [{"id": 1}]},
        {"nodes": [], "links": [[None, 1, 0, 2, 0, "X"]]},
        {"nodes": [], "definitions": []},
        {"nodes": [], "definitions": {"subgraphs": [7]}},
    ],
)
def test_convert_workflow_invalid_file_raises(editor):
    with pytest.raises(InvalidWorkflowError):
        convert_workflow(editor, SERVER)


def test_convert_workflow_recursive_subgraph_raises():
    inside, file = File(), File()
    inside.add("sub")
    file.define(inside, [], [])
    file.add("sub")
    with pytest.raises(InvalidWorkflowError, match="contain themselves"):
        convert_workflow(file.json, SERVER)


def test_convert_workflow_exponential_subgraphs_raise_quickly():
    file = File()
    for level in range(20):
        inside = File()
        for _ in range(10):
            inside.add(f"level{level - 1}" if level else "LoadImage", "cat.png")
        file.define(inside, [], [], key=f"level{level}")
    file.add("level19")
    start = perf_counter()
    with pytest.raises(InvalidWorkflowError, match="nodes"):
        convert_workflow(file.json, SERVER)
    assert perf_counter() - start < 10


def test_convert_workflow_cyclic_reroutes_raise():
    file = File()
    one, two, save = file.add("Reroute"), file.add("Reroute"), file.add("SaveImage")
    file.link(one, 0, two, "", "*")
    file.link(two, 0, one, "", "*")
    file.link(two, 0, save, "images", "IMAGE")
    with pytest.raises(InvalidWorkflowError, match="cycle"):
        convert_workflow(file.json, SERVER)


def test_convert_workflow_cyclic_subgraph_links_raise():
    inside = File()
    inside.link(border(-10), 0, border(-20), "IMAGE", "IMAGE")
    file = File()
    port = {"name": "IMAGE", "type": "IMAGE"}
    file.define(inside, [port], [port])
    one, two, save = file.add("sub"), file.add("sub"), file.add("SaveImage")
    file.link(one, 0, two, "IMAGE", "IMAGE")
    file.link(two, 0, one, "IMAGE", "IMAGE")
    file.link(two, 0, save, "images", "IMAGE")
    with pytest.raises(InvalidWorkflowError, match="cycle"):
        convert_workflow(file.json, SERVER)


@pytest.mark.parametrize("value", [deep(50_000), "x" * 5_000_000, float("nan"), 10**400, b"\xff"])
@pytest.mark.parametrize("place", ["widget", "promoted", "combo", "title", "property"])
def test_convert_extreme_value_does_not_raise(value, place):
    file = text_to_image()
    if place == "widget":
        file.nodes[4]["widgets_values"] = [value] * 8
    elif place == "promoted":
        file.define(File(), [{"name": "a", "type": "INT"}], [])
        properties = {"proxyWidgets": [["1", "a"], value]}
        file.add("sub", value, properties=properties, widgets_values_named={"a": value})
    elif place == "combo":
        file.add("CustomCombo", value, value, value)
    else:
        file.nodes[0]["title" if place == "title" else "properties"] = value
    assert len(convert(file.json, SERVER).graph) >= 7


def test_convert_workflow_ten_thousand_nodes_take_seconds():
    file = File()
    last = file.add("LoadImage", "cat.png")
    for _ in range(10_000):
        scale = file.add("ImageScale", "area", 64, "x")
        file.link(last, 0, scale, "image", "IMAGE")
        last = scale
    start = perf_counter()
    assert len(convert_workflow(file.json, SERVER)) == 10_001
    assert perf_counter() - start < 10


def assert_raises_or_converts(editor: Any, server: Any) -> None:
    try:
        graph = convert_workflow(editor, server)
    except InvalidWorkflowError as error:
        assert error.message  # noqa: PT017 -- both ends are good; any other error fails the test
    else:
        assert all(isinstance(key, str) and "class_type" in node for key, node in graph.items())


def nested_file() -> dict[str, Any]:
    inside = File()
    scale = inside.add("ImageScale", "area", 64, "x")
    inside.link(border(-10), 0, scale, "image", "IMAGE")
    inside.link(border(-10), 1, scale, "width", "INT", widget={"name": "width"})
    inside.link(scale, 0, border(-20), "IMAGE", "IMAGE")
    file = text_to_image()
    ports = [{"name": "image", "type": "IMAGE"}, {"name": "width", "type": "INT"}]
    file.define(inside, ports, [{"name": "IMAGE", "type": "IMAGE"}])
    host = file.add("sub", 5, properties={"proxyWidgets": [["1", "width"]]})
    file.link(file.nodes[5], 0, host, "image", "IMAGE")
    file.extra["groupNodes"] = {"G": {"nodes": [file.nodes[3]], "links": [], "external": []}}
    file.add("workflow>G", 1, 2, 3)
    file.add("Save", "png", "16", 9, "x")
    file.add("LoraStack", "a", 2, "B", 0.5, "A", 0.25, "b")
    return file.json


@pytest.mark.slow
@settings(max_examples=400)
@given(value=JSON, seed=st.integers(0, 2**32))
def test_convert_workflow_any_mutation_raises_or_converts(value, seed):
    assert_raises_or_converts(mutate(nested_file(), value, random.Random(seed)), SERVER)


@pytest.mark.slow
@settings(max_examples=200)
@given(editor=JSON | st.fixed_dictionaries({"nodes": JSON, "links": JSON, "definitions": JSON}))
def test_convert_workflow_any_json_raises_or_converts(editor):
    assert_raises_or_converts(editor, SERVER)


@settings(max_examples=100)
@given(value=JSON, seed=st.integers(0, 2**32))
def test_convert_workflow_broken_object_info_raises_or_converts(value, seed):
    server = mutate(SERVER, value, random.Random(seed))
    assert_raises_or_converts(nested_file(), server)


def _fuzz_official(object_info: Any, rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    registry = NodeRegistry(object_info)
    files = [file for _, file in official_templates.templates()]
    strange: list[Callable[[], Any]] = [
        lambda: None, lambda: -1, lambda: "", list, dict, lambda: [[None]], lambda: 10**30,
        lambda: chance.choice(chance.choice(files)["nodes"]), lambda: float("nan"), lambda: True,
    ]  # fmt: skip
    for _ in range(rounds):
        editor = chance.choice(files)
        for _ in range(chance.choice([1, 1, 3])):
            editor = mutate(editor, chance.choice(strange)(), chance)
        assert_raises_or_converts(editor, registry)


@pytest.mark.slow
def test_convert_workflow_mutated_official_files_raise_or_convert(object_info):
    _fuzz_official(object_info, rounds=150, seed=1)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_convert_workflow_10000_mutated_official_files_raise_or_convert(object_info):
    _fuzz_official(object_info, rounds=10_000, seed=2)
