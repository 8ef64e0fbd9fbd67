"""The earlier versions of saved presets, in files beside them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError as PydanticValidationError

from ..errors import StorageError, ValidationError

__all__ = ["KEPT_VERSIONS", "PresetVersion", "PresetVersions", "replace_text"]

KEPT_VERSIONS: Final = 20


class PresetVersion(BaseModel):
    """One version of a preset. ``files`` are its texts by ending: ``.toml``, ``.json``, …"""

    model_config = ConfigDict(frozen=True)

    number: int
    saved_at: float
    """Unix time in seconds."""
    saved_by: str = ""
    """The ``user_id``; empty for a version whose author was not recorded."""
    title: str
    files: dict[str, str]


class PresetVersions:
    """A folder with one folder for each preset, which has a JSON file for each version.

    The newest version is the preset as it was last saved, also after its deletion. All methods
    block.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(
        self, name: str, files: Mapping[str, str], *, title: str, saved_by: str = ""
    ) -> PresetVersion:
        """Store a version, and delete the oldest beyond :data:`KEPT_VERSIONS`.

        Raises:
            StorageError: the disk refuses.
        """
        versions = self.listed(name)
        version = PresetVersion(
            number=versions[0].number + 1 if versions else 1,
            saved_at=time.time(),
            saved_by=saved_by,
            title=title,
            files=dict(files),
        )
        try:
            replace_text(self._path(name, version.number), version.model_dump_json(indent=1))
            for old in versions[KEPT_VERSIONS - 1 :]:
                self._path(name, old.number).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(
                f"The version of '{name}' cannot be written: {error.strerror}."
            ) from error
        return version

    def listed(self, name: str) -> list[PresetVersion]:
        """Return the readable versions of a preset, newest first."""
        versions = []
        known = [folder for folder in self._folder.glob("*") if folder.name == name]
        for path in (path for folder in known for path in folder.glob("*.json")):
            try:
                text = path.read_text(encoding="utf-8")
                versions.append(PresetVersion.model_validate_json(text))
            except (OSError, ValueError, PydanticValidationError):
                continue  # one broken file does not hide the others
        return sorted(versions, key=lambda version: -version.number)

    def find(self, name: str, number: int) -> PresetVersion:
        """Return one version.

        Raises:
            ValidationError: it is not kept.
        """
        for version in self.listed(name):
            if version.number == number:
                return version
        raise ValidationError("This version is no longer kept.", hint="Choose another one.")

    def _path(self, name: str, number: int) -> Path:
        return self._folder / name / f"{number:06}.json"


def replace_text(path: Path, text: str) -> None:
    """Write a file so that readers see the old or the new text, never a part. Raises OSError."""
    partial = path.with_name(f".{path.name}.new")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
