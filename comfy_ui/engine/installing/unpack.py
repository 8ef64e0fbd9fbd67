"""Unpack a source archive, or copy a source folder, without leaving the target folder."""

from __future__ import annotations

import hashlib
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Final, Self

from ...errors import EngineError
from .git_tree import BlobHash, GitTree

__all__ = ["copy_folder", "file_sha256", "unpack"]

_CHUNK_BYTES: Final = 1 << 20
_MAX_FILES: Final = 100_000
_MAX_BYTES: Final = 4 * 10**9
ENTRY_POINT: Final = "main.py"
PACK_ENTRY_POINT: Final = "__init__.py"
# Of a working copy: results, models and history of its own. Input has examples that nodes list.
_NOT_SOURCE: Final = frozenset({".git", "models", "output", "temp", "user", "venv", ".venv"})

Advance = Callable[[int], None]
"""Called with the number of bytes just written; raises to stop."""


def file_sha256(path: Path, advance: Advance) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            advance(len(chunk))
    return digest.hexdigest()


def unpack(archive: Path, target: Path, advance: Advance, *, entry_point: str = ENTRY_POINT) -> str:
    """Unpack the folder with ``entry_point`` of an archive to ``target``, which must not exist.

    Returns its Git tree id.

    Links and special files are left out: the source of ComfyUI has none.

    Raises:
        EngineError: it is no archive, has no such file, or a path leaves the folder.
        OSError: the disk refuses.
    """
    try:
        with _members(archive) as listing:
            top = _top_folder(listing.names, entry_point)
            written = 0
            tree = GitTree()
            for number, member in enumerate(listing.files()):
                relative = _inside(member.name, top)
                if relative is None:
                    continue
                path = target / relative
                path.parent.mkdir(parents=True, exist_ok=True)
                blob = BlobHash(member.size_bytes)
                with member.open() as source, path.open("xb") as file:
                    while chunk := source.read(_CHUNK_BYTES):
                        written += len(chunk)
                        if number > _MAX_FILES or written > _MAX_BYTES:
                            raise EngineError(f"{archive.name} is too large for a source archive.")
                        file.write(chunk)
                        blob.update(chunk)
                        advance(len(chunk))
                tree.add(relative, blob.digest(), executable=member.executable)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, NotImplementedError) as error:
        raise EngineError(
            f"{archive.name} cannot be unpacked: {error}.",
            hint="Download it again, or choose another archive.",
        ) from error
    return tree.id


def copy_folder(source: Path, target: Path, advance: Advance) -> None:
    """Copy the source of a working copy, without its models and results.

    Raises:
        EngineError: there is no ComfyUI in it.
        OSError: the disk refuses.
    """
    if not (source / ENTRY_POINT).is_file():
        raise EngineError(f"There is no ComfyUI in {source}.", hint="It has no main.py.")

    def ignored(folder: str, names: list[str]) -> set[str]:
        skipped = {name for name in names if name == "__pycache__"}
        return skipped | (_NOT_SOURCE & {*names} if Path(folder) == source else set())

    def copy(one: str, other: str) -> str:
        advance(Path(one).stat().st_size)
        return shutil.copy2(one, other)

    shutil.copytree(source, target, ignore=ignored, copy_function=copy)


@dataclass(frozen=True, slots=True)
class _Member:
    """A regular file of an archive."""

    name: str
    size_bytes: int
    executable: bool
    open: Callable[[], IO[bytes]]


@dataclass(frozen=True, slots=True)
class _Listing:
    """The members of an archive. Closes it at the end of ``with``."""

    archive: zipfile.ZipFile | tarfile.TarFile
    names: tuple[str, ...]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.archive.close()

    def files(self) -> Iterator[_Member]:
        """The regular files, in the order of the archive."""
        if isinstance(self.archive, zipfile.ZipFile):
            for entry in self.archive.infolist():
                mode = entry.external_attr >> 16  # 0 in archives that were not made on Unix
                if not entry.is_dir() and not stat.S_ISLNK(mode):
                    yield _Member(
                        entry.filename,
                        entry.file_size,
                        bool(mode & stat.S_IXUSR),
                        partial(self.archive.open, entry),
                    )
        else:
            for member in self.archive:
                if member.isfile():
                    yield _Member(
                        member.name,
                        member.size,
                        bool(member.mode & stat.S_IXUSR),
                        partial(self.archive.extractfile, member),  # type: ignore[arg-type]
                    )


def _members(archive: Path) -> _Listing:
    if zipfile.is_zipfile(archive):
        zipped = zipfile.ZipFile(archive)
        return _Listing(zipped, tuple(zipped.namelist()))
    packed = tarfile.open(archive)  # noqa: SIM115 -- _Listing closes it
    return _Listing(packed, tuple(packed.getnames()))


def _top_folder(names: tuple[str, ...], entry_point: str) -> PurePosixPath:
    """The folder that holds ``entry_point``: the top of the archive, or the only folder there."""
    entries = [PurePosixPath(name) for name in names]
    tops = [path.parent for path in entries if path.name == entry_point]
    top = min(tops, key=lambda path: len(path.parts), default=None)
    if top is None or len(top.parts) > 1:
        part = "ComfyUI" if entry_point == ENTRY_POINT else "node pack"
        raise EngineError(f"There is no {part} in the archive.", hint=f"It has no {entry_point}.")
    return top


def _inside(name: str, top: PurePosixPath) -> PurePosixPath | None:
    """The path of a member below the top folder; None for files beside it.

    Raises:
        EngineError: the path leaves the folder.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name:
        raise EngineError(
            f"The archive has a file outside of its folder: {name[:100]}.",
            hint="Do not use this archive.",
        )
    return path.relative_to(top) if path.is_relative_to(top) else None
