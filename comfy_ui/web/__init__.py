"""The page: its tabs, its theme, its HTML components and its access rules."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from typing import TYPE_CHECKING, Any

from ..lazy_names import lazy_names

_WHERE = {"build": "page", "launch": "serve"}

if TYPE_CHECKING:
    from .page import build as build
    from .serve import launch as launch
else:  # hidden from mypy, which takes a computed __all__ for an empty one
    __getattr__, __dir__ = lazy_names(__name__, _WHERE, feature="ui")
    __all__ = [*_WHERE]  # noqa: PLE0604 -- the keys are strings


class _GradioWithoutStubs(MetaPathFinder):
    """Keep Gradio from writing type stubs for its components, 40 % of the time of its import.

    In each process it parses the source of each component and writes into site-packages.
    """

    def find_spec(self, fullname: str, path: Any, _target: Any = None) -> ModuleSpec | None:
        if fullname != "gradio.component_meta":
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                execute(module)
                module.create_or_modify_pyi = lambda *_args: None

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if "gradio.component_meta" not in sys.modules:
    sys.meta_path.insert(0, _GradioWithoutStubs())
