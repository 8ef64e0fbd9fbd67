"""Conditioning nodes: encode texts and images for a sampler."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..node_types import Conditioning, Latent, LoadedModel, Pictures
from .node_base import Context, node

_TEXTS = ("text", "prompt", "text_g", "text_l", "clip_l", "clip_g", "t5xxl", "tags")


@node(
    "CLIPTextEncode",
    "CLIPTextEncodeSDXL",
    "CLIPTextEncodeSDXLRefiner",
    "CLIPTextEncodeFlux",
    "CLIPTextEncodeSD3",
    "CLIPTextEncodeHunyuanDiT",
    "CLIPTextEncodeLumina2",
    "TextEncodeQwenImageEdit",
    "TextEncodeQwenImageEditPlus",
)
def encode_text(context: Context, **inputs: Any) -> tuple[Conditioning]:
    """Join all distinct texts in the order of the inputs; images become references."""
    context.pace(0.25)
    texts = dict.fromkeys(str(inputs[name]) for name in _TEXTS if inputs.get(name))
    pictures = [v for k, v in inputs.items() if k.startswith("image") and v is not None]
    return (
        Conditioning(" ".join(texts), guidance=inputs.get("guidance"), references=tuple(pictures)),
    )


@node("TextEncodeQwenImage21")
def encode_for_qwen(
    context: Context,
    *,
    prompt: str,
    negative_prompt: str,
    resolution: int,
    more: dict[str, Any] | None = None,
    **_: Any,
) -> tuple[Conditioning, Conditioning, Latent]:
    """Encode both texts, with a latent of the first image's size for edits."""
    context.pace(0.25)
    pictures = tuple((more or {}).values())
    latent = Latent.of(pictures[0]) if pictures else Latent(resolution, resolution)
    return Conditioning(prompt, references=pictures), Conditioning(negative_prompt), latent


@node("TextEncodeAceStepAudio", "TextEncodeAceStepAudio1.5")
def encode_music(
    context: Context, *, tags: str, lyrics: str = "", **inputs: Any
) -> tuple[Conditioning]:
    context.pace(0.25)
    voices = {k: v for k, v in inputs.items() if isinstance(v, int | float | str)}
    return (Conditioning(tags, voices=voices | {"lyrics": lyrics}),)


@node("ConditioningZeroOut")
def zero_out(_context: Context, *, conditioning: Conditioning) -> tuple[Conditioning]:
    return (replace(conditioning, text="", zeroed=True),)


@node("ConditioningCombine")
def combine(
    _context: Context, *, conditioning_1: Conditioning, conditioning_2: Conditioning
) -> tuple[Conditioning]:
    return (_joined(conditioning_1, conditioning_2),)


@node("ConditioningConcat")
def concat(
    _context: Context, *, conditioning_to: Conditioning, conditioning_from: Conditioning
) -> tuple[Conditioning]:
    return (_joined(conditioning_to, conditioning_from),)


@node("ConditioningAverage")
def average(
    _context: Context,
    *,
    conditioning_to: Conditioning,
    conditioning_from: Conditioning,
    conditioning_to_strength: float,
) -> tuple[Conditioning]:
    return (conditioning_to if conditioning_to_strength >= 0.5 else conditioning_from,)


def _joined(first: Conditioning, second: Conditioning) -> Conditioning:
    text = ", ".join(text for text in (first.text, second.text) if text)
    return replace(first, text=text, references=(*first.references, *second.references))


@node(
    "ConditioningSetArea",
    "ConditioningSetAreaPercentage",
    "ConditioningSetAreaStrength",
    "ConditioningSetMask",
    "ConditioningSetTimestepRange",
    "ConditioningMultiply",
    "FluxKontextMultiReferenceLatentMethod",
    "FluxDisableGuidance",
)
def unchanged(_context: Context, *, conditioning: Conditioning, **_: Any) -> tuple[Conditioning]:
    return (conditioning,)


@node("unCLIPConditioning", "StyleModelApply")
def style(
    _context: Context,
    *,
    conditioning: Conditioning,
    clip_vision_output: Pictures,
    strength: float,
    **_: Any,
) -> tuple[Conditioning]:
    styles = (*conditioning.styles, (clip_vision_output, strength))
    return (replace(conditioning, styles=styles),)


@node("FluxGuidance")
def guidance(
    _context: Context, *, conditioning: Conditioning, guidance: float
) -> tuple[Conditioning]:
    return (replace(conditioning, guidance=guidance),)


@node("ReferenceLatent")
def reference(
    _context: Context, *, conditioning: Conditioning, latent: Latent | None = None
) -> tuple[Conditioning]:
    if latent is None or latent.pictures is None:
        return (conditioning,)
    return (replace(conditioning, references=(*conditioning.references, latent.pictures)),)


@node("LTXVConditioning", "CLIPTextEncodeControlnet")
def with_rate(
    _context: Context, *, positive: Conditioning, negative: Conditioning, **_: Any
) -> tuple[Conditioning, Conditioning]:
    return positive, negative


@node("HunyuanVideo15SuperResolution")
def with_latent(
    _context: Context, *, positive: Conditioning, negative: Conditioning, latent: Latent, **_: Any
) -> tuple[Conditioning, Conditioning, Latent]:
    return positive, negative, latent


@node("ControlNetApplyAdvanced", "ControlNetApplySD3", "ControlNetInpaintingAliMamaApply")
def control(
    _context: Context,
    *,
    positive: Conditioning,
    negative: Conditioning,
    image: Pictures,
    strength: float,
    **_: Any,
) -> tuple[Conditioning, Conditioning]:
    return _controlled(positive, image, strength), _controlled(negative, image, strength)


@node("ControlNetApply")
def control_one(
    _context: Context, *, conditioning: Conditioning, image: Pictures, strength: float, **_: Any
) -> tuple[Conditioning]:
    return (_controlled(conditioning, image, strength),)


def _controlled(conditioning: Conditioning, image: Pictures, strength: float) -> Conditioning:
    return replace(conditioning, controls=(*conditioning.controls, (image, strength)))


@node("CLIPVisionEncode")
def vision(
    _context: Context, *, clip_vision: LoadedModel, image: Pictures, crop: str
) -> tuple[Pictures]:
    del clip_vision, crop
    return (image,)


@node("SeedVR2Conditioning")
def restoration(
    _context: Context, *, model: LoadedModel, vae_conditioning: Latent
) -> tuple[Conditioning, Conditioning]:
    del model
    positive = Conditioning(references=(vae_conditioning.filled(),))
    return positive, Conditioning()
