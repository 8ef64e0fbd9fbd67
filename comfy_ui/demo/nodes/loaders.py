"""Model loaders. They keep the file's name, which varies the painter's style."""

from __future__ import annotations

from typing import Any

from ..node_types import LoadedModel
from .node_base import Context, node


@node("CheckpointLoaderSimple", "CheckpointLoader", "ImageOnlyCheckpointLoader")
def checkpoint(
    context: Context, *, ckpt_name: str, **_: Any
) -> tuple[LoadedModel, LoadedModel, LoadedModel]:
    context.pace()
    return LoadedModel(ckpt_name), LoadedModel(ckpt_name), LoadedModel(ckpt_name)


@node("unCLIPCheckpointLoader")
def unclip_checkpoint(context: Context, *, ckpt_name: str) -> tuple[LoadedModel, ...]:
    return (*checkpoint(context, ckpt_name=ckpt_name), LoadedModel(ckpt_name))


@node(
    "UNETLoader",
    "CLIPLoader",
    "DualCLIPLoader",
    "TripleCLIPLoader",
    "QuadrupleCLIPLoader",
    "VAELoader",
    "ControlNetLoader",
    "DiffControlNetLoader",
    "CLIPVisionLoader",
    "StyleModelLoader",
    "UpscaleModelLoader",
    "LatentUpscaleModelLoader",
    "ModelPatchLoader",
    "LoadDA3Model",
    "FrameInterpolationModelLoader",
    "LTXAVTextEncoderLoader",
    "LTXVAudioVAELoader",
)
def one_file(context: Context, **inputs: Any) -> tuple[LoadedModel]:
    """Load from the first input; the others only configure memory."""
    context.pace(0.5)
    return (LoadedModel(str(next(iter(inputs.values())))),)


@node("LoraLoader")
def lora(
    context: Context,
    *,
    model: LoadedModel,
    clip: LoadedModel,
    lora_name: str,
    strength_model: float,
    strength_clip: float,
) -> tuple[LoadedModel, LoadedModel]:
    context.pace(0.5)
    patch = (lora_name, strength_model)
    return model.patched("lora", patch), clip.patched("lora", (lora_name, strength_clip))


@node("LoraLoaderModelOnly")
def lora_model(
    context: Context, *, model: LoadedModel, lora_name: str, strength_model: float
) -> tuple[LoadedModel]:
    context.pace(0.5)
    return (model.patched("lora", (lora_name, strength_model)),)


@node(
    "ModelSamplingAuraFlow",
    "ModelSamplingSD3",
    "ModelSamplingFlux",
    "ModelSamplingLTXV",
    "ModelSamplingDiscrete",
    "CFGNorm",
    "QwenImage21Cache",
    "CFGZeroStar",
    "RescaleCFG",
    "DifferentialDiffusion",
    "VideoLinearCFGGuidance",
    "VideoTriangleCFGGuidance",
    "FreeU",
    "FreeU_V2",
    "EasyCache",
    "LazyCache",
)
def patched_model(_context: Context, *, model: LoadedModel, **options: Any) -> tuple[LoadedModel]:
    return (model.patched("option", tuple(sorted(options))),)


@node("CLIPSetLastLayer", "T5TokenizerOptions")
def patched_clip(_context: Context, *, clip: LoadedModel, **options: Any) -> tuple[LoadedModel]:
    return (clip.patched("option", tuple(sorted(options.items()))),)


@node("QwenImageDiffsynthControlnet")
def control_patch(
    _context: Context, *, model: LoadedModel, image: Any, strength: float, **_: Any
) -> tuple[LoadedModel]:
    return (model.patched("control", (image, strength)),)


@node("SetUnionControlNetType")
def union_type(_context: Context, *, control_net: LoadedModel, type: str) -> tuple[LoadedModel]:  # noqa: A002
    return (control_net.patched("type", type),)
