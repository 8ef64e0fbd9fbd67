"""Files of the data folder that only the account that runs the app can read.

:class:`FileDocuments` keeps logins, keys and the like in such files. With a PostgreSQL database,
:class:`.scale.postgres_documents.PostgresDocuments` keeps them there, for several apps.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from .errors import StorageError

__all__ = [
    "DOCUMENTS",
    "Document",
    "Documents",
    "FileDocuments",
    "make_folder",
    "restrict",
    "write_private",
]

DOCUMENTS: Final = (
    "accounts.json",
    "api_key_uses.json",
    "api_keys.json",
    "invitations.json",
    "remembered_logins.json",
    "secret.key",
    "servers.json",
    "settings.json",
    "storage_limits.json",
)
"""The names of all documents: files below the data folder, if there is no other database."""
_LOCK_FILE: Final = "documents.lock"
_LOCK_WAIT_S: Final = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """One content of a document. Another content is another object."""

    content: bytes


class Documents(Protocol):
    """Small private documents by name. All methods may block, and may be called in any thread."""

    shared: bool
    """Whether other apps may have the same documents open."""

    def read(self, name: str) -> Document | None:
        """Return a document, the same object until it changes; None if it does not exist.

        Raises:
            StorageError: it cannot be read.
        """

    def update(self, name: str, change: Callable[[bytes | None], bytes]) -> None:
        """Replace the content of a document by what ``change`` makes of it, all or nothing.

        Meanwhile, no other process can change it. ``change`` may be called again after an error.

        Raises:
            StorageError: it cannot be read or written; nothing was changed.
        """

    def refresh(self) -> None:
        """Let :meth:`read` return what other apps have written until now.

        Without it, what they write may reach this app a moment later.

        Raises:
            StorageError: it cannot be read.
        """

    def place(self, name: str) -> str:
        """Return where a document is, for errors."""

    def close(self) -> None:
        """Close the documents."""


class FileDocuments:
    """The :class:`Documents` of a data folder, read again after each change by another process."""

    shared = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cached: dict[str, tuple[tuple[int, int, int], Document]] = {}

    def read(self, name: str) -> Document | None:
        """Return a document, see :meth:`Documents.read`."""
        path = self._folder / name
        try:
            about = path.stat()
            stamp = about.st_mtime_ns, about.st_size, about.st_ino
            cached = self._cached.get(name)
            if cached is None or cached[0] != stamp:
                restrict(path)
                cached = self._cached[name] = stamp, Document(path.read_bytes())
            return cached[1]
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"{path} cannot be read: {error.strerror}.") from error

    def update(self, name: str, change: Callable[[bytes | None], bytes]) -> None:
        """Change a document, see :meth:`Documents.update`."""
        path = self._folder / name
        try:
            make_folder(self._folder)
            with self._lock():
                document = self.read(name)
                old = document.content if document is not None else None
                if (content := change(old)) != old:
                    write_private(path, content)
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error.strerror}.") from error

    def refresh(self) -> None:
        """Do nothing: each read looks at the file."""

    def place(self, name: str) -> str:
        """Return the path of a document."""
        return str(self._folder / name)

    def close(self) -> None:
        """Do nothing: no file stays open."""

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Keep other threads and processes out. SQLite locks files alike on all systems."""
        path = self._folder / _LOCK_FILE
        path.touch(mode=0o600)
        with closing(
            sqlite3.connect(path, isolation_level=None, timeout=_LOCK_WAIT_S)
        ) as connection:
            try:
                connection.execute("BEGIN EXCLUSIVE")
            except sqlite3.Error as error:
                raise StorageError(f"{path} cannot be locked: {error}.") from error
            yield


def make_folder(folder: Path) -> None:
    """Create a folder that other accounts cannot enter.

    An existing folder keeps its permissions, because its owner may share it on purpose.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def restrict(path: Path) -> None:
    """Take the rights of other accounts away from a file, if there is one."""
    with suppress(OSError):  # it does not exist, or another account owns it
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)


def write_private(path: Path, content: bytes, *, overwrite: bool = True) -> None:
    """Write a file completely or not at all, also across a power cut.

    Raises:
        FileExistsError: the file exists and ``overwrite`` is False.
        OSError: the disk refuses; nothing was changed.
    """
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        temporary = Path(file.name)
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            temporary.unlink()
            raise
    try:
        if overwrite:
            temporary.replace(path)
        else:
            _link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _link(source: Path, path: Path) -> None:
    """Give a file a second name that does not exist yet."""
    try:
        os.link(source, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if path.exists():
            raise FileExistsError(path) from None
        source.replace(path)
