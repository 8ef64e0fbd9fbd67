"""The import name used in the published documentation: the same objects as :mod:`comfy_ui`."""

from __future__ import annotations

from typing import Any

import comfy_ui
from comfy_ui import *  # noqa: F403 -- this module is the other one under a second name
from comfy_ui import __all__  # noqa: F401


def __getattr__(name: str) -> Any:
    return getattr(comfy_ui, name)
