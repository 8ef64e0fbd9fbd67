"""comfy_ui/workflow/graph.py"""

from __future__ import annotations

import pytest

from comfy_ui.workflow import graph as g
from comfy_ui.workflow.graph import Graph, NodeLink


@pytest.fixture
def chain() -> Graph:
    return {
        "1": {"class_type": "Load", "inputs": {"name": "a"}, "_meta": {"title": "The loader"}},
        "2": {"class_type": "Encode", "inputs": {"text": "x", "clip": ["1", 1]}},
        "3": {"class_type": "Sample", "inputs": {"model": ["1", 0], "positive": ["2", 0]}},
        "4": {"class_type": "Save", "inputs": {"images": ["3", 0]}},
        "9": {"class_type": "Save", "inputs": {"images": ["1", 2]}},
    }


@pytest.mark.parametrize(
    ("value", "link"),
    [
        (["1", 0], NodeLink("1", 0)),
        (["75:3", 2], NodeLink("75:3", 2)),
        (["1", 0.0], None),
        (["1", True], None),
        (["1", "0"], None),
        ([1, 0], None),
        (["1"], None),
        (["1", 0, 0], None),
        ("1", None),
        ({"__value__": ["1", 0]}, None),
    ],
)
def test_as_link_accepts_only_string_and_integer(value: object, link: NodeLink | None) -> None:
    assert g.as_link(value) == link


def test_literal_list_is_wrapped_and_unwrap_restores_it() -> None:
    assert g.literal(["a", 1]) == {"__value__": ["a", 1]}
    assert g.unwrap(g.literal(["a", 1])) == ["a", 1]
    assert g.literal(5) == g.unwrap(5) == 5


def test_ancestors_returns_all_nodes_needed(chain: Graph) -> None:
    assert g.ancestors(chain, ["4"]) == {"1", "2", "3", "4"}
    assert g.ancestors(chain, ["9", "gone"]) == {"1", "9"}


def test_ancestors_with_cycle_and_dangling_link_terminates() -> None:
    graph = {
        "1": {"class_type": "A", "inputs": {"x": ["2", 0]}},
        "2": {"class_type": "A", "inputs": {"x": ["1", 0], "y": ["gone", 0]}},
    }
    assert g.ancestors(graph, ["1"]) == {"1", "2"}


def test_find_cycle_returns_nodes_of_cycle() -> None:
    graph = {
        "out": {"class_type": "S", "inputs": {"x": ["1", 0]}},
        "1": {"class_type": "A", "inputs": {"x": ["2", 0]}},
        "2": {"class_type": "A", "inputs": {"x": ["3", 0]}},
        "3": {"class_type": "A", "inputs": {"x": ["1", 0]}},
    }
    assert g.find_cycle(graph) == ["1", "2", "3"]


def test_find_cycle_diamond_returns_nothing(chain: Graph) -> None:
    assert g.find_cycle(chain) == []


def test_find_cycle_and_ancestors_handle_20000_nodes() -> None:
    graph = {
        str(i): {"class_type": "A", "inputs": {"x": [str(i + 1), 0]} if i < 20_000 else {}}
        for i in range(20_001)
    }
    assert g.find_cycle(graph) == []
    assert len(g.ancestors(graph, ["0"])) == 20_001


def test_title_falls_back_to_class_and_id(chain: Graph) -> None:
    assert g.title(chain, "1") == "The loader"
    assert g.title(chain, "3") == "Sample"
    assert g.title(chain, "gone") == "gone"


def test_drop_node_removes_links_to_it(chain: Graph) -> None:
    g.drop_node(chain, "2")
    assert "2" not in chain
    assert chain["3"]["inputs"] == {"model": ["1", 0]}


def test_splice_redirects_consumers_to_new_node(chain: Graph) -> None:
    outputs = g.splice(
        chain,
        {"model": NodeLink("1", 0), "clip": NodeLink("1", 1)},
        {"class_type": "Lora", "inputs": {"strength": 1}},
    )
    assert outputs == [NodeLink("10", 0), NodeLink("10", 1)]
    assert chain["10"]["inputs"] == {"strength": 1, "model": ["1", 0], "clip": ["1", 1]}
    assert chain["3"]["inputs"]["model"] == ["10", 0]
    assert chain["2"]["inputs"]["clip"] == ["10", 1]
    assert chain["9"]["inputs"]["images"] == ["1", 2]


def test_content_hash_depends_on_inputs_not_titles(chain: Graph) -> None:
    before = g.content_hash(chain)
    chain["1"]["_meta"] = {"title": "Another"}
    assert g.content_hash(dict(reversed(chain.items()))) == before
    chain["1"]["inputs"]["name"] = "b"
    assert g.content_hash(chain) != before


def test_content_hash_accepts_lone_surrogate() -> None:
    assert len(g.content_hash({"1": {"class_type": "A", "inputs": {"text": "\ud800"}}})) == 64


def test_copied_graph_does_not_share_inputs(chain: Graph) -> None:
    copy = g.copied(chain)
    copy["3"]["inputs"]["model"][0] = "x"
    assert chain["3"]["inputs"]["model"] == ["1", 0]


@pytest.mark.parametrize(
    ("data", "api", "editor"),
    [
        ({"1": {"class_type": "A", "inputs": {}}}, True, False),
        ({"1": {"class_type": "A"}}, True, False),
        ({"nodes": [{"id": 1, "type": "A"}], "links": []}, False, True),
        ({"nodes": [{"id": 1}], "links": []}, False, False),
        ({"1": {"class_type": "A", "inputs": []}}, False, False),
        ({"1": {"inputs": {}}}, False, False),
        ({}, False, False),
        ([], False, False),
        (None, False, False),
    ],
)
def test_is_api_graph_and_is_editor_workflow_distinguish_formats(
    data: object, api: bool, editor: bool
) -> None:
    assert g.is_api_graph(data) is api
    assert g.is_editor_workflow(data) is editor
