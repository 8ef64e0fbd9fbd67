"""Workflows: graphs, presets, conversion, controls, checks and metadata, without I/O to a server.

Names are loaded on first use: none of them needs Pillow or PyAV before it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy_names import lazy_names

# Public name -> the module that defines it. Type checkers read the imports below instead.
_WHERE = {
    "Control": "controls",
    "Metadata": "metadata",
    "Preset": "presets.preset_store",
    "VIDEO_PRESETS": "presets.preset_store",
    "Workflow": "load",
    "apply_values": "controls",
    "check_workflow": "checks.graph_checks",
    "compile_workflow": "presets.preset_store",
    "convert_workflow": "editor",
    "find_controls": "controls",
    "get_preset": "presets.preset_store",
    "get_recommended_preset": "presets.preset_store",
    "list_presets": "presets.preset_store",
    "list_video_presets": "presets.preset_store",
    "load_workflow": "load",
    "read_metadata": "metadata",
}

if TYPE_CHECKING:
    from .checks.graph_checks import check_workflow as check_workflow
    from .controls import (
        Control as Control,
        apply_values as apply_values,
        find_controls as find_controls,
    )
    from .editor import convert_workflow as convert_workflow
    from .load import Workflow as Workflow, load_workflow as load_workflow
    from .metadata import Metadata as Metadata, read_metadata as read_metadata
    from .presets.preset_store import (
        VIDEO_PRESETS as VIDEO_PRESETS,
        Preset as Preset,
        compile_workflow as compile_workflow,
        get_preset as get_preset,
        get_recommended_preset as get_recommended_preset,
        list_presets as list_presets,
        list_video_presets as list_video_presets,
    )
else:  # hidden from mypy, which takes a computed __all__ for an empty one
    __getattr__, __dir__ = lazy_names(__name__, _WHERE)
    __all__ = [*_WHERE]  # noqa: PLE0604 -- the keys are strings
