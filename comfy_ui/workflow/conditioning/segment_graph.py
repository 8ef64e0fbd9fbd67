"""A graph that selects a part of a picture, with SAM 3 of ComfyUI."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Sequence
from typing import Any, Final

from ...errors import ValidationError
from ...protocol.object_info import NodeRegistry
from ..graph import Graph, NodeLink
from ..model_files import basename
from .control_types import load_picture
from .sampling_inputs import add_node

__all__ = ["can_segment", "segment_graph"]

_NODE: Final = "SAM3_Detect"
_USUAL: Final = "sam3.1_multiplex_fp16.safetensors"


def can_segment(registry: NodeRegistry) -> bool:
    """Whether a server has the nodes and a model for it."""
    return _NODE in registry and _model(registry) is not None


def segment_graph(
    image: str, registry: NodeRegistry, *, text: str = "", points: Sequence[tuple[int, int]] = ()
) -> Graph:
    """Return a graph whose result is a mask, white where the picture shows what is selected.

    Args:
        image: the name of the picture on the server.
        registry: the server's nodes.
        text: what to select, in words.
        points: pixels of what to select instead, as ``(x, y)``.

    Raises:
        ValidationError: the server cannot do it, or nothing was chosen.
    """
    model = _model(registry)
    if _NODE not in registry:
        raise ValidationError("This ComfyUI cannot select parts of an image.", hint="Update it.")
    if model is None:
        raise ValidationError(
            "The server has no SAM 3 model.",
            hint=f"Put {_USUAL} into ComfyUI's folder models/checkpoints.",
        )
    if not (text.strip() or points):
        raise ValidationError("Say what to select, or click on it.")
    graph: Graph = {}
    picture = load_picture(graph, image)
    loader = add_node(graph, "CheckpointLoaderSimple", ckpt_name=model)
    chosen: dict[str, Any]
    if points:
        coordinates = [{"x": x, "y": y} for x, y in points]
        chosen = {"positive_coords": json.dumps(coordinates)}
    else:
        encoder = add_node(graph, "CLIPTextEncode", clip=NodeLink(loader, 1), text=text.strip())
        chosen = {"conditioning": NodeLink(encoder, 0)}
    mask = add_node(
        graph,
        _NODE,
        model=NodeLink(loader, 0),
        image=picture,
        threshold=0.5,
        refine_iterations=2,
        individual_masks=False,
        **chosen,
    )
    shown = add_node(graph, "MaskToImage", mask=NodeLink(mask, 0))
    add_node(graph, "PreviewImage", images=NodeLink(shown, 0))
    return graph


def _model(registry: NodeRegistry) -> str | None:
    spec = registry.get("CheckpointLoaderSimple")
    declared = spec.inputs.get("ckpt_name") if spec is not None else None
    files = [str(file) for file in (declared and declared.choices) or ()]
    return next((f for f in files if fnmatch.fnmatchcase(basename(f).lower(), "sam3*")), None)
