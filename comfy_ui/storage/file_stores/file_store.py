"""Where the files of results and uploads are, and the folder that keeps them by default."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

__all__ = ["FileStore", "FolderFileStore", "clear_incoming"]

ABANDONED_S: Final = 86400.0
"""An incomplete download that has not grown for this long belongs to a process that ended."""


class FileStore(Protocol):
    """Files that never change, by key, such as ``files/ab/abcdef….png``.

    A file is written at ``folder / key`` first and then kept by :meth:`save`. Every method blocks
    and may be called by any thread.

    Attributes:
        folder: where files are written and read, see :meth:`local`.
        remote: whether the files are elsewhere, and the folder has copies of some of them.
    """

    folder: Path
    remote: bool

    def prepare(self) -> None:
        """Create the folder and delete incomplete downloads.

        Raises:
            OSError: the disk refuses.
            StorageError: the store cannot be used.
        """

    def check(self) -> None:
        """Raise StorageError if the store cannot be used now."""

    def save(self, key: str, *, refresh: bool = True) -> None:
        """Keep the file that is at ``folder / key``; afterwards, other processes have it.

        ``refresh``: it counts as new, even if the store has it already.

        Raises:
            StorageError: the store cannot be used; the same call may succeed later.
        """

    def local(self, key: str) -> Path:
        """Return ``folder / key`` once the file is there, if the store has it.

        Raises:
            StorageError: the store cannot be used, or its file is damaged.
        """

    def exists(self, key: str) -> bool:
        """Whether the store has the file.

        Raises:
            StorageError: the store cannot be used.
        """

    def touch(self, key: str) -> bool:
        """Mark a file as used now, give or take a day; False if the store does not have it.

        Raises:
            StorageError: the store cannot be used.
        """

    def modified_at(self, key: str) -> float:
        """Return when the file was saved or touched, in seconds since the epoch.

        Raises:
            FileNotFoundError: the store does not have it.
            StorageError: the store cannot be used.
        """

    def delete(self, key: str) -> None:
        """Delete a file. One that does not exist is no error.

        Raises:
            OSError: the disk refuses.
            StorageError: the store cannot be used.
        """

    def list(self, prefix: str) -> Mapping[str, float]:
        """Return the keys that start with ``prefix``, which has a folder, and their times.

        Raises:
            StorageError: the store cannot be used.
        """

    def link(self, key: str, *, filename: str, media_type: str) -> str | None:
        """Return a signed address that downloads the file for some minutes.

        None: downloads go through the app.
        """


class FolderFileStore:
    """Files in a folder, which several processes may share if ``shared`` says so."""

    remote = False

    def __init__(self, folder: Path, *, shared: bool = False) -> None:
        self.folder = folder
        self._shared = shared

    def prepare(self) -> None:
        """Create the folder and delete incomplete downloads of killed processes."""
        clear_incoming(self.folder, min_age_s=ABANDONED_S if self._shared else 0.0)
        for name in ("files", "thumbs"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def check(self) -> None:
        """Do nothing: each call says itself what is wrong with the disk."""

    def save(self, key: str, *, refresh: bool = True) -> None:
        """Do nothing: the file is in the folder."""

    def local(self, key: str) -> Path:
        """Return the path of a file, whether it exists or not."""
        return self.folder / key

    def exists(self, key: str) -> bool:
        """Whether the file is in the folder."""
        return (self.folder / key).is_file()

    def touch(self, key: str) -> bool:
        """Set the modification time of a file; False if there is no such file."""
        path = self.folder / key
        if not path.is_file():
            return False
        with suppress(FileNotFoundError):
            os.utime(path)
        return True

    def modified_at(self, key: str) -> float:
        """Return the modification time of a file."""
        return (self.folder / key).stat().st_mtime

    def delete(self, key: str) -> None:
        """Delete a file."""
        (self.folder / key).unlink(missing_ok=True)

    def list(self, prefix: str) -> Mapping[str, float]:
        """Return the files whose paths start with a prefix."""
        parent, _, start = prefix.rpartition("/")
        found: dict[str, float] = {}
        for path in (self.folder / parent).rglob(f"{start}*"):
            with suppress(FileNotFoundError):  # a partial file that was renamed
                if path.is_file():
                    found[path.relative_to(self.folder).as_posix()] = path.stat().st_mtime
        return found

    def link(self, key: str, *, filename: str, media_type: str) -> str | None:
        """Return None: a folder has no addresses."""


def clear_incoming(folder: Path, *, min_age_s: float) -> None:
    """Create ``incoming`` in a folder, and delete what has not changed there for ``min_age_s``."""
    incoming = folder / "incoming"
    if min_age_s <= 0:
        shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir(parents=True, exist_ok=True)
    for path in incoming.iterdir():
        with suppress(FileNotFoundError):  # another process is faster
            if time.time() - path.stat().st_mtime > min_age_s:
                path.unlink()
