"""The engine's folders (input, output, temp); nothing outside is read or written."""

from __future__ import annotations

import re
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

Kind = Literal["input", "output", "temp"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_ANNOTATION = re.compile(r"^(?P<name>.*) \[(?P<kind>input|output|temp)\]$", re.DOTALL)
_COUNTED = re.compile(r"^(?P<stem>.*)_(?P<number>\d+)_?\.[^.]*$", re.DOTALL)


class OutsideError(ValueError):
    """A path leads out of its folder."""


@dataclass(frozen=True, slots=True)
class OutputName:
    """An output file to be written, named as ComfyUI names it."""

    path: Path
    filename: str
    subfolder: str
    kind: Kind

    def entry(self) -> dict[str, str]:
        return {"filename": self.filename, "subfolder": self.subfolder, "type": self.kind}


def split_annotation(name: str) -> tuple[str, Kind | None]:
    """Split ``"a.png [temp]"`` into ``("a.png", "temp")``; the suffix wins over the type."""
    match = _ANNOTATION.match(name)
    return (match["name"], cast("Kind", match["kind"])) if match else (name, None)


class Folders:
    """Three folders below ``root``, created if missing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.Lock()
        self._counters: dict[tuple[Path, str], int] = {}
        for kind in KINDS:
            self[kind].mkdir(parents=True, exist_ok=True)

    def __getitem__(self, kind: Kind) -> Path:
        return self.root / kind

    def clear_temp(self) -> None:
        shutil.rmtree(self["temp"], ignore_errors=True)
        self["temp"].mkdir(parents=True, exist_ok=True)

    def inside(self, kind: Kind, *parts: str) -> Path:
        """Return the path of ``parts`` below a folder.

        Raises:
            OutsideError: it would be outside, or is not a valid file name.
        """
        base = self[kind].resolve()
        if any("\0" in part for part in parts):
            raise OutsideError("a zero byte in a file name")
        path = base.joinpath(*parts).resolve()
        if path != base and base not in path.parents:
            raise OutsideError(str(Path(*parts)))
        return path

    def find(self, name: str, default: Kind = "input") -> Path | None:
        """Find the existing file of a loader's value, ``sub/name.png [temp]``, or None."""
        plain, kind = split_annotation(name)
        try:
            path = self.inside(kind or default, plain)
        except OutsideError:
            return None
        return path if path.is_file() else None

    def inputs(self, suffixes: frozenset[str] | None = None) -> list[str]:
        """List the names of files at the top of ``input/``, sorted."""
        files = (path for path in self["input"].iterdir() if path.is_file())
        return sorted(p.name for p in files if suffixes is None or p.suffix.lower() in suffixes)

    def models(self, folder: str) -> list[str]:
        """List files placed into ``models/FOLDER``; the engine paints without them."""
        base = self.root / "models" / folder
        if not base.is_dir():
            return []
        return [path.relative_to(base).as_posix() for path in base.rglob("*") if path.is_file()]

    def next(self, prefix: str, suffix: str, *, kind: Kind = "output") -> OutputName:
        """Return a new file name ``prefix_00001_suffix``, continuing the count of the folder.

        Raises:
            OutsideError: the prefix leaves the folder.
        """
        subfolder, _, stem = prefix.replace("\\", "/").rpartition("/")
        folder = self.inside(kind, subfolder)
        with self._lock:
            folder.mkdir(parents=True, exist_ok=True)
            key = (folder, stem)
            number = self._counters.get(key)
            if number is None:
                number = max(
                    (
                        int(match["number"])
                        for path in folder.iterdir()
                        if (match := _COUNTED.match(path.name)) and match["stem"] == stem
                    ),
                    default=0,
                )
            self._counters[key] = number + 1
        filename = f"{stem}_{number + 1:05}_{suffix}"
        relative = folder.relative_to(self[kind].resolve()).as_posix()
        return OutputName(folder / filename, filename, "" if relative == "." else relative, kind)

    def store(
        self, kind: Kind, subfolder: str, filename: str, data: bytes, *, overwrite: bool
    ) -> str:
        """Store an upload and return its name: the same for the same bytes, else ``name (1).png``.

        Raises:
            OutsideError: the name or subfolder leaves the folder.
        """
        folder = self.inside(kind, subfolder)
        path = self.inside(kind, subfolder, filename)
        if path.parent != folder:
            raise OutsideError(filename)
        folder.mkdir(parents=True, exist_ok=True)
        with self._lock:
            number = 0
            while not overwrite and path.exists():
                if path.stat().st_size == len(data) and path.read_bytes() == data:
                    return path.name
                number += 1
                path = folder / f"{Path(filename).stem} ({number}){Path(filename).suffix}"
            path.write_bytes(data)
        return path.name
