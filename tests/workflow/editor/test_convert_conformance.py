"""Converted graphs compared with the graphs that ComfyUI's editor sent for the same files.

Those files are other people's work and therefore not part of the repository. Our own workflows in
test_convert.py cover every feature of the format without them.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from comfy_ui.workflow.editor import convert_workflow
from tests.conftest import ROOT

CONFORMANCE = ROOT.parent / "shared" / "conformance"
CASES = {"0.33.0": 90, "0.3.64": 30}


def _load(path: Path) -> ModuleType:
    """Load the comparison module of the files; it ignores node ids."""
    spec = importlib.util.spec_from_file_location("compare", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_convert_workflow_recorded_files_match_graphs_of_editor(record_property):
    if not CONFORMANCE.is_dir():
        record_property("note", "not run: ../shared/conformance is absent")
        return
    compare = _load(CONFORMANCE / "compare.py")
    for version, cases in CASES.items():
        object_info = compare.load_object_info(version)
        names = [name for name, _, _ in compare.cases(version)]
        assert len(names) == cases
        different = [
            name
            for name, editor, expected in compare.cases(version)
            if compare.signature(convert_workflow(editor, object_info), object_info)
            != compare.signature(expected, object_info)
        ]
        assert different == []
    record_property("note", f"compared {sum(CASES.values())} graphs with those of the editor")
