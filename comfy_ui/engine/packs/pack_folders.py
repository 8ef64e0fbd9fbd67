"""The node packs on the disk: which a version uses, which are switched off, which one failed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from ...errors import EngineError, ValidationError, closest
from ..engine_paths import (
    EnginePaths,
    Installation,
    disk_error,
    exclusive,
    read_installation,
    read_json,
    write_installation,
    write_json,
)
from .pack_source import NAME, PackSource

__all__ = ["InstalledPack", "active_packs", "failed_pack", "installed_packs", "remove_pack"]

_MARKER: Final = "pack.json"
_SHOWN: Final = 400
_TUPLES: Final = ("requirements", "model_folders")
_TRACEBACK: Final = re.compile(r"^(?:Traceback \(most recent|Fatal Python error)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class InstalledPack:
    """A node pack of a version. ``folder``: with ``__init__.py``.

    ``trouble``: why ComfyUI is started without it; "" if it is used.
    """

    source: PackSource
    folder: Path
    trouble: str = ""

    @property
    def search_folder(self) -> Path:
        """The folder that ComfyUI looks for node packs in."""
        return self.folder.parent


def installed_packs(paths: EnginePaths, installation: Installation | None) -> list[InstalledPack]:
    """Return the node packs of a version, by name."""
    troubles = read_json(paths.packs_off)
    packs = []
    for pack_id in installation.packs if installation is not None else ():
        source = _read(paths.packs / pack_id)
        if source is not None:
            trouble = str(troubles.get(pack_id, ""))
            packs.append(InstalledPack(source, paths.packs / pack_id / source.name, trouble))
    return sorted(packs, key=lambda pack: pack.source.name.lower())


def active_packs(paths: EnginePaths, installation: Installation | None) -> list[InstalledPack]:
    """Return the node packs that ComfyUI is started with."""
    return [pack for pack in installed_packs(paths, installation) if not pack.trouble]


def pack_folder(paths: EnginePaths, source: PackSource) -> InstalledPack | None:
    """Return a node pack that has been fetched completely, whichever version uses it."""
    known = _read(paths.packs / source.id)
    if known is None:
        return None
    return InstalledPack(known, paths.packs / source.id / known.name)


def put_pack(paths: EnginePaths, staged: Path, source: PackSource) -> None:
    """Move a fetched pack, ``staged / source.name``, to its place by one rename.

    Raises:
        OSError: the disk refuses.
    """
    write_json(staged / _MARKER, asdict(source))
    paths.packs.mkdir(parents=True, exist_ok=True)
    staged.rename(paths.packs / source.id)


def remove_pack(paths: EnginePaths, name: str) -> PackSource:
    """Take a node pack away from the version in use. A running server keeps it until its restart.

    Its Python packages stay in the environment until ComfyUI is updated. Its folder stays as long
    as the previous version uses it.

    Raises:
        ValidationError: it has no such pack.
        EngineError: an installation is running.
        StorageError: the disk refuses.
    """
    with exclusive(paths.root / "install.lock", "An installation is running."):
        current = paths.current()
        packs = {pack.source.name: pack.source for pack in installed_packs(paths, current)}
        if current is None or name not in packs:
            raise ValidationError(
                f"There is no node pack '{name[:100]}'.", hint=closest(name, packs)
            )
        source = packs[name]
        # No plan leads to this version now, so installing the pack again does something.
        changed = replace(current, packs=tuple(i for i in current.packs if i != source.id), plan="")
        try:
            write_installation(paths.home(current), changed)
            switch_on(paths, [source.id])
            prune_packs(paths)
        except OSError as error:
            raise disk_error(paths.packs, error) from error
    return source


def switch_off(paths: EnginePaths, packs: Iterable[InstalledPack], reason: str) -> None:
    """Start ComfyUI without these packs from now on.

    Raises:
        OSError: the disk refuses.
    """
    off = read_json(paths.packs_off)
    write_json(paths.packs_off, {**off, **{pack.source.id: reason[:_SHOWN] for pack in packs}})


def switch_on(paths: EnginePaths, pack_ids: Iterable[str]) -> None:
    """Start ComfyUI with these packs again.

    Raises:
        OSError: the disk refuses.
    """
    off = read_json(paths.packs_off)
    left = {pack_id: reason for pack_id, reason in off.items() if pack_id not in {*pack_ids}}
    if left != off:
        write_json(paths.packs_off, left)


def prune_packs(paths: EnginePaths) -> None:
    """Delete the packs that no complete version uses.

    Raises:
        OSError: the disk refuses.
    """
    if not paths.packs.is_dir():
        return
    complete = [read_installation(folder) for folder in paths.versions.iterdir()]
    used = {pack_id for version in complete if version for pack_id in version.packs}
    for folder in paths.packs.iterdir():
        if folder.name not in used:
            shutil.rmtree(folder)


def unmanaged_packs(paths: EnginePaths) -> list[str]:
    """Return the names of the packs in ``custom_nodes``, which is left alone."""
    folder = paths.work / "custom_nodes"
    if not folder.is_dir():
        return []
    return sorted(
        entry.name
        for entry in folder.iterdir()
        if (entry / "__init__.py").is_file() or (entry.suffix == ".py" and entry.is_file())
    )


def failed_pack(log: str, packs: Sequence[InstalledPack]) -> tuple[InstalledPack, str] | None:
    """Return the pack that a log of ComfyUI says cannot be imported, with the reason.

    It writes ``Cannot import FOLDER module for custom nodes: REASON``, with or without a colored
    level before it, and goes on.
    """
    for pack in packs:
        line = rf"Cannot import {re.escape(str(pack.folder))} module for custom nodes: ?(.*)"
        if match := re.search(line, log):
            return pack, match[1].strip()[:_SHOWN]
    return None


def crashed_pack(log: str, packs: Sequence[InstalledPack]) -> InstalledPack | None:
    """Return the pack whose code is named in the last traceback of a log."""
    start = max((match.start() for match in _TRACEBACK.finditer(log)), default=None)
    if start is None:
        return None
    last = log[start:]
    places = {last.rfind(str(pack.folder)): pack for pack in packs if str(pack.folder) in last}
    return places[max(places)] if places else None


def pack_error(error: EngineError, log: str, packs: Sequence[InstalledPack]) -> EngineError:
    """Return the error of a start that failed, with the pack that is the cause as far as known."""
    if not packs:
        return error
    pack = crashed_pack(log, packs) or (packs[0] if len(packs) == 1 else None)
    if pack is None:
        names = ", ".join(pack.source.name for pack in packs)
        return EngineError(error.message, hint=f"{error.hint} Its node packs: {names}.".strip())
    return EngineError(
        f"ComfyUI does not start with the node pack {pack.source.name}. {error.message}",
        hint=f"{error.hint} Without it: comfy-ui engine packs remove {pack.source.name}".strip(),
    )


def _read(folder: Path) -> PackSource | None:
    """Return what the marker of a pack's folder holds; None if it is incomplete."""
    entry = read_json(folder / _MARKER)
    try:
        source = PackSource(**{**entry, **{name: tuple(entry[name]) for name in _TUPLES}})
    except (KeyError, TypeError):  # no file, or that of another release of comfy-ui
        return None
    return source if NAME.fullmatch(source.name) and (folder / source.name).is_dir() else None
