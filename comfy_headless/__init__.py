"""The import name used in the published documentation: the same objects as :mod:`comfy_ui`."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import comfy_ui
from comfy_ui import __all__, __version__  # noqa: F401


def __getattr__(name: str) -> Any:
    return getattr(comfy_ui, name)


def __dir__() -> list[str]:
    return dir(comfy_ui)


class _SubmoduleAliases(MetaPathFinder, Loader):
    """Imports ``comfy_headless.x`` as the module ``comfy_ui.x``, so that its classes exist once."""

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        package, _, module = fullname.partition(".")
        if package != __name__ or module == "__main__" or find_spec(_original(fullname)) is None:
            return None
        return ModuleSpec(fullname, self)

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave the creation to the import system: it sets attributes of the new module."""

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = import_module(_original(module.__name__))


def _original(name: str) -> str:
    return f"{comfy_ui.__name__}{name.removeprefix(__name__)}"


# First: the path of an aliased package leads to its files, which must not be loaded twice.
sys.meta_path.insert(0, _SubmoduleAliases())
