"""The names that documentation and other programs rely on."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import comfy_headless
import comfy_ui

HEAVY = [
    "gradio",
    "openai",
    "opentelemetry",
    "PIL",
    "httpx",
    "numpy",
    "av",
    "websockets",
    "aiohttp",
    "pydantic",
]


@pytest.mark.parametrize("name", comfy_ui.__all__)
def test_public_names_are_the_same_objects_under_both_imports(name: str) -> None:
    assert getattr(comfy_ui, name) is getattr(comfy_headless, name)


def test_lazy_names_are_declared_for_type_checkers() -> None:
    tree = ast.parse(Path(comfy_ui.__file__).read_text(encoding="utf-8"))
    for_checkers = {
        (node.module, alias.name)
        for block in ast.walk(tree)
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert for_checkers == {(module, name) for name, module in comfy_ui._WHERE.items()}


def test_package_unknown_name_raises_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'ComfyCleint'"):
        comfy_ui.ComfyCleint  # noqa: B018


@pytest.mark.parametrize("module", ["comfy_ui", "comfy_headless"])
def test_package_import_loads_no_heavy_modules(module: str) -> None:
    code = (
        f"import sys, json, {module} as package; package.FEATURES['ai']; "
        f"print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert json.loads(process.stdout) == []
