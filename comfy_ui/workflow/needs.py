"""What a server lacks: a newer version, node classes, model files; each with where to get it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from ..errors import MissingModel, Problem
from ..protocol.nodes import NodeLibrary
from .compile import ObjectInfo, as_library, find_model, find_variant, models_for, patched_graph
from .graph import Graph, classes
from .packs import find_pack
from .presets import load_presets
from .schema import ModelRequirement, Preset

_SHOWN = 200  # characters of a file name in a message


def preset_needs(
    preset: Preset,
    object_info: ObjectInfo,
    comfyui_version: str | None = None,
    *,
    variant: str | None = None,
) -> list[Problem]:
    """What a server lacks to run a preset: a newer version, node classes, model files."""
    library = as_library(object_info)
    chosen = find_variant(preset, variant)
    least = (chosen.min_comfyui if chosen else None) or preset.min_comfyui
    problems = [*version_problem(least, comfyui_version)]
    graph = patched_graph(preset, chosen)
    problems += [missing_node(name) for name in sorted(classes(graph)) if name not in library]
    for model in models_for(preset, chosen):
        present = _present_files(preset, graph, model, library)
        if present is not None and find_model(model.filename, present, model.alternatives) is None:
            problems.append(missing_model(model))
    return problems


def version_at_least(version: str, least: str) -> bool:
    """Whether a ComfyUI version is ``least`` or newer; true when one of them cannot be read."""
    have, want = _numbers(version), _numbers(least)
    return not have or not want or have >= want


def missing_node(class_type: str) -> Problem:
    """The problem of a node class that is not there: which pack or update brings it."""
    pack = find_pack(class_type)
    extra: dict[str, Any] = {}
    if class_type in _core_classes():
        hint = "It is part of newer versions of ComfyUI: update ComfyUI."
    elif pack is not None:
        hint = pack.install
        extra = {"pack": pack.name, "url": pack.url}
    else:
        hint = "Update ComfyUI, or use ComfyUI-Manager → Install Missing Custom Nodes."
    return Problem(
        kind="missing_node",
        message=f"The server has no node class '{class_type}'.",
        hint=hint,
        class_type=class_type,
        extra=extra,
    )


def _core_classes() -> frozenset[str]:
    """Classes that ComfyUI itself has since some version, as far as our presets use them."""
    return frozenset(
        name
        for preset in load_presets().values()
        if not preset.custom_nodes
        for name in classes(preset.graph)
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
            )
        },
    )


def _size(size_bytes: int) -> str:
    return (
        f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{math.ceil(size_bytes / 1e6)} MB"
    )


def _present_files(
    preset: Preset, graph: Graph, model: ModelRequirement, library: NodeLibrary
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
        )


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"v?(\d+(?:\.\d+)*)", version.strip())
    return tuple(int(part) for part in match[1].split(".")) if match else ()
