"""What we ask a server to do: graphs, presets, conversion, controls, checks, metadata. Pure rules.

Names are loaded on first use: none of them needs Pillow or PyAV before it is called.
"""

# ruff: noqa: F401 -- the names are for type checkers; they are loaded on first use, see _WHERE

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# Public name -> module that has it. Type checkers read the imports below instead.
_WHERE = {
    "Control": "controls",
    "Metadata": "metadata",
    "Preset": "presets",
    "VIDEO_PRESETS": "presets",
    "Workflow": "load",
    "check_workflow": "check",
    "compile_workflow": "presets",
    "convert_workflow": "editor",
    "find_controls": "controls",
    "get_preset": "presets",
    "get_recommended_preset": "presets",
    "list_presets": "presets",
    "list_video_presets": "presets",
    "load_workflow": "load",
    "read_metadata": "metadata",
}

if TYPE_CHECKING:
    from .check import check_workflow
    from .controls import Control, find_controls
    from .editor import convert_workflow
    from .load import Workflow, load_workflow
    from .metadata import Metadata, read_metadata
    from .presets import (
        VIDEO_PRESETS,
        Preset,
        compile_workflow,
        get_preset,
        get_recommended_preset,
        list_presets,
        list_video_presets,
    )


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_WHERE[name]}", __name__), name)
    globals()[name] = value  # the next use does not come here again
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})


__all__ = [*_WHERE]  # noqa: PLE0604 -- the keys are strings
