"""The names that documentation and other programs rely on."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from importlib import import_module
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


def test_public_names_are_the_same_objects_under_both_imports() -> None:
    for name in comfy_ui.__all__:
        assert getattr(comfy_ui, name) is getattr(comfy_headless, name), name


@pytest.mark.parametrize("module", ["errors", "client", "client.transport.address"])
def test_submodules_are_the_same_modules_under_both_imports(module: str) -> None:
    code = (
        f"import comfy_headless.{module} as alias, comfy_ui.{module} as module; "
        f"print(alias is module, module.__spec__.name)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout.split() == ["True", f"comfy_ui.{module}"]


def test_submodule_unknown_raises_import_error_with_its_name() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"'comfy_headless\.client\.nothing'"):
        import_module("comfy_headless.client.nothing")


def test_stubs_of_comfy_headless_cover_the_modules_with_public_names() -> None:
    stubs = {path.stem for path in Path(comfy_headless.__file__).parent.glob("*.pyi")}
    assert stubs == {"__init__", *comfy_ui._WHERE.values()}


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
