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
def test_an_api_graph_is_known_in_every_wrapping(source: Any) -> None:
    workflow = load_workflow(source)
    assert workflow.format == "api"
    assert workflow.to_graph() == media.GRAPH
    assert load_workflow(workflow) is workflow


def test_a_path_may_be_json_or_a_picture(tmp_path: Path) -> None:
    for name, data in (("a.json", API.encode()), ("b.png", media.png())):
        path = tmp_path / name
        path.write_bytes(data)
        assert load_workflow(path).to_graph() == media.GRAPH
        assert load_workflow(str(path)).to_graph() == media.GRAPH


def test_a_picture_keeps_what_else_it_told() -> None:
    workflow = load_workflow(media.png())
    assert workflow.editor == media.WORKFLOW
    assert workflow.metadata.preset == "sdxl"


def test_the_graph_given_out_may_be_edited() -> None:
    workflow = load_workflow(media.GRAPH)
    workflow.to_graph()["1"]["inputs"]["width"] = 1
    assert workflow.to_graph() == media.GRAPH


def test_a_presets_name_is_a_workflow() -> None:
    for name in ("sdxl", "ltx_quick"):
        workflow = load_workflow(name)
        assert workflow.format == "preset"
        assert is_api_graph(workflow.to_graph())


def test_the_editors_format_is_converted_with_the_servers_list() -> None:
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
    ("source", "told"),
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
        (media.png({}), "The file carries no workflow"),
        (media.png({"parameters": media.A1111}), "settings of another program"),
        ("[" * 100_000, "not JSON"),
        (5, "A int is no workflow"),
    ],
)
def test_what_is_no_workflow_is_told_with_a_hint(source: Any, told: str) -> None:
    with pytest.raises(InvalidWorkflowError) as caught:
        load_workflow(source)
    assert told in caught.value.message
    assert caught.value.hint
    assert len(str(caught.value)) < 400


def test_a_word_that_is_almost_a_preset_gets_the_closest() -> None:
    with pytest.raises(UnknownPresetError) as caught:
        load_workflow("z_image_turb")
    assert "'z_image_turbo'" in caught.value.hint


def test_a_workflow_of_presets_that_needs_a_file_says_so() -> None:
    from comfy_ui.errors import ValidationError

    with pytest.raises(ValidationError, match="Choose a file"):
        load_workflow("sdxl_img2img").to_graph()
    assert isinstance(load_workflow("sdxl"), Workflow)
