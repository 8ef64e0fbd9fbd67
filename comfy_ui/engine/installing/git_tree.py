"""The id that Git gives to a folder's content, computed without Git.

A commit names its files by one tree id, a SHA-1 over all paths, executable bits and contents
(https://git-scm.com/book/en/v2/Git-Internals-Git-Objects). It does not depend on how an archive
was packed, which forges do not keep stable. SHA-1 no longer resists collisions, so it does not
protect from the author of the commit; other files cannot be made to fit a given id.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

__all__ = ["BlobHash", "GitTree"]

_FILE: Final = b"100644"
_EXECUTABLE: Final = b"100755"
_FOLDER: Final = b"40000"


class BlobHash:
    """The id of a file's content, which is passed piece by piece.

    Args:
        size_bytes: the size of the whole content.
    """

    def __init__(self, size_bytes: int) -> None:
        self._hash = hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False)

    def update(self, chunk: bytes) -> None:
        """Add the next piece."""
        self._hash.update(chunk)

    def digest(self) -> bytes:
        """Return the 20 bytes of the id."""
        return self._hash.digest()


@dataclass(slots=True)
class GitTree:
    """The files of a folder. Git keeps no empty folders."""

    files: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    folders: dict[str, GitTree] = field(default_factory=dict)

    def add(self, path: PurePosixPath, blob: bytes, *, executable: bool = False) -> None:
        """Add a file by its path in the folder and the id of its content."""
        tree = self
        for part in path.parts[:-1]:
            tree = tree.folders.setdefault(part, GitTree())
        tree.files[path.name] = (_EXECUTABLE if executable else _FILE, blob)

    @property
    def id(self) -> str:
        """The tree id, 40 hex digits."""
        return self._digest().hex()

    def _digest(self) -> bytes:
        entries = [(name.encode(), mode, blob) for name, (mode, blob) in self.files.items()]
        # Git sorts a folder as if its name ended in a slash.
        entries += [
            (name.encode() + b"/", _FOLDER, tree._digest())  # noqa: SLF001
            for name, tree in self.folders.items()
        ]
        content = b"".join(
            mode + b" " + name.removesuffix(b"/") + b"\0" + digest
            for name, mode, digest in sorted(entries)
        )
        return hashlib.sha1(b"tree %d\0" % len(content) + content, usedforsecurity=False).digest()
