"""The import name used in the published documentation: the same objects as :mod:`comfy_ui`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import comfy_ui
from comfy_ui import __all__, __version__  # noqa: F401

if TYPE_CHECKING:
    from comfy_ui import *  # noqa: F403


def __getattr__(name: str) -> Any:
    return getattr(comfy_ui, name)


def __dir__() -> list[str]:
    return dir(comfy_ui)
