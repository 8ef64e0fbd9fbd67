"""Find the nodes of a graph that produce results, and their media types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...protocol.object_info import NodeSpec
from ..graph import AnyGraph
from ..presets.graph_builder import ObjectInfo, as_library
from ..presets.schema import Kind
from .author_hints import app_mode_list
from .control import GraphOutput
from .literal_inputs import GraphView

_KIND_OF_TYPE: Mapping[str, Kind] = {
    "VIDEO": "video",
    "AUDIO": "audio",
    "MESH": "3d",
    "SPLAT": "3d",
    "VOXEL": "3d",
    "SVG": "image",
    "IMAGE": "image",
    "MASK": "image",
}
_VIDEO_WRITERS = ("SaveWEBM", "VHS_VideoCombine")  # take images, write a video


def find_outputs(
    graph: AnyGraph, object_info: ObjectInfo, editor: Mapping[str, Any] | None = None
) -> list[GraphOutput]:
    """Return the nodes that save or show a result: files before previews, in graph order.

    Those that App mode shows come first, in the author's order, if the graph was converted from
    the editor-format file ``editor``.
    """
    view = GraphView(graph, as_library(object_info))
    outputs = []
    for node in view.outputs:
        spec = view.spec(node)
        kind = _kind(spec) if spec else None
        if spec is not None and kind is not None:
            preview = spec.class_type.startswith("Preview")
            outputs.append(GraphOutput(node, kind, view.title(node), temporary=preview))
    listed = app_mode_list(editor, "outputs") if editor is not None else []
    chosen = {str(node): rank for rank, node in enumerate(listed)}
    return sorted(
        outputs,
        key=lambda output: (output.temporary, chosen.get(output.node, len(chosen))),
    )


def _kind(spec: NodeSpec) -> Kind | None:
    if spec.class_type in _VIDEO_WRITERS:
        return "video"
    for declared in spec.inputs.values():
        for kind in declared.type.split(","):
            if kind in _KIND_OF_TYPE:
                return _KIND_OF_TYPE[kind]
            if kind.startswith("FILE_3D"):
                return "3d"
    return "text" if any(d.type in ("STRING", "*") for d in spec.inputs.values()) else None
