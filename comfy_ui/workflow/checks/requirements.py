"""Requirements that a server lacks (version, node classes, model files), with where to get them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...errors import MissingModel, Problem
from ...protocol.object_info import NodeRegistry
from ..fields.param_values import value_problems
from ..graph import Graph, classes
from ..model_files import basename, find_model, model_folder
from ..presets.graph_builder import (
    ObjectInfo,
    as_library,
    find_variant,
    models_for,
    patched_graph,
)
from ..presets.preset_store import load_presets
from ..presets.schema import ModelRequirement, Preset
from .node_packs import DEMO_HINT, find_pack

_SHOWN = 200  # characters of a file name in a message


def preset_problems(
    preset: Preset,
    object_info: ObjectInfo,
    comfyui_version: str | None = None,
    *,
    variant: str | None = None,
    shipped: Mapping[str, Preset] | None = None,
) -> list[Problem]:
    """Return what a server lacks to run a preset: a version, node classes, model files, ranges.

    An empty list means that the server is ready. ``shipped``: the built-in presets, read if None.
    """
    library = as_library(object_info)
    chosen = find_variant(preset, variant)
    least = (chosen.min_comfyui if chosen else None) or preset.min_comfyui
    problems = [*version_problem(least, comfyui_version)]
    graph = patched_graph(preset, chosen)
    missing = sorted(name for name in classes(graph) if name not in library)
    problems += missing_nodes(missing, library, shipped).values()
    for model in models_for(preset, chosen):
        present = _present_files(preset, graph, model, library)
        if present is not None and find_model(model.filename, present, model.alternatives) is None:
            problems.append(missing_model(model))
    return [*problems, *value_problems(preset, library)]


def version_at_least(version: str, least: str) -> bool:
    """Whether a ComfyUI version is ``least`` or newer; True if one of them cannot be parsed."""
    have, want = _numbers(version), _numbers(least)
    return not have or not want or have >= want


def missing_nodes(
    class_types: Iterable[str], library: NodeRegistry, shipped: Mapping[str, Preset] | None = None
) -> dict[str, Problem]:
    """Return a problem for each class that ``library`` lacks, naming the pack or update with it.

    Classes of ``shipped`` presets (read if None) without node packs are ComfyUI's own.
    """
    missing = [*class_types]
    if not missing:
        return {}
    core = {
        name
        for preset in (load_presets() if shipped is None else shipped).values()
        if not preset.custom_nodes
        for name in preset.all_classes
    }
    return {name: _missing_node(name, library, is_core=name in core) for name in missing}


def _missing_node(class_type: str, library: NodeRegistry, *, is_core: bool) -> Problem:
    pack = find_pack(class_type)
    extra: dict[str, Any] = {}
    if library.is_demo:
        hint = DEMO_HINT
    elif is_core:
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


def known_models(
    more: Iterable[ModelRequirement] = (), shipped: Mapping[str, Preset] | None = None
) -> dict[str, ModelRequirement]:
    """Return model files with a known source by name: those of shipped presets, and ``more``."""
    presets = (load_presets() if shipped is None else shipped).values()
    own = (model for preset in presets for model in preset.all_models())
    return {basename(model.filename): model for model in (*own, *more)}


def unknown_model(
    class_type: str,
    input_name: str,
    filename: str,
    choices: Sequence[Any],
    known: Mapping[str, ModelRequirement],
) -> Problem:
    """Return the problem for a file that a loader names and the server's list lacks."""
    model = known.get(basename(filename)) or ModelRequirement(
        folder=model_folder(class_type, input_name), filename=filename
    )
    alternative = find_model(filename, choices, model.alternatives)
    problem = missing_model(model, alternative)
    return replace(
        problem, class_type=class_type, extra={**problem.extra, "alternative": alternative}
    )


def missing_model(model: ModelRequirement, alternative: str | None = None) -> Problem:
    """Return the problem for a missing model file: where to download it, or which file to use."""
    where = f"models/{model.folder}" if model.folder else "its models folder"
    size = f" ({_size(model.size_bytes)})" if model.size_bytes else ""
    if alternative is not None:
        hint = f"The server has '{alternative}': choose that."
    elif model.url is not None:
        login = " (its publisher requires a login)" if model.gated else ""
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
    """Return the server's choices for the first input that names the model; None without a list."""
    for required, node, name in preset.model_inputs(graph):
        if required.filename == model.filename and graph[node]["class_type"] in library:
            spec = library[graph[node]["class_type"]].inputs.get(name)
            if spec is not None and spec.choices is not None:
                return spec.choices
    return None


def version_problem(least: str | None, version: str | None) -> Iterator[Problem]:
    """Yield one problem if the server is too old."""
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
