"""The nodes that ControlNets and references add to a graph, for the allow list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from ..graph import as_link
from .control_types import CONTROL_TYPES
from .reference_nodes import EDIT_ENCODER, EDIT_INPUTS, IP_PRESETS

__all__ = ["INSERTED_NODES", "Allowed", "InsertedNode", "Range", "is_free_slot"]


class Range(NamedTuple):
    """A range of numbers."""

    low: float
    high: float


Allowed: TypeAlias = Literal["upload", "file"] | Range | frozenset[Any]
"""What a literal may be: an upload, the name of a model file, a number, one of some constants."""


@dataclass(frozen=True, slots=True)
class InsertedNode:
    """What may be set in a node of one class.

    ``links`` are the inputs that are links. ``passes`` are those that the outputs stand for, by
    slot, where these feed the preset's own nodes.
    """

    links: frozenset[str] = frozenset()
    values: Mapping[str, Allowed] = field(default_factory=dict)
    passes: tuple[str, ...] = ()


_STRENGTH: Final = Range(0, 10)
_PART: Final = Range(0, 1)
_APPLY: Final = {"strength": _STRENGTH, "start_percent": _PART, "end_percent": _PART}
_GUIDED: Final = ("positive", "negative")


def _node(links: str, passes: tuple[str, ...] = (), **values: Allowed) -> InsertedNode:
    return InsertedNode(frozenset(links.split()), values, passes)


def _preprocessors() -> Iterator[tuple[str, InsertedNode]]:
    for control_type in CONTROL_TYPES.values():
        for preprocessor in control_type.preprocessors:
            for key, entry in preprocessor.nodes.items():
                links = {name for name, value in entry["inputs"].items() if as_link(value)}
                values: dict[str, Allowed] = {
                    name: "file" if f"{key}.{name}" in preprocessor.files else frozenset({value})
                    for name, value in entry["inputs"].items()
                    if name not in links
                }
                yield entry["class_type"], InsertedNode(frozenset(links), values)


INSERTED_NODES: Final[Mapping[str, InsertedNode]] = {
    **dict(_preprocessors()),
    "LoadImage": _node("", image="upload"),
    "ControlNetLoader": _node("", control_net_name="file"),
    "SetUnionControlNetType": _node(
        "control_net", type=frozenset({"auto", *(one.union for one in CONTROL_TYPES.values())})
    ),
    "ControlNetApplyAdvanced": _node("positive negative control_net image vae", _GUIDED, **_APPLY),
    "ControlNetInpaintingAliMamaApply": _node(
        "positive negative control_net image mask vae", _GUIDED, **_APPLY
    ),
    "ModelPatchLoader": _node("", name="file"),
    "QwenImageDiffsynthControlnet": _node(
        "model model_patch vae image mask", ("model",), strength=_STRENGTH
    ),
    "ImageScaleToTotalPixels": _node(
        "image",
        upscale_method=frozenset({"lanczos"}),
        megapixels=frozenset({1.0}),
        resolution_steps=frozenset({1}),
    ),
    "FluxKontextImageScale": _node("image"),
    "VAEEncode": _node("pixels vae"),
    "ReferenceLatent": _node("conditioning latent", ("conditioning",)),
    "StyleModelLoader": _node("", style_model_name="file"),
    "CLIPVisionLoader": _node("", clip_name="file"),
    "CLIPVisionEncode": _node("clip_vision image", crop=frozenset({"center"})),
    "StyleModelApply": _node(
        "conditioning style_model clip_vision_output",
        ("conditioning",),
        strength=_STRENGTH,
        strength_type=frozenset({"multiply"}),
    ),
    "unCLIPConditioning": _node(
        "conditioning clip_vision_output",
        ("conditioning",),
        strength=_STRENGTH,
        noise_augmentation=frozenset({0.0}),
    ),
    "IPAdapterUnifiedLoader": _node(
        "model", ("model",), preset=frozenset(preset for preset, _ in IP_PRESETS.values())
    ),
    "IPAdapter": _node(
        "model ipadapter image",
        ("model",),
        weight=_STRENGTH,
        start_at=_PART,
        end_at=_PART,
        weight_type=frozenset(kind for _, kind in IP_PRESETS.values()),
    ),
}
"""The nodes by class."""


def is_free_slot(class_type: str, name: str) -> bool:
    """Whether an input of the preset's own node may be fed by a loaded reference image."""
    return class_type == EDIT_ENCODER and name in EDIT_INPUTS
