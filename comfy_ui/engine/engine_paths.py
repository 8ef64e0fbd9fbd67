"""The engine's folder: its parts, its lock, and which version is in use."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Final

from ..errors import EngineError, StorageError
from ..private_files import make_folder, write_private
from ..settings import Settings

__all__ = ["EnginePaths", "Installation", "exclusive"]

_MARKER: Final = "installation.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """A complete version. Its marker file is written last, so what lacks one is incomplete."""

    name: str
    version: str
    stack: str
    """The PyTorch build; empty in an existing environment."""
    python: str
    """The Python to run it with; relative to the version's folder in its own environment."""
    device: str
    torch: str
    source: str
    sha256: str | None
    installed_at: float
    plan: str
    """The digest of the plan that it was installed by."""
    tree: str = ""
    """The Git tree id of the source; empty for a folder."""
    packs: tuple[str, ...] = ()
    """The ids of its node packs, which are folders of :attr:`EnginePaths.packs`."""


@dataclass(frozen=True, slots=True)
class EnginePaths:
    """The folders and files below ``root``. Models are outside of the versions, as results are."""

    root: Path
    models: Path

    @classmethod
    def of(cls, settings: Settings) -> EnginePaths:
        """Return the paths of the settings."""
        data_dir = settings.data_dir.absolute()
        return cls(data_dir / "engine", (settings.models_dir or data_dir / "models").absolute())

    @property
    def versions(self) -> Path:
        """One folder for each complete version."""
        return self.root / "versions"

    @property
    def staging(self) -> Path:
        """The version that is being installed."""
        return self.root / "staging"

    @property
    def downloads(self) -> Path:
        """Archives that are being downloaded."""
        return self.root / "downloads"

    @property
    def cache(self) -> Path:
        """The cache of uv, whose files the environments share by hard links."""
        return self.root / "cache"

    @property
    def work(self) -> Path:
        """The working folders of ComfyUI: input, output, temp, user and custom_nodes."""
        return self.root / "work"

    @property
    def packs(self) -> Path:
        """The node packs that versions use, one folder for each by its id."""
        return self.root / "packs"

    @property
    def packs_off(self) -> Path:
        """Why ComfyUI is started without some of its node packs, by their ids."""
        return self.root / "packs_off.json"

    @property
    def server_log(self) -> Path:
        """The log of ComfyUI."""
        return self.root / "comfyui.log"

    @property
    def install_log(self) -> Path:
        """The output of the tools that the installation has run."""
        return self.root / "install.log"

    @property
    def run_file(self) -> Path:
        """The process id and port of the running ComfyUI."""
        return self.root / "run.json"

    @property
    def options_file(self) -> Path:
        """How ComfyUI is started, as chosen on the page."""
        return self.root / "options.json"

    @property
    def model_paths(self) -> Path:
        """The file that tells ComfyUI where the models are."""
        return self.root / "extra_model_paths.yaml"

    @property
    def _current(self) -> Path:
        return self.root / "current.json"

    def current(self) -> Installation | None:
        """Return the version in use, or None if nothing is installed."""
        return self._named("current")

    def previous(self) -> Installation | None:
        """Return the version that a rollback returns to, if it is complete."""
        return self._named("previous")

    def _named(self, key: str) -> Installation | None:
        name = read_json(self._current).get(key)
        return self.installation(name) if isinstance(name, str) else None

    def installation(self, name: str) -> Installation | None:
        """Return a version, or None if it is incomplete."""
        return read_installation(self.versions / name)

    def switch(self, current: str, previous: str | None) -> None:
        """Set the version in use and the one to return to, atomically.

        Raises:
            StorageError: the disk refuses; nothing has changed.
        """
        try:
            write_json(self._current, {"current": current, "previous": previous})
        except OSError as error:
            raise disk_error(self._current, error) from error

    def home(self, installation: Installation) -> Path:
        """Return the folder of a version."""
        return self.versions / installation.name

    def unused_name(self, version: str) -> str:
        """Return a name for a new version that no folder has."""
        stem = f"comfyui-{version or 'local'}"
        names = (stem if number == 1 else f"{stem}-{number}" for number in range(1, 10_000))
        return next(name for name in names if not (self.versions / name).exists())


def read_installation(folder: Path) -> Installation | None:
    """Return what the marker file of a folder holds, or None if the folder is incomplete."""
    try:
        marker = Installation(**read_json(folder / _MARKER))
        return replace(marker, name=folder.name, packs=tuple(marker.packs))
    except TypeError:  # no file, or that of another release of comfy-ui
        return None


def write_installation(folder: Path, installation: Installation) -> None:
    """Write the marker file, which makes a folder complete."""
    write_json(folder / _MARKER, asdict(installation))


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a file; empty if there is none or it cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write an object to a file, completely or not at all."""
    make_folder(path.parent)
    write_private(path, json.dumps(content, indent=1).encode())


def disk_error(path: Path, error: OSError) -> StorageError:
    """Return the error for a file that cannot be written."""
    return StorageError(
        f"{path} cannot be written: {error.strerror or error}.",
        hint="Free some space there and start again: it continues where it stopped.",
    )


@contextmanager
def exclusive(path: Path, message: str) -> Iterator[None]:
    """Hold a lock file. The system releases it if the process dies.

    Raises:
        EngineError: another process holds it, with ``message``.
    """
    make_folder(path.parent)
    with path.open("a+b") as file:
        if not _try_lock(file):
            raise EngineError(message, hint="Wait for it, or stop the other process.")
        yield


def _try_lock(file: IO[bytes]) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
