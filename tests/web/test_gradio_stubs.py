"""Gradio's import writes no type stubs (comfy_ui/web/__init__.py)."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import gradio
import pytest

from comfy_ui.web import _GradioWithoutStubs

COMPONENT = """
class Dial(metaclass=ComponentMeta):
    EVENTS = ["change"]
"""


@pytest.mark.parametrize(("finder", "stubs"), [(PathFinder, 1), (_GradioWithoutStubs(), 0)])
def test_gradio_component_defined_writes_no_type_stub(
    finder: Any, stubs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = finder.find_spec("gradio.component_meta", gradio.__path__)
    component_meta = module_from_spec(spec)
    spec.loader.exec_module(component_meta)
    source = tmp_path / "dial.py"
    source.write_text(COMPONENT, encoding="utf-8")
    spec = spec_from_file_location("dial", source)
    dial: Any = module_from_spec(spec)
    dial.ComponentMeta = component_meta.ComponentMeta
    monkeypatch.setitem(sys.modules, "dial", dial)
    spec.loader.exec_module(dial)
    assert len(list(tmp_path.glob("*.pyi"))) == stubs
