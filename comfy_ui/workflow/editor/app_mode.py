"""Write a preset's form into the editor-format file that it was made from, as App-mode data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..presets.graph_builder import ObjectInfo, as_library
from ..presets.schema import Preset
from .convert import convert_only

__all__ = ["with_app_mode"]


def with_app_mode(
    editor: Mapping[str, Any], preset: Preset, object_info: ObjectInfo
) -> dict[str, Any]:
    """Return the file with the form's main fields and results in ``extra.linearData``.

    ComfyUI's App mode shows them in the same order; it has no labels, ranges and headings. A field
    that sets several inputs is listed with the first.

    Raises:
        MissingNodesError: the server does not have the file's nodes.
        InvalidWorkflowError: not a workflow.
    """
    origins = convert_only(editor, as_library(object_info)).origins
    inputs = []
    for param in sorted(preset.params, key=lambda param: param.order):
        if param.advanced or param.hidden or not param.targets:
            continue
        target = param.targets[0]
        origin = origins.get((target.node, target.input))
        node, name = (origin.node, origin.field) if origin else (target.node, target.input)
        inputs.append([_own_id(node), name])
    extra = editor.get("extra")
    data = {"inputs": inputs, "outputs": [_own_id(output.node) for output in preset.outputs]}
    return {
        **editor,
        "extra": {
            **(extra if isinstance(extra, Mapping) else {}),
            "linearMode": True,
            "linearData": data,
        },
    }


def _own_id(node: str) -> str | int:
    """Return a node's id as the editor has it: inside a subgraph, without the instances' ids."""
    own = node.rpartition(":")[2]
    return int(own) if own.isdecimal() else own
