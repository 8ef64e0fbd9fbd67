"""Model files in a graph: which values name one, and the folder that a loader reads it from."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ..protocol.object_info import NodeRegistry
from .graph import AnyGraph, literals

__all__ = [
    "basename",
    "find_model",
    "is_model_file",
    "listed_models",
    "model_files",
    "model_folder",
]

_TAIL: Final = 200  # bounds the regex's work: names come from untrusted graphs
_MODEL_FILE: Final = re.compile(
    r".+\.(safetensors|sft|ckpt|pth?|bin|gguf|onnx|engine)", re.IGNORECASE
)

# The folder below models/ by input name. "Class.input" wins if classes use a name differently.
_FOLDERS: Final[Mapping[str, str]] = {
    "ckpt_name": "checkpoints",
    "unet_name": "diffusion_models",
    "clip_name": "text_encoders",
    "clip_name1": "text_encoders",
    "clip_name2": "text_encoders",
    "clip_name3": "text_encoders",
    "clip_name4": "text_encoders",
    "text_encoder": "text_encoders",
    "CLIPVisionLoader.clip_name": "clip_vision",
    "vae_name": "vae",
    "lora_name": "loras",
    "control_net_name": "controlnet",
    "style_model_name": "style_models",
    "gligen_name": "gligen",
    "hypernetwork_name": "hypernetworks",
    "photomaker_model_name": "photomaker",
    "audio_encoder_name": "audio_encoders",
    "UpscaleModelLoader.model_name": "upscale_models",
    "LatentUpscaleModelLoader.model_name": "latent_upscale_models",
    "FrameInterpolationModelLoader.model_name": "frame_interpolation",
    "ModelPatchLoader.name": "model_patches",
}


def model_folder(class_type: str, input_name: str) -> str:
    """Return the folder below ``models/`` for an input's files; empty if unknown.

    >>> model_folder("CLIPVisionLoader", "clip_name"), model_folder("CLIPLoader", "clip_name")
    ('clip_vision', 'text_encoders')
    """
    return _FOLDERS.get(f"{class_type}.{input_name}") or _FOLDERS.get(input_name, "")


def listed_models(registry: NodeRegistry) -> dict[str, tuple[str, ...]]:
    """Return the model files that a server offers, by the folder below ``models/``."""
    files: dict[str, dict[str, None]] = {}
    for class_type, spec in registry.items():
        for name, declared in spec.inputs.items():
            folder = model_folder(class_type, name) if declared.choices else ""
            if folder:
                names = (choice for choice in declared.choices or () if is_model_file(choice))
                files.setdefault(folder, {}).update(dict.fromkeys(names))
    return {folder: (*names,) for folder, names in files.items()}


def is_model_file(value: object) -> bool:
    """Whether a value looks like the name of a model file."""
    return isinstance(value, str) and _MODEL_FILE.fullmatch(value[-_TAIL:]) is not None


def model_files(graph: AnyGraph) -> list[str]:
    """Return the distinct model files that ``graph`` names, in its order."""
    return list(dict.fromkeys(v for _, _, v in literals(graph) if is_model_file(v)))


def basename(name: str) -> str:
    """Return the file's name without its folder; both kinds of slash separate folders."""
    return name.replace("\\", "/").rsplit("/", 1)[-1]


def find_model(
    required: str, present: Sequence[Any], alternatives: Iterable[str] = ()
) -> str | None:
    """Return the file among ``present`` that can be used as ``required``, or None.

    Tries the exact name, then the same file in a subfolder, then the patterns in
    ``alternatives``.
    """
    files = [name for name in present if isinstance(name, str)]
    if required in files:
        return required
    base = basename(required)
    for name in files:
        if basename(name) == base:
            return name
    for pattern in alternatives:
        for name in files:
            if fnmatch.fnmatchcase(basename(name).lower(), pattern.lower()):
                return name
    return None
