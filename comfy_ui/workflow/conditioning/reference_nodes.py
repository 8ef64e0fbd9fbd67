"""Insert reference images into a graph, by the method that its model has."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from ...errors import UnknownModelError, ValidationError
from ...protocol.object_info import NodeRegistry
from ..checks.node_packs import find_pack
from ..graph import AnyGraph, Graph, NodeLink, as_link, inputs_of
from ..model_files import basename, model_folder
from .control_types import load_picture
from .picture_values import active
from .sampling_inputs import SamplingInputs, add_node, insert_before, sampling_inputs, vae_of

__all__ = [
    "EDIT_ENCODER",
    "EDIT_INPUTS",
    "IP_PRESETS",
    "ReferenceMethod",
    "insert_references",
    "reference_method",
]

_TITLE: Final = "Reference"
EDIT_ENCODER: Final = "TextEncodeQwenImageEditPlus"
EDIT_INPUTS: Final = ("image1", "image2", "image3")


@dataclass(frozen=True, slots=True)
class ReferenceMethod:
    """How a model takes reference images.

    ``weighted``: each has a strength. ``kinds``: style and character differ. ``insert`` adds the
    nodes of all references.
    """

    name: str
    title: str
    insert: Callable[[Graph, Sequence[Mapping[str, Any]], NodeRegistry | None], None]
    weighted: bool = False
    kinds: bool = False
    most: int = 8


def reference_method(
    graph: AnyGraph,
    family: str,
    registry: NodeRegistry | None = None,
    dropped: Collection[str] = (),
) -> ReferenceMethod | None:
    """Return how a graph takes references; None if it does not.

    ``registry`` decides between methods of one family: by node packs and models of the server.
    ``dropped`` are nodes that are removed afterwards, as their value is empty.
    """
    if slots := _free_slots(graph, dropped):
        fill = partial(_fill_slots, slots=slots)
        return ReferenceMethod(
            "edit", "Edit model", fill, most=min(len(names) for _, names in slots)
        )
    if not sampling_inputs(graph):
        return None
    class_types = {str(entry["class_type"]) for entry in graph.values()}
    if family == "Flux.2" or (family == "Flux.1" and "ReferenceLatent" in class_types):
        return _FLUX_2 if family == "Flux.2" else _KONTEXT
    if family == "Flux.1":
        return _REDUX
    if family in ("SDXL", "SD1.5"):
        has_pack = registry is None or "IPAdapterUnifiedLoader" in registry
        if family == "SDXL" and not has_pack and _file(registry, *_CLIP_VISION_G):
            return _UNCLIP
        return _IP_ADAPTER
    return None


def insert_references(
    graph: Graph,
    references: Iterable[Mapping[str, Any]],
    registry: NodeRegistry | None,
    family: str,
    dropped: Collection[str] = (),
) -> None:
    """Add the nodes of a job's references, in place, in their order.

    ``references`` are parsed, see :mod:`.reference_values`. ``family`` is the preset's, and
    ``dropped`` are as in :func:`reference_method`.

    Raises:
        ValidationError: the graph takes none or not so many, or the server lacks nodes.
        UnknownModelError: the server lacks a model file.
    """
    present = active(references)
    if not present:
        return
    method = reference_method(graph, family, registry, dropped)
    if method is None:
        raise ValidationError("This model takes no reference images.")
    if len(present) > method.most:
        raise ValidationError(
            f"This model takes {method.most} more reference images, not {len(present)}."
        )
    method.insert(graph, present, registry)


def _positive(sampling: SamplingInputs) -> tuple[str, ...]:
    return (sampling.positive,)


def _both(sampling: SamplingInputs) -> tuple[str, ...]:
    return (sampling.positive, *filter(None, [sampling.negative]))


# Edit models with inputs for several images.


def _free_slots(graph: AnyGraph, dropped: Collection[str]) -> list[tuple[str, list[str]]]:
    """Return the encoders of an edit model, each with the inputs that have no image.

    Empty if one of them has none.
    """

    def is_free(node: str, name: str) -> bool:
        link = as_link(inputs_of(graph, node).get(name))
        return link is None or link.node in dropped

    slots = [
        (node, [name for name in EDIT_INPUTS if is_free(node, name)])
        for node, entry in graph.items()
        if entry["class_type"] == EDIT_ENCODER
    ]
    return slots if all(names for _, names in slots) else []


def _fill_slots(
    graph: Graph,
    references: Sequence[Mapping[str, Any]],
    _: NodeRegistry | None,
    *,
    slots: Iterable[tuple[str, Sequence[str]]],
) -> None:
    for node, names in slots:
        for name, reference in zip(names, references, strict=False):
            graph[node]["inputs"][name] = [*load_picture(graph, reference["image"])]


# FLUX.1 Kontext and FLUX.2: the encoded image joins the conditioning.


def _chain_latents(
    graph: Graph,
    references: Sequence[Mapping[str, Any]],
    _: NodeRegistry | None,
    *,
    scale: Mapping[str, Any],
    names: Callable[[SamplingInputs], tuple[str, ...]],
) -> None:
    vae = vae_of(graph)
    for reference in references:
        picture = load_picture(graph, reference["image"])
        scaled = NodeLink(add_node(graph, **scale, image=picture), 0)
        latent = NodeLink(add_node(graph, "VAEEncode", pixels=scaled, vae=vae), 0)
        _condition(graph, names, "ReferenceLatent", latent=latent)


# FLUX.1 Redux: an image encoder and a style model.

_REDUX_FILE: Final = ("StyleModelLoader", "style_model_name", "*redux*")
_SIGLIP: Final = ("CLIPVisionLoader", "clip_name", "*sig*lip*")
_CLIP_VISION_G: Final = ("CLIPVisionLoader", "clip_name", "*clip_vision_g*")


def _redux(
    graph: Graph, references: Sequence[Mapping[str, Any]], registry: NodeRegistry | None
) -> None:
    redux = _required_file(registry, _REDUX_FILE, "flux1-redux-dev.safetensors")
    siglip = _required_file(registry, _SIGLIP, "sigclip_vision_patch14_384.safetensors")
    style = NodeLink(add_node(graph, "StyleModelLoader", style_model_name=redux), 0)
    encoder = NodeLink(add_node(graph, "CLIPVisionLoader", clip_name=siglip), 0)
    for reference in references:
        _condition(
            graph,
            _positive,
            "StyleModelApply",
            style_model=style,
            clip_vision_output=_encoded(graph, encoder, reference["image"]),
            strength=reference["strength"],
            strength_type="multiply",
        )


# SDXL: the image encoder's vector replaces the prompt's pooled one.


def _unclip(
    graph: Graph, references: Sequence[Mapping[str, Any]], registry: NodeRegistry | None
) -> None:
    name = _required_file(registry, _CLIP_VISION_G, "clip_vision_g.safetensors")
    encoder = NodeLink(add_node(graph, "CLIPVisionLoader", clip_name=name), 0)
    for reference in references:
        _condition(
            graph,
            _positive,
            "unCLIPConditioning",
            clip_vision_output=_encoded(graph, encoder, reference["image"]),
            strength=reference["strength"],
            noise_augmentation=0.0,
        )


# IP-Adapter, of the node pack ComfyUI_IPAdapter_plus.

IP_PRESETS: Final[Mapping[str, tuple[str, str]]] = {
    "image": ("PLUS (high strength)", "standard"),
    "style": ("PLUS (high strength)", "style transfer"),
    "character": ("PLUS FACE (portraits)", "standard"),
}
"""The models of ``IPAdapterUnifiedLoader`` and the weight type of ``IPAdapter`` by kind."""


def _ip_adapter(
    graph: Graph, references: Sequence[Mapping[str, Any]], registry: NodeRegistry | None
) -> None:
    for class_type in ("IPAdapterUnifiedLoader", "IPAdapter"):
        if registry is not None and class_type not in registry:
            pack = find_pack(class_type)
            raise ValidationError(
                "The server has no nodes for reference images with this model.",
                hint=pack.install if pack else "",
            )
    for reference in references:
        _adapt(graph, reference)


def _adapt(graph: Graph, reference: Mapping[str, Any]) -> None:
    picture = load_picture(graph, reference["image"])
    preset, weight_type = IP_PRESETS[reference.get("kind", "image")]

    def insert(sources: tuple[NodeLink, ...]) -> tuple[NodeLink, ...]:
        loader = add_node(graph, "IPAdapterUnifiedLoader", model=sources[0], preset=preset)
        node = add_node(
            graph,
            "IPAdapter",
            _TITLE,
            model=NodeLink(loader, 0),
            ipadapter=NodeLink(loader, 1),
            image=picture,
            weight=reference["strength"],
            start_at=0.0,
            end_at=1.0,
            weight_type=weight_type,
        )
        return (NodeLink(node, 0),)

    insert_before(graph, lambda _: ("model",), insert)


def _condition(
    graph: Graph,
    names: Callable[[SamplingInputs], tuple[str, ...]],
    class_type: str,
    **inputs: Any,
) -> None:
    """Insert a node before these conditioning inputs of all samplers."""

    def insert(sources: tuple[NodeLink, ...]) -> tuple[NodeLink, ...]:
        nodes = [add_node(graph, class_type, _TITLE, conditioning=one, **inputs) for one in sources]
        return (*(NodeLink(node, 0) for node in nodes),)

    insert_before(graph, names, insert)


def _encoded(graph: Graph, encoder: NodeLink, image: str) -> NodeLink:
    """Add the nodes that load and encode a picture; return the output of the encoder."""
    picture = load_picture(graph, image)
    node = add_node(graph, "CLIPVisionEncode", clip_vision=encoder, image=picture, crop="center")
    return NodeLink(node, 0)


def _file(registry: NodeRegistry | None, class_type: str, name: str, pattern: str) -> str | None:
    """Return the server's first file that fits; None if it lists none."""
    spec = registry.get(class_type) if registry is not None else None
    declared = spec.inputs.get(name) if spec is not None else None
    files = [str(file) for file in (declared and declared.choices) or ()]
    return next((f for f in files if fnmatch.fnmatchcase(basename(f).lower(), pattern)), None)


def _required_file(registry: NodeRegistry | None, where: tuple[str, str, str], usual: str) -> str:
    name = usual if registry is None else _file(registry, *where)
    if name is None:
        raise UnknownModelError(
            "The server lacks a model file for reference images.",
            name=usual,
            hint=f"Put {usual} into the server's folder models/{model_folder(*where[:2])}.",
        )
    return name


_FLUX_2 = ReferenceMethod(
    "reference_latent",
    "FLUX.2",
    partial(
        _chain_latents,
        scale={
            "class_type": "ImageScaleToTotalPixels",
            "upscale_method": "lanczos",
            "megapixels": 1.0,
            "resolution_steps": 1,
        },
        names=_both,
    ),
)
_KONTEXT = ReferenceMethod(
    "reference_latent",
    "FLUX.1 Kontext",
    partial(_chain_latents, scale={"class_type": "FluxKontextImageScale"}, names=_positive),
)
_REDUX = ReferenceMethod("redux", "FLUX.1 Redux", _redux, weighted=True)
_UNCLIP = ReferenceMethod("unclip", "CLIP vision", _unclip, weighted=True)
_IP_ADAPTER = ReferenceMethod("ip_adapter", "IP-Adapter", _ip_adapter, weighted=True, kinds=True)
