"""The SQLite database: one file, one thread that uses it, all or nothing of each call.

The functions of the ``*_table`` modules take the connection as their first argument:
``await database.run(jobs_table.insert, job)``.

Raw SQLite instead of an ORM: the statements are few, and their indexes are chosen by hand.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

from ..errors import StorageError
from ..private_files import make_folder, restrict
from .database_schema import create_or_check
from .group_commit import GroupCommit, transaction
from .recovery import (
    RecoveredDatabase,
    holds_results,
    is_broken,
    is_empty,
    move_aside,
    recover,
)
from .single_thread import SingleThread

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)

DATABASE_FILE: Final = "comfy_ui.db"
_LOCK_FILE: Final = "comfy_ui.lock"


class Database:
    """One connection in one thread, and a lock against other processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = SingleThread("comfy-ui-db")
        self._calls = GroupCommit(self._thread)
        self._lock: sqlite3.Connection | None = None
        self._connection: sqlite3.Connection | None = None
        self.recovered: RecoveredDatabase | None = None
        """The result of the recovery if the file was broken."""

    async def open(self) -> None:
        """Open the file; create it if it does not exist.

        Raises:
            StorageError: the folder cannot be used, another process uses it, or another version
                wrote the file.
        """
        try:
            await self._thread.run(self._open)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the file and end the thread. May be called twice."""
        await self._calls.finish()
        await self._thread.close(self._close)

    async def run(
        self, call: Callable[Concatenate[sqlite3.Connection, P], R], *args: P.args, **kw: P.kwargs
    ) -> R:
        """Run ``call(connection, …)`` in the thread; return when its changes are on disk.

        Calls that wait at the same time share a transaction, see :mod:`.group_commit`.

        Raises:
            StorageError: the disk or the database failed; nothing was changed.
            ValidationError: a value cannot be stored.
        """
        connection = self._connection
        if connection is None:
            raise StorageError("The database is closed.", hint="Open it again.")
        return await self._calls.run(connection, lambda c: call(c, *args, **kw))

    def _open(self) -> None:
        try:
            make_folder(self._folder)
            path, lock = self._folder / DATABASE_FILE, self._folder / _LOCK_FILE
            old = self._folder / "studio.db"
            for file in (lock, path, *self._folder.glob("*.db*")):
                restrict(file)
            self._lock = lock_folder(self._folder)
            if old.exists() and not path.exists():
                logger.warning(
                    "%s is from a version before the first release and cannot be read; it stays as"
                    " it is. Its images are in %s: import that folder in the Library.",
                    old,
                    self._folder / "files",
                )
            if is_broken(path):
                aside = move_aside(path)
                self.recovered = recover(aside, self._connect(path))
            elif is_empty(path) and holds_results(self._folder) and not old.exists():
                move_aside(path)  # its journal
                self._connect(path)
                self.recovered = RecoveredDatabase(None, 0, 0)
            else:
                self._connect(path)
            if self.recovered:
                logger.warning("%s", self.recovered)
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"The folder {self._folder} cannot be used: {error}.") from error

    def _connect(self, path: Path) -> sqlite3.Connection:
        path.touch(mode=0o600)  # SQLite gives its journals the same permissions
        # Autocommit: only group_commit begins and ends transactions.
        connection = sqlite3.connect(path, isolation_level=None)
        self._connection = connection
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # an accepted job survives a power cut
        connection.execute("PRAGMA foreign_keys = ON")
        transaction(connection, create_or_check)
        return connection

    def _close(self) -> None:
        for connection in (self._connection, self._lock):
            if connection is not None:
                connection.close()
        self._connection = self._lock = None


def lock_folder(folder: Path, *, shared: bool = False) -> sqlite3.Connection:
    """Return an open lock on a data folder, which the operating system drops with the process.

    Two processes on one folder would run every job twice, unless they leave that to others: these
    may have ``shared`` locks at the same time. SQLite's file locks behave the same on all systems,
    unlike fcntl and msvcrt.

    Raises:
        StorageError: another process has the lock.
    """
    path = folder / _LOCK_FILE
    path.touch(mode=0o600)
    lock = sqlite3.connect(path, isolation_level=None, timeout=0)
    try:
        lock.execute("PRAGMA journal_mode = DELETE")
        lock.execute("BEGIN" if shared else "BEGIN EXCLUSIVE")
        lock.execute("SELECT * FROM sqlite_master")  # only a read takes the lock of a plain BEGIN
    except sqlite3.Error as error:
        lock.close()
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
        raise StorageError(
            f"Another comfy-ui is using the folder {folder}.",
            hint="Close it, or choose another folder with --data-dir.",
        ) from error
    return lock
