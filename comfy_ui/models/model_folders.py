"""The model folders of the server, if they are on this machine."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ..client import ComfyWSClient, parse_address
from ..client.transfer.files import safe_name
from ..client.transport.address import is_loopback
from ..errors import ComfyHeadlessError, MissingModel, ValidationError
from ..workflow.checks.requirements import known_models

__all__ = ["ModelFolders", "find_model_folders", "is_local"]

_FOLDER: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Formats that hold only tensors. Loading any other format can run code.
_PLAIN: Final = (".safetensors", ".sft", ".gguf")
_COMPARED: Final = 20


@dataclass(frozen=True, slots=True)
class ModelFolders:
    """The folders that the server reads models from; ``base`` contains those not in ``known``.

    Without either, the server's files are on another machine.
    """

    base: Path | None = None
    known: Mapping[str, Path] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.base is not None or bool(self.known)

    def takes(self, model: MissingModel) -> bool:
        """Whether a model file can be downloaded into its folder."""
        try:
            self.place(model)
        except ValidationError:
            return False
        return model.url is not None

    def find(self, folder: str, name: str) -> Path | None:
        """Return the path of a file that the server lists, if it is on this machine."""
        base = self.known.get(folder) or (self.base / folder if self.base else None)
        parts = name.replace("\\", "/").split("/")
        if base is None or not _FOLDER.fullmatch(folder) or {"", ".", ".."} & {*parts}:
            return None
        path = base.joinpath(*parts)
        try:
            return path if path.is_file() else None
        except (OSError, ValueError):
            return None

    def listed(self) -> list[tuple[str, Path]]:
        """Return the existing folders below ``models/`` by name."""
        found = dict(self.known)
        if self.base is not None and self.base.is_dir():
            for path in self.base.iterdir():
                if path.is_dir() and _FOLDER.fullmatch(path.name):
                    found.setdefault(path.name, path)
        return sorted(found.items())

    def path(self, folder: str, name: str) -> Path:
        """Return the path for a file in a folder, which stays in it.

        Raises:
            ValidationError: the folder is not on this machine, or the name is invalid.
        """
        path = self.known.get(folder) or (
            self.base / folder if self.base and _FOLDER.fullmatch(folder) else None
        )
        if path is None:
            raise ValidationError(
                f"The folder '{folder[:100]}' is not on this machine.",
                hint="Set COMFY_UI_MODELS_DIR to ComfyUI's models folder.",
            )
        parts = name.replace("\\", "/").split("/")
        if any(safe_name(part) != part for part in parts):
            raise ValidationError(f"'{name[:200]}' is not a valid file name.")
        return path.joinpath(*parts)

    def place(self, model: MissingModel) -> Path:
        """Return the path of a model file.

        Folder and name may come from an untrusted workflow: the path stays in the folder, and a
        format that can run code must be known from a shipped preset.

        Raises:
            ValidationError: the folder is not on this machine, the name is invalid, or the format
                can run code.
        """
        path = self.path(model.folder, model.filename)
        if not model.filename.lower().endswith(_PLAIN):
            shipped = known_models().get(path.name)
            if shipped is None or shipped.url is None or shipped.url != model.url:
                raise ValidationError(
                    f"'{model.filename[:200]}' has a format that can run code when it is loaded.",
                    hint="Download it yourself if you trust the source.",
                )
        return path


async def find_model_folders(client: ComfyWSClient, models_dir: Path | None) -> ModelFolders:
    """Return the model folders of a server: ``models_dir``, or those that the server reports.

    Reported folders are used only if the server is on this machine and the files that it lists
    exist, because a local address may be the end of a tunnel.
    """
    if models_dir is not None:
        return ModelFolders(base=models_dir)
    if not is_local(client.url):
        return ModelFolders()
    try:
        reported = await client.model_paths()
    except ComfyHeadlessError:
        return ModelFolders()
    writable = await asyncio.to_thread(_writable, reported)
    for name in ("checkpoints", "diffusion_models"):
        try:
            listed = await client.models(name) if name in writable else []
        except ComfyHeadlessError:
            return ModelFolders()
        paths = [Path(path) for path in reported.get(name, ())]
        if not await asyncio.to_thread(_all_there, listed[:_COMPARED], paths):
            return ModelFolders()
    return ModelFolders(known=writable)


def is_local(url: str) -> bool:
    """Whether an address is this machine's own, though it may be the end of a tunnel."""
    return is_loopback(parse_address(url).host)


def _writable(reported: Mapping[str, list[str]]) -> dict[str, Path]:
    """Return the first writable path of each folder."""
    writable = {}
    for name, paths in reported.items():
        for path in map(Path, paths):
            if path.is_absolute() and path.is_dir() and os.access(path, os.W_OK):
                writable[name] = path
                break
    return writable


def _all_there(names: list[str], paths: list[Path]) -> bool:
    return all(any((path / name.replace("\\", "/")).is_file() for path in paths) for name in names)
