"""What a server lacks: a newer version, node classes, model files; each with where to get it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...errors import MissingModel, Problem
from ...protocol.object_info import NodeRegistry
from ..fields.param_values import value_problems
from ..graph import AnyGraph, Graph, classes, literals
from ..presets.graph_builder import (
    ObjectInfo,
    as_library,
    basename,
    find_model,
    find_variant,
    models_for,
    patched_graph,
)
from ..presets.preset_store import load_presets
from ..presets.schema import ModelRequirement, Preset
from .node_packs import find_pack

_SHOWN = 200  # characters of a file name in a message
_MODEL_FILE = re.compile(r".+\.(safetensors|sft|ckpt|pth?|bin|gguf|onnx|engine)", re.IGNORECASE)

# The folder below models/ that a loader's list is read from, by input name. Where an input name
# means different folders in different classes, "Class.input" stands before it.
_FOLDERS: Mapping[str, str] = {
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


def preset_needs(
    preset: Preset,
    object_info: ObjectInfo,
    comfyui_version: str | None = None,
    *,
    variant: str | None = None,
) -> list[Problem]:
    """What a server lacks to run a preset: a newer version, node classes, model files, ranges."""
    library = as_library(object_info)
    chosen = find_variant(preset, variant)
    least = (chosen.min_comfyui if chosen else None) or preset.min_comfyui
    problems = [*version_problem(least, comfyui_version)]
    graph = patched_graph(preset, chosen)
    problems += missing_nodes(sorted(classes(graph) - set(library))).values()
    for model in models_for(preset, chosen):
        present = _present_files(preset, graph, model, library)
        if present is not None and find_model(model.filename, present, model.alternatives) is None:
            problems.append(missing_model(model))
    return [*problems, *value_problems(preset, library)]


def version_at_least(version: str, least: str) -> bool:
    """Whether a ComfyUI version is ``least`` or newer; true when one of them cannot be read."""
    have, want = _numbers(version), _numbers(least)
    return not have or not want or have >= want


def missing_nodes(class_types: Iterable[str]) -> dict[str, Problem]:
    """The problem of each node class that is not there: which pack or update brings it."""
    core = {
        name
        for preset in load_presets().values()
        if not preset.custom_nodes
        for name in preset.all_classes
    }
    return {name: _missing_node(name, is_core=name in core) for name in class_types}


def _missing_node(class_type: str, *, is_core: bool) -> Problem:
    pack = find_pack(class_type)
    extra: dict[str, Any] = {}
    if is_core:
        hint = "It is part of newer versions of ComfyUI: update ComfyUI."
    elif pack is not None:
        hint = pack.install
        extra = {"pack": pack.name, "url": pack.url}
    else:
        hint = "Update ComfyUI, or use ComfyUI-Manager → Install Missing Custom Nodes."
    return Problem(
        kind="missing_node",
        message=f"The server has no node class '{class_type[:_SHOWN]}'.",
        hint=hint,
        class_type=class_type,
        extra=extra,
    )


def is_model_file(value: object) -> bool:
    """Whether a value looks like the name of a file with weights."""
    return isinstance(value, str) and _MODEL_FILE.fullmatch(value[-_SHOWN:]) is not None


def model_files(graph: AnyGraph) -> list[str]:
    """The names of files with weights that ``graph`` uses, in its order, each once."""
    return list(dict.fromkeys(v for _, _, v in literals(graph) if is_model_file(v)))


def known_models(more: Iterable[ModelRequirement] = ()) -> dict[str, ModelRequirement]:
    """What is known of model files, by name: from the shipped presets, and ``more``."""
    shipped = (model for preset in load_presets().values() for model in preset.all_models())
    return {basename(model.filename): model for model in (*shipped, *more)}


def model_folder(class_type: str, input_name: str) -> str:
    """The folder below ``models/`` that an input's files lie in; empty where that is not known."""
    return _FOLDERS.get(f"{class_type}.{input_name}") or _FOLDERS.get(input_name, "")


def unknown_model(
    class_type: str,
    input_name: str,
    filename: str,
    choices: Sequence[Any],
    known: Mapping[str, ModelRequirement],
) -> Problem:
    """The problem of a file that a loader names and the server's list does not have."""
    model = known.get(basename(filename)) or ModelRequirement(
        folder=model_folder(class_type, input_name), filename=filename
    )
    alternative = find_model(filename, choices, model.alternatives)
    problem = missing_model(model, alternative)
    return replace(
        problem, class_type=class_type, extra={**problem.extra, "alternative": alternative}
    )


def missing_model(model: ModelRequirement, alternative: str | None = None) -> Problem:
    """The problem of a model file that is not there, where to get it, or what to take instead."""
    where = f"models/{model.folder}" if model.folder else "its models folder"
    size = f" ({_size(model.size_bytes)})" if model.size_bytes else ""
    if alternative is not None:
        hint = f"The server has '{alternative}': choose that."
    elif model.url is not None:
        login = " (its publisher wants a login)" if model.gated else ""
        hint = f"Download it from {model.url}{login} into {where}."
    else:
        hint = f"Put the file into {where}, or choose another one."
    return Problem(
        kind="missing_model",
        message=f"The server has no model file '{model.filename[:_SHOWN]}'{size}.",
        hint=hint,
        extra={
            "model": MissingModel(
                folder=model.folder,
                filename=model.filename,
                url=model.url,
                size_bytes=model.size_bytes,
                license=model.license,
                gated=model.gated,
                sha256=model.sha256,
            )
        },
    )


def _size(size_bytes: int) -> str:
    return (
        f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{math.ceil(size_bytes / 1e6)} MB"
    )


def _present_files(
    preset: Preset, graph: Graph, model: ModelRequirement, library: NodeRegistry
) -> tuple[Any, ...] | None:
    """The server's list for the first input that names the model; None where it has no list."""
    for found, node, name in preset.model_inputs(graph):
        if found.filename == model.filename and graph[node]["class_type"] in library:
            spec = library[graph[node]["class_type"]].inputs.get(name)
            if spec is not None and spec.choices is not None:
                return spec.choices
    return None


def version_problem(least: str | None, version: str | None) -> Iterator[Problem]:
    """One problem when the server is too old, else none."""
    if least and version and not version_at_least(version, least):
        yield Problem(
            kind="comfyui_too_old",
            message=f"This needs ComfyUI {least} or newer, and the server has {version}.",
            hint="Update ComfyUI.",
            extra={"least": least},
        )


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"v?(\d+(?:\.\d+)*)", version.strip())
    return tuple(int(part) for part in match[1].split(".")) if match else ()
