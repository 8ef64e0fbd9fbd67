"""Converted graphs against what ComfyUI's own editor sent for the same files."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from comfy_ui.workflow.editor import convert_workflow


def _compare(shared: Path) -> ModuleType:
    """The comparison that comes with the recordings: equal up to the ids of nodes."""
    path = shared / "conformance" / "compare.py"
    spec = importlib.util.spec_from_file_location("compare", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("version", "cases"), [("0.33.0", 90), ("0.3.64", 30)])
def test_every_recorded_file_becomes_the_graph_that_the_editor_sent(shared, version, cases):
    compare = _compare(shared)
    object_info = compare.load_object_info(version)
    different = [
        name
        for name, editor, expected in compare.cases(version)
        if compare.signature(convert_workflow(editor, object_info), object_info)
        != compare.signature(expected, object_info)
    ]
    assert different == []
    assert len([*compare.cases(version)]) == cases
