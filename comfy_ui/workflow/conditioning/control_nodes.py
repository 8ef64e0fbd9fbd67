"""Insert ControlNets into a graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ...errors import ValidationError
from ...protocol.object_info import NodeRegistry
from ..graph import AnyGraph, Graph, NodeLink
from ..model_files import family_of
from .control_types import CONTROL_FAMILIES, CONTROL_TYPES, add_preprocessor, load_picture
from .control_values import is_model_patch, is_union
from .picture_values import active
from .sampling_inputs import add_node, insert_before, sampling_inputs, vae_of

__all__ = ["insert_controlnets", "takes_controlnets"]

_UNION_NODE: Final = "SetUnionControlNetType"


def takes_controlnets(graph: AnyGraph, family: str) -> bool:
    """Whether ControlNets can be inserted: there are some for the family, and a sampler."""
    return family in CONTROL_FAMILIES and bool(sampling_inputs(graph))


def insert_controlnets(
    graph: Graph,
    controlnets: Iterable[Mapping[str, Any]],
    registry: NodeRegistry | None,
    family: str,
) -> None:
    """Add the nodes of a job's ControlNets, in place, in their order.

    ``controlnets`` are resolved, see :mod:`.control_values`. Each sampler of the graph gets them.

    Raises:
        ValidationError: the server cannot prepare a picture, or the graph does not sample.
    """
    for controlnet in active(controlnets):
        if not sampling_inputs(graph):
            raise ValidationError("This workflow takes no ControlNets, as it does not sample.")
        chosen = CONTROL_TYPES[controlnet["type"]]
        picture = prepared = load_picture(graph, controlnet["image"])
        if not controlnet.get("preprocessed"):
            prepared = add_preprocessor(graph, chosen.preprocessor(registry), picture, registry)
        vae = vae_of(graph)
        inputs = {
            "image": prepared,
            "strength": controlnet["strength"],
            **({"vae": vae} if vae else {}),
            **({"mask": NodeLink(picture.node, 1)} if chosen.masked else {}),
        }
        if is_model_patch(controlnet["model"], registry, family):
            _patch_model(graph, controlnet, inputs)
        else:
            union = _union_type(controlnet, registry, family or family_of(controlnet["model"]))
            _apply(graph, controlnet, inputs, union)


def _apply(
    graph: Graph, controlnet: Mapping[str, Any], inputs: Mapping[str, Any], union: str
) -> None:
    loader = add_node(graph, "ControlNetLoader", control_net_name=controlnet["model"])
    if union:
        loader = add_node(graph, _UNION_NODE, control_net=NodeLink(loader, 0), type=union)

    def insert(sources: tuple[NodeLink, ...]) -> tuple[NodeLink, ...]:
        node = add_node(
            graph,
            "ControlNetInpaintingAliMamaApply" if "mask" in inputs else "ControlNetApplyAdvanced",
            _title(controlnet),
            positive=sources[0],
            # A guider without CFG has no negative conditioning; the second output is then unused.
            negative=sources[-1],
            control_net=NodeLink(loader, 0),
            **inputs,
            start_percent=controlnet.get("start", 0.0),
            end_percent=controlnet.get("end", 1.0),
        )
        return NodeLink(node, 0), NodeLink(node, 1)

    insert_before(graph, lambda one: (one.positive, *filter(None, [one.negative])), insert)


def _patch_model(graph: Graph, controlnet: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
    patch = NodeLink(add_node(graph, "ModelPatchLoader", name=controlnet["model"]), 0)

    def insert(sources: tuple[NodeLink, ...]) -> tuple[NodeLink, ...]:
        node = add_node(
            graph,
            "QwenImageDiffsynthControlnet",
            _title(controlnet),
            model=sources[0],
            model_patch=patch,
            **inputs,
        )
        return (NodeLink(node, 0),)

    insert_before(graph, lambda _: ("model",), insert)


def _title(controlnet: Mapping[str, Any]) -> str:
    return f"ControlNet {CONTROL_TYPES[controlnet['type']].title}"


def _union_type(controlnet: Mapping[str, Any], registry: NodeRegistry | None, family: str) -> str:
    """Return the type for ``SetUnionControlNetType``; "" if the node is not needed."""
    if family not in CONTROL_FAMILIES or not CONTROL_FAMILIES[family].union:
        return ""
    if not is_union(controlnet["model"]):
        return ""
    wanted = CONTROL_TYPES[controlnet["type"]].union
    spec = registry.get(_UNION_NODE) if registry is not None else None
    choices = spec.inputs["type"].choices if spec is not None and "type" in spec.inputs else None
    return wanted if choices is None or wanted in choices else "auto"
