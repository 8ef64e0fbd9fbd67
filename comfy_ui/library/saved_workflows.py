"""Saved workflows: the recently opened ones, and those saved as presets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ..errors import StorageError, ValidationError
from ..workflow.presets.preset_files import graph_text, sidecar_text
from ..workflow.presets.preset_from_workflow import slug
from ..workflow.presets.preset_store import Preset, load_preset, load_presets

__all__ = ["SavedWorkflows"]

KEPT_OPENED: Final = 20
_MAX_TITLE: Final = 80


class SavedWorkflows:
    """Two folders of presets in ``data_dir``: ``presets``, for all users, and ``opened``.

    Each preset is a NAME.json with a NAME.toml; adding two such files adds a preset. All methods
    block.
    """

    def __init__(self, data_dir: Path) -> None:
        self.presets: Final = data_dir / "presets"
        self.opened: Final = data_dir / "opened"

    def keep_opened(self, preset: Preset) -> None:
        """Save an opened workflow, and delete the oldest beyond :data:`KEPT_OPENED`.

        Raises:
            StorageError: the disk refuses.
        """
        _write(self.opened, preset)
        sidecars = sorted(self.opened.glob("*.toml"), key=_age, reverse=True)
        for old in sidecars[KEPT_OPENED:]:
            old.unlink(missing_ok=True)
            old.with_suffix(".json").unlink(missing_ok=True)

    def save(self, preset: Preset, title: str, *, replace: bool = False) -> Preset:
        """Save a workflow as a preset with a title; return the saved preset.

        Raises:
            ValidationError: the title is empty, or a preset has this name. ``replace`` overwrites a
                preset of this folder.
            StorageError: the disk refuses.
        """
        title = " ".join(title.split())[:_MAX_TITLE]
        name = slug(title)
        if not name:
            raise ValidationError("Give it a name.", hint="Letters and digits, for instance.")
        exists = name in load_presets([self.presets])
        own = (self.presets / f"{name}.toml").exists()
        if exists and not (own and replace):
            raise ValidationError(
                f"There is a preset '{name}' already.", hint="Choose another name."
            )
        _write(self.presets, preset.model_copy(update={"id": name, "title": title}))
        return load_preset(self.presets / f"{name}.toml")

    def listed(self, folder: Path) -> Sequence[Preset]:
        """Return the readable presets of a folder, newest first."""
        sidecars = sorted(folder.glob("*.toml"), key=_age, reverse=True)
        presets = load_presets([folder])
        return [presets[path.stem] for path in sidecars if path.stem in presets]


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _write(folder: Path, preset: Preset) -> None:
    """Write the graph before the sidecar, because a sidecar alone is a broken preset."""
    sidecar = folder / f"{preset.id}.toml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in (
            (sidecar.with_suffix(".json"), graph_text(preset)),
            (sidecar, sidecar_text(preset)),
        ):
            partial = path.with_name(f".{path.name}.new")
            partial.write_text(text, encoding="utf-8")
            partial.replace(path)
    except OSError as error:
        raise StorageError(f"'{sidecar.name}' cannot be written: {error.strerror}.") from error
