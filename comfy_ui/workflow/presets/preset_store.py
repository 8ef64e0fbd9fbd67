"""The shipped presets, and further ones from other folders.

A preset is two files in one folder: ``NAME.json`` (API-format graph) and ``NAME.toml`` (see
:mod:`.schema`). Files are read again when they change, so two files copied into a folder are a new
preset at once.
"""

from __future__ import annotations

import json
import logging
import os
import random
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydantic

from ...errors import Problem, UnknownPresetError, ValidationError, closest
from ...resources import workflows_dir
from ..fields.numbers import MAX_SEED
from ..fields.param_values import QUALITIES, choices, limits, resolve_values, rounding_notices
from ..graph import Graph
from .graph_builder import ObjectInfo, as_library, build_graph, specialise
from .schema import (
    Kind,
    LoraSlot,
    ModelRequirement,
    Param,
    ParamTarget,
    Preset,
    PresetOutput,
    Profile,
    Size,
    Variant,
)

__all__ = [
    "MAX_SEED",
    "QUALITIES",
    "VIDEO_PRESETS",
    "Graph",
    "LoraSlot",
    "ModelRequirement",
    "Param",
    "ParamTarget",
    "Preset",
    "PresetOutput",
    "Presets",
    "Profile",
    "Size",
    "Variant",
    "build_graph",
    "choices",
    "compile_workflow",
    "get_preset",
    "get_recommended_preset",
    "limits",
    "list_presets",
    "list_video_presets",
    "load_preset",
    "load_presets",
    "resolve_values",
]

logger = logging.getLogger(__name__)

_MAX_FILE_BYTES = 8 * 1024 * 1024
_THUMBNAILS = (".webp", ".png", ".jpg")
_SUFFIXES = (".toml", ".json", *_THUMBNAILS)


@dataclass(frozen=True, slots=True)
class Presets(Mapping[str, Preset]):
    """Presets by id, in display order.

    ``problems`` lists the files that could not be read; ``shipped`` are the built-in presets.
    """

    _presets: Mapping[str, Preset]
    problems: tuple[Problem, ...] = ()
    shipped: Mapping[str, Preset] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Preset:
        return self._presets[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._presets)

    def __len__(self) -> int:
        return len(self._presets)

    def profiles(self) -> dict[str, Preset]:
        """Return each profile as a preset, by name: ``ltx_quick``, ``wan_1.3b``, …"""
        return {
            name: specialise(preset, name, profile)
            for preset in self.values()
            for name, profile in preset.profiles.items()
        }

    def require(self, preset_id: str) -> Preset:
        """Return the preset, or the profile of a preset, with this name.

        Raises:
            UnknownPresetError: there is none; the hint names the closest.
            ValidationError: its files cannot be read.
        """
        if preset_id in self:
            return self[preset_id]
        for preset in self.values():
            if preset_id in preset.profiles:
                return specialise(preset, preset_id, preset.profiles[preset_id])
        for problem in self.problems:
            if problem.extra.get("preset") == preset_id:
                raise ValidationError(problem.message, hint=problem.hint)
        names = [*self, *(name for preset in self.values() for name in preset.profiles)]
        raise UnknownPresetError(
            f"There is no preset '{preset_id}'.", hint=closest(str(preset_id), names)
        )


def list_presets(*, kind: Kind | None = None, folders: Sequence[Path] = ()) -> list[Preset]:
    """Return the readable presets: the shipped ones and those of ``folders``."""
    return [preset for preset in load_presets(folders).values() if kind in (None, preset.kind)]


def get_preset(preset_id: str, *, folders: Sequence[Path] = ()) -> Preset:
    """Return the preset, or the profile of a preset, with this name.

    Raises:
        UnknownPresetError: there is none; the hint names the closest.
        ValidationError: its files are invalid.
    """
    return load_presets(folders).require(preset_id)


def compile_workflow(
    preset_id: str | Preset,
    *,
    object_info: ObjectInfo | None = None,
    folders: Sequence[Path] = (),
    rng: random.Random | None = None,
    **values: Any,
) -> Graph:
    """Build the API-format graph of a preset with these values, ready to be queued.

    ``values`` are the preset's params and ``variant``, ``quality``, ``size``, ``loras``: see
    :func:`resolve_values`, which also returns the drawn seed. With ``object_info``, ranges and
    choices are checked against that server, and model files get the names they have there. A
    warning is logged for a size or number of frames that the preset rounds.

    >>> graph = compile_workflow("sdxl", prompt="a lighthouse", seed=7, size="Portrait")
    >>> graph["5"]["inputs"]["seed"], graph["4"]["inputs"]["width"]
    (7, 832)

    Raises:
        UnknownPresetError: no preset has that name.
        ValidationError: a value is unknown, out of range, not among the choices, or missing.
    """
    preset = preset_id if isinstance(preset_id, Preset) else get_preset(preset_id, folders=folders)
    library = None if object_info is None else as_library(object_info)
    for notice in rounding_notices(preset, values):
        logger.warning("%s", notice)
    complete = resolve_values(preset, values, object_info=library, rng=rng)
    return build_graph(preset, complete, object_info=library)


def load_presets(folders: Sequence[Path] = ()) -> Presets:
    """Read the shipped presets and those of ``folders``; of equal names the last wins.

    A file that cannot be read is listed in ``problems`` and does not hide the others.
    """
    paths = (workflows_dir(), *map(Path, folders))
    listings = [_list_shipped(paths[0]), *map(_list_files, paths[1:])]
    cached = _loaded.get(paths)
    if cached is None or cached[0] != listings:
        cached = _loaded[paths] = (listings, _load(paths, listings))
    return cached[1]


def _load(paths: Sequence[Path], listings: Sequence[_Listing]) -> Presets:
    presets: dict[str, Preset] = {}
    shipped: dict[str, Preset] = {}
    problems: list[Problem] = []
    for folder, listing in zip(paths, listings, strict=True):
        for name in sorted(listing):
            if not name.endswith(".toml"):
                continue
            result = _load_cached(folder / name, listing)
            if isinstance(result, Preset):
                presets[result.id] = result
            else:
                problems.append(result)
        shipped = shipped or {**presets}
    ordered = sorted(presets.values(), key=lambda preset: (preset.order, preset.title))
    return Presets({preset.id: preset for preset in ordered}, tuple(problems), shipped)


def load_preset(sidecar: Path) -> Preset:
    """Read one preset: ``sidecar`` is the ``.toml`` file, the graph lies beside it.

    Raises:
        ValidationError: a file is missing, unreadable or invalid; the message has the location.
    """
    about = _read(sidecar, tomllib.loads, "TOML")
    graph = _read(sidecar.with_suffix(".json"), json.loads, "JSON")
    for key in ("id", "graph", "thumbnail"):
        if key in about:
            raise ValidationError(f"{sidecar.name}: '{key}' does not belong in the sidecar.")
    thumbnails = (sidecar.with_suffix(suffix) for suffix in _THUMBNAILS)
    about |= {
        "id": sidecar.stem,
        "graph": graph,
        "thumbnail": next((path for path in thumbnails if path.is_file()), None),
    }
    try:
        return Preset.model_validate(about)
    except pydantic.ValidationError as error:
        raise ValidationError(f"{sidecar.name}: {_explain(error)}.") from error


def _read(path: Path, parse: Any, kind: str) -> Any:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ValidationError(f"{path.name} is larger than {_MAX_FILE_BYTES // 2**20} MiB.")
        return parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValidationError(
            f"{path.name} is missing.", hint="A preset is two files: NAME.json and NAME.toml."
        ) from error
    except OSError as error:
        raise ValidationError(f"{path.name} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise ValidationError(f"{path.name} is not {kind}: {error}.") from error


def _explain(error: pydantic.ValidationError) -> str:
    """Format all faults in one line, each with its location: ``params.2.min: …``."""
    lines = []
    for fault in error.errors():
        place = ".".join(str(part) for part in fault["loc"])
        text = fault["msg"].removeprefix("Value error, ")
        lines.append(f"{place}: {text}" if place else text)
    return "; ".join(lines)


_Listing = dict[str, tuple[int, int]]
"""The files of a folder by name: when each was modified, in nanoseconds, and its size."""

_loaded: dict[tuple[Path, ...], tuple[list[_Listing], Presets]] = {}
_shipped: dict[Path, tuple[int, _Listing]] = {}
_cache: dict[Path, tuple[object, Preset | Problem]] = {}


def _list_files(folder: Path) -> _Listing:
    """List the files of presets; a folder that cannot be read has none."""
    listing: _Listing = {}
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(_SUFFIXES):
                with suppress(OSError):
                    status = entry.stat()
                    listing[entry.name] = status.st_mtime_ns, status.st_size
    return listing


def _list_shipped(folder: Path) -> _Listing:
    """List the shipped files, again when one was added, removed or replaced.

    Every job reads its preset, and to check a hundred files takes longer than the rest of it.
    """
    changed_at = folder.stat().st_mtime_ns
    listed = _shipped.get(folder)
    if listed is None or listed[0] != changed_at:
        listed = _shipped[folder] = (changed_at, _list_files(folder))
    return listed[1]


def _load_cached(sidecar: Path, listing: _Listing) -> Preset | Problem:
    stamp = [listing.get(sidecar.stem + suffix) for suffix in _SUFFIXES]
    cached = _cache.get(sidecar)
    if cached is not None and cached[0] == stamp:
        return cached[1]
    result: Preset | Problem
    try:
        result = load_preset(sidecar)
    except ValidationError as error:
        result = Problem(
            kind="invalid_preset",
            message=error.message,
            hint=error.hint,
            extra={"preset": sidecar.stem, "file": str(sidecar)},
        )
    _cache[sidecar] = (stamp, result)
    return result


class _VideoPresets(Mapping[str, Preset]):
    """The shipped video presets and profiles by name, read on first access."""

    def _all(self) -> dict[str, Preset]:
        presets = load_presets()
        return {
            name: preset
            for name, preset in {**presets, **presets.profiles()}.items()
            if preset.kind == "video"
        }

    def __getitem__(self, name: str) -> Preset:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return f"VIDEO_PRESETS({', '.join(self)})"


VIDEO_PRESETS: Mapping[str, Preset] = _VideoPresets()
"""Every name that ``generate_video(preset=…)`` accepts, with its preset."""

# Ascending in memory and quality, so that more memory never gets a lesser preset.
_RECOMMENDED = (
    (0, "wan_1.3b"),
    (12, "ltx_standard"),
    (16, "hunyuan15_720p"),
    (24, "hunyuan15_quality"),
)


def list_video_presets() -> list[str]:
    """Return the names in :data:`VIDEO_PRESETS`."""
    return list(VIDEO_PRESETS)


def get_recommended_preset(vram_gb: float) -> str:
    """Return the name of the best video preset for a GPU with that much memory.

    >>> get_recommended_preset(vram_gb=16)
    'hunyuan15_720p'

    Raises:
        ValidationError: ``vram_gb`` is not a positive number.
    """
    if not vram_gb > 0:
        raise ValidationError(f"Memory must be a positive number of GB, not {vram_gb!r}.")
    return next(name for least, name in reversed(_RECOMMENDED) if vram_gb >= least)
