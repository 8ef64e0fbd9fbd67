"""Model files in a graph: which values name one, the folder of its loader, its model family."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from ..protocol.object_info import NodeRegistry
from .graph import AnyGraph, literals

__all__ = [
    "basename",
    "family_of",
    "find_model",
    "is_model_file",
    "listed_models",
    "match_models",
    "model_files",
    "model_folder",
    "short_name",
    "stem",
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
    "LoadDA3Model.model_name": "geometry_estimation",
    "LoadMoGeModel.model_name": "geometry_estimation",
}

# Families of the shipped presets by the names that publishers and training scripts use.
_FAMILIES: Final[tuple[tuple[str, re.Pattern[str]], ...]] = tuple(
    (family, re.compile(pattern))
    for family, pattern in (
        ("SDXL", r"sd[_ -]?xl|stable-diffusion-xl|(?<![a-z])pony|illustrious|noobai"),
        ("SD3.5", r"sd[_ -]?3|stable-diffusion-(v)?3"),
        ("SD1.5", r"sd[_ -]?v?1|stable-diffusion-v1|(?<![a-z0-9])v1[-_.]5"),
        ("Flux.2", r"flux[._ -]?2"),
        ("Flux.3", r"flux[._ -]?3"),
        ("Flux.1", r"flux"),
        ("Krea 2", r"krea[_ -]?2"),
        ("Qwen-Image", r"qwen"),
        ("Z-Image", r"z[_ -]?image"),
        ("Wan", r"(?<![a-z])wan(?![a-z])"),
        ("HunyuanVideo 1.5", r"hunyuan.{0,12}1[._]5"),
        ("Hunyuan3D", r"hunyuan.?3d"),
        ("HunyuanVideo", r"hunyuan"),
        ("LTX", r"(?<![a-z])ltx"),
        ("Chroma", r"chroma"),
        ("Anima", r"(?<![a-z])anima(?![a-z])"),
        ("Mochi", r"mochi"),
        ("CogVideoX", r"cogvideo"),
        ("ACE-Step", r"ace[_ -]?step"),
        ("Stable Audio", r"stable[_ -]?audio"),
        ("MiniMax H3", r"minimax"),
        ("SVD", r"(?<![a-z])svd"),
        # Checkpoints that select or recognize instead of generating.
        ("SAM 3", r"(?<![a-z])sam3"),
        ("SDPose", r"sdpose"),
    )
)


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


def family_of(text: str) -> str:
    """Return the presets' family that a base model's name or a file name belongs to, or "".

    >>> family_of("sdxl_base_v1-0"), family_of("Flux.1 D"), family_of("swan.safetensors")
    ('SDXL', 'Flux.1', '')
    """
    folded = text[:400].casefold()
    return next((family for family, pattern in _FAMILIES if pattern.search(folded)), "")


def match_models(name: str, present: Sequence[str]) -> list[str]:
    """Return the files that a user may mean by ``name``: none, one, or several alike.

    Tries the exact name, then without the ending, without the folder, without either; then without
    the folder of ``name``, too. If none matches, all of these regardless of case.

    >>> match_models("Ink", ["style/ink.safetensors", "glow.safetensors"])
    ['style/ink.safetensors']
    """
    name_path = name.strip().replace("\\", "/")
    for fold in (str, str.casefold):
        for of_file, of_name in _COMPARISONS:
            key = fold(of_name(name_path))
            matches = [file for file in present if fold(of_file(file.replace("\\", "/"))) == key]
            if matches:
                return matches
    return []


def stem(name: str) -> str:
    """Return a model file's name without its ending."""
    return name.rpartition(".")[0] if is_model_file(name) else name


def short_name(name: str) -> str:
    """Return a model file's name without folder and ending."""
    return stem(basename(name))


_COMPARISONS: Final[tuple[tuple[Callable[[str], str], Callable[[str], str]], ...]] = (
    (str, str),
    (stem, str),
    (basename, str),
    (short_name, str),
    (basename, basename),
    (short_name, short_name),
)
"""What of a file's name is compared with what of the user's, in this order."""
