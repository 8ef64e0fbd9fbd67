"""``/object_info``: the declarations in ``specs.json``, with the files that currently exist.

``specs.json`` and ``models.json`` hold facts of the protocol: names, types, defaults, ranges,
choices and the order of inputs as ComfyUI 0.33.0 declares them, and the model file names that
published workflows require.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..protocol.object_info import DEMO_MODULE
from ..workflow.model_files import model_folder
from ..workflow.presets.preset_store import list_presets
from .engine_folders import Folders
from .nodes import NODES

_HERE = Path(__file__).parent

IMAGES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
VIDEOS = frozenset({".mp4", ".webm", ".mkv", ".mov", ".avi", ".gif"})
SOUNDS = frozenset({".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".mp4", ".webm"})

# Inputs whose choices are files in input/, and their kinds.
FILE_INPUTS: Mapping[tuple[str, str], frozenset[str]] = {
    ("LoadImage", "image"): IMAGES,
    ("LoadImageMask", "image"): IMAGES,
    ("LoadVideo", "file"): VIDEOS,
    ("LoadAudio", "audio"): SOUNDS,
    ("LoadLatent", "latent"): frozenset({".latent"}),
}


@cache
def blueprints() -> dict[str, Any]:
    """Return the subgraph blueprints by id: ``name``, and ``data`` in editor format."""
    with (_HERE / "blueprints.json").open(encoding="utf-8") as file:
        return dict(json.load(file))


@cache
def models() -> dict[str, list[str]]:
    """Return ``{folder below models/: file names}``: those of shipped presets and more."""
    with (_HERE / "models.json").open(encoding="utf-8") as file:
        files: dict[str, set[str]] = {
            folder: set(names) for folder, names in json.load(file).items()
        }
    for preset in list_presets():
        for model in preset.all_models():
            if model.folder in files:  # other folders belong to node packs
                files[model.folder].add(model.filename)
    return {folder: sorted(names) for folder, names in files.items()}


@cache
def _specs() -> dict[str, dict[str, Any]]:
    with (_HERE / "specs.json").open(encoding="utf-8") as file:
        specs: dict[str, dict[str, Any]] = json.load(file)
    return specs


@cache
def _model_inputs() -> dict[tuple[str, str], str]:
    """The inputs whose choices are model files, and their folder below models/."""
    return {
        (class_type, name): folder
        for class_type, spec in _specs().items()
        for group in spec["input"].values()
        for name in group
        if (folder := model_folder(class_type, name))
    }


@cache
def _declared() -> dict[str, dict[str, Any]]:
    specs = _specs()
    for (class_type, name), folder in _model_inputs().items():
        _put_choices(specs[class_type], name, models().get(folder, []))
    for class_type, spec in specs.items():
        spec["name"] = class_type.partition("@")[0]
        spec["python_module"] = DEMO_MODULE
    return {name: spec for name, spec in specs.items() if spec["name"] in NODES}


def _put_choices(spec: dict[str, Any], name: str, choices: list[str]) -> None:
    for group in ("required", "optional"):
        declaration = spec["input"].get(group, {}).get(name)
        if declaration is None:
            continue
        if isinstance(declaration[0], list):
            fixed = [c for c in declaration[0] if c not in choices and c == "pixel_space"]
            declaration[0] = [*choices, *fixed]
        else:
            declaration[1]["options"] = list(choices)


def object_info(
    folders: Folders, *, core: str, test_nodes: bool = False
) -> dict[str, dict[str, Any]]:
    """Return all classes as ``GET /object_info`` does. Read-only: parts are shared.

    ``specs.json`` has ``CLASS@CORE`` for a class that an older core declares differently.
    """
    declared = _declared()
    specs = {
        name: declared.get(f"{name}@{core}", spec)
        for name, spec in declared.items()
        if "@" not in name
    }
    for (class_type, name), suffixes in FILE_INPUTS.items():
        if class_type in specs:
            specs[class_type] = _with_files(specs[class_type], name, folders.inputs(suffixes))
    for (class_type, name), folder in _model_inputs().items():
        if class_type in specs and (added := folders.models(folder)):
            files = sorted({*models().get(folder, ()), *added})
            specs[class_type] = _with_files(specs[class_type], name, files)
    if not test_nodes:
        specs = {name: spec for name, spec in specs.items() if not NODES[name].test_only}
    return specs


def _with_files(spec: dict[str, Any], name: str, files: list[str]) -> dict[str, Any]:
    required = dict(spec["input"]["required"])
    declaration = list(required[name])
    required[name] = declaration
    copy = {**spec, "input": {**spec["input"], "required": required}}
    if isinstance(declaration[0], list):
        declaration[0] = files
    else:
        declaration[1] = {**declaration[1], "options": files}
    return copy
