"""comfy_ui/workflow/load.py"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.errors import InvalidWorkflowError, UnknownPresetError
from comfy_ui.workflow import Workflow, load_workflow
from comfy_ui.workflow.graph import is_api_graph
from tests.conftest import recorded_object_info
from tests.workflow import media

API = json.dumps(media.GRAPH)


@pytest.mark.parametrize(
    "source",
    [
        media.GRAPH,
        API,
        API.encode(),
        b"\xef\xbb\xbf  " + API.encode(),
        "\ufeff\n" + API,
        {"prompt": media.GRAPH, "client_id": "x"},
        {"output": media.GRAPH, "workflow": media.WORKFLOW},
        media.png(),
    ],
)
def test_load_workflow_api_graph_in_any_wrapping_is_recognized(source: Any) -> None:
    workflow = load_workflow(source)
    assert workflow.format == "api"
    assert workflow.to_graph() == media.GRAPH
    assert load_workflow(workflow) is workflow


def test_load_workflow_path_to_json_or_image_is_read(tmp_path: Path) -> None:
    for name, data in (("a.json", API.encode()), ("b.png", media.png())):
        path = tmp_path / name
        path.write_bytes(data)
        assert load_workflow(path).to_graph() == media.GRAPH
        assert load_workflow(str(path)).to_graph() == media.GRAPH


def test_load_workflow_image_keeps_editor_file_and_metadata() -> None:
    workflow = load_workflow(media.png())
    assert workflow.editor == media.WORKFLOW
    assert workflow.metadata.preset == "sdxl"


def test_to_graph_returns_independent_copy() -> None:
    workflow = load_workflow(media.GRAPH)
    workflow.to_graph()["1"]["inputs"]["width"] = 1
    assert workflow.to_graph() == media.GRAPH


def test_load_workflow_preset_id_is_accepted() -> None:
    for name in ("sdxl", "ltx_quick"):
        workflow = load_workflow(name)
        assert workflow.format == "preset"
        assert is_api_graph(workflow.to_graph())


def test_to_graph_editor_format_needs_object_info() -> None:
    editor = {
        "version": 0.4,
        "nodes": [
            {
                "id": 1,
                "type": "EmptyImage",
                "mode": 0,
                "inputs": [],
                "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1]}],
                "widgets_values": [64, 32, 1, 0],
            },
            {
                "id": 2,
                "type": "SaveImage",
                "mode": 0,
                "inputs": [{"name": "images", "type": "IMAGE", "link": 1}],
                "outputs": [],
                "widgets_values": ["x"],
            },
        ],
        "links": [[1, 1, 0, 2, 0, "IMAGE"]],
    }
    workflow = load_workflow(json.dumps(editor))
    assert (workflow.format, workflow.graph) == ("editor", None)
    with pytest.raises(InvalidWorkflowError, match="node list") as caught:
        workflow.to_graph()
    assert "object_info" in caught.value.hint
    graph = workflow.to_graph(recorded_object_info("0.33.0"))
    assert graph["2"]["inputs"]["images"] == ["1", 0]
    assert graph["1"]["inputs"]["height"] == 32


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{not json", "not JSON"),
        (b"{", "not JSON"),
        ("[1, 2]", "not a ComfyUI workflow"),
        (b"", "not JSON"),
        ({}, "not a ComfyUI workflow"),
        ({"1": {"inputs": {}}}, "not a ComfyUI workflow"),
        ("some/where/gone.json", "neither JSON nor a file"),
        ("two words", "neither JSON nor a file"),
        ("x" * 10_000, "neither JSON nor a file"),
        ("a\0b.json", "neither JSON nor a file"),
        (Path("gone.json"), "cannot be read"),
        (b"%PDF-1.7", "This is not a workflow"),
        (media.png({}), "The file has no workflow"),
        (media.png({"parameters": media.A1111}), "settings of another program"),
        ("[" * 100_000, "not JSON"),
        (5, "A int is not a workflow"),
    ],
)
def test_load_workflow_invalid_source_raises_with_hint(source: Any, expected: str) -> None:
    with pytest.raises(InvalidWorkflowError) as caught:
        load_workflow(source)
    assert expected in caught.value.message
    assert caught.value.hint
    assert len(str(caught.value)) < 400


def test_load_workflow_misspelled_preset_suggests_closest() -> None:
    with pytest.raises(UnknownPresetError) as caught:
        load_workflow("z_image_turb")
    assert "'z_image_turbo'" in caught.value.hint


def test_to_graph_preset_with_required_file_raises() -> None:
    from comfy_ui.errors import ValidationError

    with pytest.raises(ValidationError, match="Choose a file"):
        load_workflow("sdxl_img2img").to_graph()
    assert isinstance(load_workflow("sdxl"), Workflow)
