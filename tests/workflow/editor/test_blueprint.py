from __future__ import annotations

from typing import Any

import pytest

from comfy_ui.errors import InvalidWorkflowError
from comfy_ui.workflow.editor import convert_workflow
from comfy_ui.workflow.editor.blueprint import blueprint_workflow
from tests.workflow.editor.editor_files import SERVER, File, border


def blueprint(kind: str = "IMAGE") -> dict[str, Any]:
    """Return a blueprint that scales an image, with one field."""
    inside, file = File(), File()
    scale = inside.add("ImageScale", "area", 64)
    inside.link(border(-10), 0, scale, "image", "IMAGE")
    inside.link(border(-10), 1, scale, "width", "INT", widget={"name": "width"})
    inside.link(scale, 0, border(-20), "IMAGE", kind)
    ports = [{"name": "image", "type": kind}, {"name": "width", "type": "INT"}]
    file.define(inside, ports, [{"name": "IMAGE", "type": kind}], key="Scale")
    file.definitions[0]["category"] = "Image Tools/Size"
    host = file.add("Scale", 32)
    host["inputs"] = [
        {"name": "image", "type": kind, "link": None},
        {"name": "width", "type": "INT", "widget": {"name": "width"}, "link": None},
    ]
    return file.json


def test_blueprint_workflow_loads_one_image_and_saves_the_result() -> None:
    file = blueprint()
    before = repr(file)
    workflow = blueprint_workflow(file)
    assert (workflow.takes, workflow.category) == ("image", "Image Tools/Size")
    graph = convert_workflow(workflow.editor, SERVER)
    by_class = {entry["class_type"]: (node, entry["inputs"]) for node, entry in graph.items()}
    loader, scale, saver = (by_class[name] for name in ("LoadImage", "ImageScale", "SaveImage"))
    assert scale[1]["image"] == [loader[0], 0]
    assert scale[1]["width"] == 32
    assert saver[1]["images"] == [scale[0], 0]
    assert repr(file) == before


@pytest.mark.parametrize(
    "file",
    [
        blueprint("AUDIO"),
        {"nodes": []},
        {"nodes": [{"id": 1, "type": "LoadImage"}]},
        {**blueprint(), "nodes": [*blueprint()["nodes"], {"id": 9, "type": "SaveImage"}]},
    ],
)
def test_blueprint_workflow_others_raise(file: dict[str, Any]) -> None:
    with pytest.raises(InvalidWorkflowError):
        blueprint_workflow(file)
