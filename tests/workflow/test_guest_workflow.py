"""Workflows of users: what is refused before any work is done for it."""

from __future__ import annotations

from typing import Any

import pytest

from comfy_ui.errors import ValidationError, WorkLimitError
from comfy_ui.workflow.guest_workflow import check_guest_workflow, most_nodes, read_guest_metadata
from comfy_ui.workflow.presets.preset_store import compile_workflow, list_presets
from tests.workflow import media

PRESETS = list_presets()


def nested_subgraphs(depth: int, width: int) -> dict[str, Any]:
    """An editor workflow of a few kilobytes that stands for ``width ** depth`` nodes."""
    definitions = [
        {
            "id": f"level{level}",
            "nodes": [
                {"id": n, "type": f"level{level + 1}" if level < depth else "KSampler"}
                for n in range(width)
            ],
        }
        for level in range(1, depth + 1)
    ]
    return {
        "nodes": [{"id": 1, "type": "level1"}],
        "links": [],
        "definitions": {"subgraphs": definitions},
    }


def test_check_guest_workflow_graph_of_each_preset_passes() -> None:
    for preset in PRESETS:
        names = {node["class_type"] for node in preset.graph.values()}
        assert check_guest_workflow(preset.graph, {}, PRESETS) == names, preset.id
        assert check_guest_workflow({"prompt": preset.graph}, {}, PRESETS) == names, preset.id


@pytest.mark.parametrize(
    "workflow",
    [
        {"1": {"class_type": "LoadImageOutput", "inputs": {}}},
        {str(n): {"class_type": "KSampler", "inputs": {}} for n in range(most_nodes(PRESETS) + 1)},
        nested_subgraphs(9, 200),
    ],
    ids=["class", "nodes", "editor"],
)
def test_check_guest_workflow_not_of_a_preset_is_refused(workflow: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="Only admins"):
        check_guest_workflow(workflow, {}, PRESETS)


@pytest.mark.parametrize(
    ("workflow", "values"),
    [({"x": [[]] * 60_000}, {}), ({"x": "x" * 1_000_001}, {}), ({}, {"x": ["x" * 1_000_001]})],
    ids=["items", "characters", "values"],
)
def test_check_guest_workflow_too_large_is_refused(
    workflow: dict[str, Any], values: dict[str, Any]
) -> None:
    with pytest.raises(WorkLimitError, match="too large"):
        check_guest_workflow(workflow, values, PRESETS)


def test_read_guest_metadata_limits_the_settings() -> None:
    assert read_guest_metadata(media.png()).preset == "sdxl"
    with pytest.raises(WorkLimitError, match="larger than 2 MB"):
        read_guest_metadata(media.png({"prompt": "[" + "1," * 1_100_000 + "1]"}))


def test_compile_workflow_has_no_more_than_most_nodes() -> None:
    loras = [{"name": f"{n}.safetensors"} for n in range(3)]
    graph = compile_workflow("sdxl", prompt="x", loras=loras)
    assert len(graph) <= most_nodes(PRESETS)
