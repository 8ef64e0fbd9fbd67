"""Saved workflows: the recently opened ones, and those saved as presets."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ..errors import StorageError, ValidationError
from ..pictures import open_picture, unusable
from ..workflow.presets.preset_files import graph_text, sidecar_text
from ..workflow.presets.preset_from_workflow import slug
from ..workflow.presets.preset_store import Preset, load_preset, load_presets
from .preset_versions import PresetVersion, PresetVersions, replace_text

__all__ = ["SavedWorkflows"]

KEPT_OPENED: Final = 20
_MAX_TITLE: Final = 80
_EDITOR: Final = ".workflow.json"
"""The ending of the editor-format file that a preset was made from."""
_COVERS: Final = (".webp", ".png", ".jpg")
_COVER_PX: Final = 640


class SavedWorkflows:
    """Folders of presets in ``data_dir``: ``presets``, for all users, ``opened`` and ``tools``.

    Each preset is a NAME.json with a NAME.toml; adding two such files adds a preset. Those made
    from a file of ComfyUI's editor have it as NAME.workflow.json. All methods block.
    """

    def __init__(self, data_dir: Path) -> None:
        self.presets: Final = data_dir / "presets"
        self.opened: Final = data_dir / "opened"
        self.tools: Final = data_dir / "tools"
        self.versions: Final = PresetVersions(data_dir / "preset_versions")

    def keep_opened(self, preset: Preset, *, editor: Mapping[str, Any] | None = None) -> None:
        """Save an opened workflow, and delete the oldest beyond :data:`KEPT_OPENED`.

        Raises:
            StorageError: the disk refuses.
        """
        _write(self.opened, preset.id, _texts(preset, editor))
        sidecars = sorted(self.opened.glob("*.toml"), key=_age, reverse=True)
        for old in sidecars[KEPT_OPENED:]:
            _remove(self.opened, old.stem)

    def find_opened(self, name: str) -> tuple[Preset, dict[str, Any] | None] | None:
        """Return an opened workflow that was saved, with its editor-format file, if any."""
        path = next((path for path in self.opened.glob("*.toml") if path.stem == name), None)
        if path is None:
            return None
        try:
            return load_preset(path), self.editor_file(name)
        except ValidationError:  # not complete, or from another version
            return None

    def keep_tools(self, presets: Iterable[Preset]) -> None:
        """Make these the presets in ``tools``. Those of past jobs stay, so that they can be reused.

        Raises:
            StorageError: the disk refuses.
        """
        for preset in presets:
            if not (self.tools / f"{preset.id}.toml").exists():
                _write(self.tools, preset.id, _texts(preset, None))

    def save(
        self,
        preset: Preset,
        title: str,
        *,
        replace: bool = False,
        editor: Mapping[str, Any] | None = None,
        saved_by: str = "",
    ) -> Preset:
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
        if exists and not (self.is_own(name) and replace):
            raise ValidationError(
                f"There is a preset '{name}' already.", hint="Choose another name."
            )
        named = preset.model_copy(update={"id": name, "title": title})
        return self._save(name, _texts(named, editor), title=title, saved_by=saved_by)

    def is_own(self, name: str) -> bool:
        """Whether a preset was saved here rather than shipped."""
        return any(path.stem == name for path in self.presets.glob("*.toml"))

    def update(self, preset: Preset, *, saved_by: str = "") -> Preset:
        """Save an edited preset as its next version; return the saved preset.

        Raises:
            ValidationError: it is no preset of this folder.
            StorageError: the disk refuses.
        """
        texts = self._current(preset.id)
        texts |= _texts(preset, None)
        return self._save(preset.id, texts, title=preset.title, saved_by=saved_by)

    def duplicate(self, name: str, *, saved_by: str = "") -> Preset:
        """Copy a preset under the next free name; return the copy.

        Raises:
            ValidationError: it is no preset of this folder.
            StorageError: the disk refuses.
        """
        self._current(name)
        preset = load_preset(self.presets / f"{name}.toml")
        names = {*load_presets([self.presets])}
        titles = (f"{preset.title[: _MAX_TITLE - 8]} {number}" for number in range(2, 10_000))
        title = next(title for title in titles if slug(title) not in names)
        copy = self.save(preset, title, editor=self.editor_file(name), saved_by=saved_by)
        if preset.thumbnail is not None:
            with suppress(OSError):
                target = self.presets / f"{copy.id}{preset.thumbnail.suffix}"
                target.write_bytes(preset.thumbnail.read_bytes())
        return load_preset(self.presets / f"{copy.id}.toml")

    def delete(self, name: str) -> PresetVersion:
        """Delete a preset; return the version that :meth:`restore` brings back.

        Raises:
            ValidationError: it is no preset of this folder.
            StorageError: the disk refuses.
        """
        version = self._recorded(name)
        _remove(self.presets, name)
        return version

    def restore(self, name: str, number: int, *, saved_by: str = "") -> Preset:
        """Bring back a version of a preset, as its newest; return the preset.

        Raises:
            ValidationError: the version is not kept.
            StorageError: the disk refuses.
        """
        version = self.versions.find(name, number)
        if self.is_own(name):
            self._recorded(name)
        return self._save(name, version.files, title=version.title, saved_by=saved_by)

    def editor_file(self, name: str) -> dict[str, Any] | None:
        """Return the editor-format file that a preset was made from, if it is known."""
        for folder in (self.presets, self.opened):
            if any(path.stem == name for path in folder.glob("*.toml")):
                with suppress(OSError, ValueError):
                    editor = json.loads((folder / f"{name}{_EDITOR}").read_text(encoding="utf-8"))
                    return editor if isinstance(editor, dict) else None
        return None

    def archive(self, name: str) -> bytes:
        """Return the files of a preset as a ZIP archive.

        Raises:
            ValidationError: it is no preset of this folder.
        """
        self._current(name)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for ending in (".json", ".toml", *_COVERS):
                path = self.presets / f"{name}{ending}"
                if path.is_file():
                    archive.write(path, path.name)
        return packed.getvalue()

    def set_cover(self, name: str, content: bytes) -> None:
        """Make an image the cover of a preset.

        Raises:
            ValidationError: it is no preset of this folder, or the file is no image.
            StorageError: the disk refuses.
        """
        self._current(name)
        picture = open_picture(content)
        try:
            picture.thumbnail((_COVER_PX, _COVER_PX))
            small = io.BytesIO()
            picture.convert("RGB").save(small, "WEBP", quality=85)
        except (OSError, ValueError, SyntaxError) as error:
            raise unusable() from error
        try:
            (self.presets / f"{name}.webp").write_bytes(small.getvalue())
            for ending in _COVERS[1:]:
                (self.presets / f"{name}{ending}").unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"The cover cannot be written: {error.strerror}.") from error

    def listed(self, folder: Path) -> Sequence[Preset]:
        """Return the readable presets of a folder, newest first."""
        sidecars = sorted(folder.glob("*.toml"), key=_age, reverse=True)
        presets = load_presets([folder])
        return [presets[path.stem] for path in sidecars if path.stem in presets]

    def _save(self, name: str, texts: Mapping[str, str], *, title: str, saved_by: str) -> Preset:
        if self.is_own(name):
            self._recorded(name)  # a preset that was copied into the folder has no version yet
        _write(self.presets, name, texts)
        self.versions.add(name, texts, title=title, saved_by=saved_by)
        return load_preset(self.presets / f"{name}.toml")

    def _recorded(self, name: str) -> PresetVersion:
        """Return the version of the present files, and record one if they are none yet."""
        texts = self._current(name)
        versions = self.versions.listed(name)
        if versions and versions[0].files == texts:
            return versions[0]
        title = load_preset(self.presets / f"{name}.toml").title
        return self.versions.add(name, texts, title=title)

    def _current(self, name: str) -> dict[str, str]:
        """Return the texts of a preset of this folder."""
        if not self.is_own(name):
            raise ValidationError("This preset was not saved here, so it cannot be changed.")
        texts = {}
        for ending in (".json", ".toml", _EDITOR):
            with suppress(FileNotFoundError):
                texts[ending] = (self.presets / f"{name}{ending}").read_text(encoding="utf-8")
        return texts


def _texts(preset: Preset, editor: Mapping[str, Any] | None) -> dict[str, str]:
    """Return a preset's files as texts by their endings."""
    texts = {".json": graph_text(preset)}
    if editor is not None:
        texts[_EDITOR] = json.dumps(editor, ensure_ascii=True)
    return {**texts, ".toml": sidecar_text(preset)}


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _write(folder: Path, name: str, texts: Mapping[str, str]) -> None:
    """Write the sidecar last, because a sidecar alone is a broken preset."""
    try:
        for ending in sorted(texts, key=".toml".__eq__):
            replace_text(folder / f"{name}{ending}", texts[ending])
    except OSError as error:
        raise StorageError(f"'{name}.toml' cannot be written: {error.strerror}.") from error


def _remove(folder: Path, name: str) -> None:
    for ending in (".toml", ".json", _EDITOR, *_COVERS):
        (folder / f"{name}{ending}").unlink(missing_ok=True)
