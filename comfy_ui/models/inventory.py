"""The model files on this machine: who uses them, which are in the wrong folder or there twice.

Functions that read files take a while on large folders: call them in a thread from a loop.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..workflow.checks.requirements import known_models
from ..workflow.model_files import basename, find_model, is_model_file
from ..workflow.presets.preset_store import Preset
from .model_facts import is_lora, read_facts
from .model_folders import ModelFolders

__all__ = [
    "LocalModel",
    "broken_presets",
    "find_duplicates",
    "first_preset",
    "fitting_presets",
    "list_files",
    "presets_using",
    "right_folder",
    "with_families",
]

_CHUNK_BYTES: Final = 1 << 20
_MAX_FILES: Final = 50_000


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model file on this machine. ``name`` is relative to its folder, with ``/``."""

    folder: str
    name: str
    path: Path
    size_bytes: int
    family: str = ""

    @property
    def id(self) -> str:
        """The folder and name, such as ``loras/style/ink.safetensors``."""
        return f"{self.folder}/{self.name}"


def list_files(folders: ModelFolders) -> list[LocalModel]:
    """List all model files below the model folders, by folder and name, without reading them."""
    files = [file for folder, path in folders.listed() for file in _files(folder, path)]
    return sorted(files[:_MAX_FILES], key=lambda file: (file.folder, file.name.casefold()))


def with_families(files: Sequence[LocalModel]) -> list[LocalModel]:
    """Return the files with the model families that their headers or names tell."""
    facts = read_facts([(file.name, file.path) for file in files])
    return [
        LocalModel(file.folder, file.name, file.path, file.size_bytes, known.family)
        for file, known in zip(files, facts, strict=True)
    ]


def presets_using(file: LocalModel, presets: Iterable[Preset]) -> list[Preset]:
    """Return the presets that load the file, or would if they had no other."""
    return [
        preset
        for preset in presets
        if any(
            model.folder == file.folder
            and find_model(model.filename, [file.name], model.alternatives) is not None
            for model in preset.all_models()
        )
    ]


def broken_presets(
    removed: LocalModel, files: Iterable[LocalModel], presets: Iterable[Preset]
) -> list[Preset]:
    """Return the presets that have all their files now and lack some without ``removed``.

    Only the files of the preset itself count, not those of its variants.
    """
    present = list(files)
    remaining = [file for file in present if file.id != removed.id]
    return [
        preset
        for preset in presets
        if preset.models and _complete(preset, present) and not _complete(preset, remaining)
    ]


def fitting_presets(presets: Iterable[Preset], vram_bytes: int) -> list[Preset]:
    """Return the presets that fit into a GPU's memory, those that use most of it first."""
    gigabytes = vram_bytes / 1e9 + 0.5  # a card of "12 GB" reports a little less or more
    fitting = [p for p in presets if p.vram_gb is not None and p.vram_gb <= gigabytes]
    return sorted(fitting, key=lambda preset: -(preset.vram_gb or 0))


def first_preset(presets: Iterable[Preset], vram_bytes: int) -> Preset | None:
    """Return the preset to begin with on a new ComfyUI, whose files can all be downloaded freely.

    It makes images from a prompt: the first in the presets' order that fits into the GPU's memory,
    or the one that needs least of it. None if there is none.
    """
    able = sorted(
        (
            preset
            for preset in presets
            if preset.task == "t2i"
            and preset.vram_gb is not None
            and preset.models
            and all(m.url and m.size_bytes and not m.gated for m in preset.models)
        ),
        key=lambda preset: preset.order,
    )
    fitting = {preset.id for preset in fitting_presets(able, vram_bytes)}
    for preset in able:
        if preset.id in fitting:
            return preset
    return min(able, key=lambda preset: preset.vram_gb or 0, default=None)


def right_folder(file: LocalModel) -> str | None:
    """Return the folder in which a file belongs if it is in another one, else None.

    The names of the shipped presets' files tell it, and tensors that only a LoRA has.
    """
    known = known_models().get(basename(file.name))
    if known is not None:
        return known.folder if known.folder != file.folder else None
    return "loras" if file.folder == "checkpoints" and is_lora(file.path) else None


def find_duplicates(
    files: Iterable[LocalModel],
    *,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[list[LocalModel]]:
    """Return groups of files with the same content, the largest first.

    Only files of equal size are read. Several names of one file on disk are no duplicates.

    Args:
        files: the files to compare.
        on_progress: called with the bytes that were read, and those to read in all.
    """
    by_size: dict[int, dict[tuple[int, int], LocalModel]] = {}
    for file in files:
        status = file.path.stat()
        by_size.setdefault(status.st_size, {})[status.st_dev, status.st_ino] = file
    candidates = [f for same in by_size.values() if len(same) > 1 for f in same.values()]
    total, done = sum(file.size_bytes for file in candidates), 0
    by_hash: dict[str, list[LocalModel]] = {}
    for file in candidates:
        digest = hashlib.sha256()
        for chunk in _chunks(file.path):
            digest.update(chunk)
            done += len(chunk)
            on_progress(done, total)
        by_hash.setdefault(digest.hexdigest(), []).append(file)
    groups = [group for group in by_hash.values() if len(group) > 1]
    return sorted(groups, key=lambda group: -group[0].size_bytes)


def _files(folder: str, path: Path) -> Iterator[LocalModel]:
    seen: set[str] = set()
    for where, names, filenames in os.walk(path, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:  # a link to a folder above
            names.clear()
            continue
        seen.add(real)
        names[:] = [name for name in names if not name.startswith(".")]
        for name in filenames:
            file = Path(where, name)
            if not is_model_file(name):
                continue
            try:
                size = file.stat().st_size
            except OSError:  # a dangling link
                continue
            yield LocalModel(folder, file.relative_to(path).as_posix(), file, size)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _complete(preset: Preset, files: Sequence[LocalModel]) -> bool:
    names: dict[str, list[str]] = {}
    for file in files:
        names.setdefault(file.folder, []).append(file.name)
    return all(
        find_model(model.filename, names.get(model.folder, ()), model.alternatives) is not None
        for model in preset.models
    )
