"""The studio's database: one SQLite file, one thread that touches it, one transaction a call.

The tables are read and written by the functions of :mod:`.jobs_table` and :mod:`.items_table`,
which get
the connection: ``await database.run(jobs.insert, job)``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

from ..errors import StorageError, ValidationError
from . import quota
from .recovery import RecoveredDatabase, is_broken, move_aside, rescue
from .single_thread import SingleThread

P = ParamSpec("P")
R = TypeVar("R")

_JOBS = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    preset TEXT NOT NULL,
    vals TEXT NOT NULL,             -- JSON: the values asked for, with the concrete seed
    prompt TEXT NOT NULL,
    seed TEXT,                      -- decimal: ComfyUI's go up to 2**64 - 1, SQLite's do not
    graph TEXT NOT NULL,            -- JSON: what ComfyUI gets
    status TEXT NOT NULL,
    rank REAL NOT NULL,             -- the user_id's own order, lowest first
    work REAL NOT NULL,             -- relative size, see fair.work
    cost_s REAL NOT NULL,           -- estimate
    start_tag REAL,                 -- fair queuing, set when the job gets its turn
    finish_tag REAL,
    server TEXT,
    prompt_id TEXT UNIQUE,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    started_at REAL,
    finished_at REAL,
    outputs TEXT,                   -- JSON: files and texts, once ComfyUI is done
    error TEXT                      -- JSON
)"""

_ITEMS = """
CREATE TABLE items (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id TEXT NOT NULL REFERENCES jobs(id),
    source TEXT NOT NULL,           -- node, type, subfolder, filename at the server
    user_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    filename TEXT NOT NULL,
    media_type TEXT NOT NULL,
    path TEXT NOT NULL,             -- relative to the data folder, so that this can be moved
    thumbnail TEXT,
    width INTEGER,
    height INTEGER,
    size_bytes INTEGER NOT NULL,
    created_at REAL NOT NULL,
    preset TEXT NOT NULL,
    starred INTEGER NOT NULL DEFAULT 0,
    deleted_at REAL,
    UNIQUE (job_id, source)         -- a result fetched twice is stored once
)"""

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        _JOBS,
        """CREATE INDEX jobs_unfinished ON jobs(status)
            WHERE status IN ('waiting', 'claimed', 'sent', 'fetching', 'unfetched')""",
        "CREATE INDEX jobs_recent ON jobs(user_id, finished_at)",
        "CREATE INDEX jobs_start_tag ON jobs(start_tag)",
        "CREATE INDEX jobs_finish_tag ON jobs(finish_tag)",
        "CREATE INDEX jobs_pace ON jobs(preset, finished_at) WHERE status = 'succeeded'",
        _ITEMS,
        # All that a page is chosen by stands in the index: rows are read only for what is shown.
        """CREATE INDEX items_page ON items(user_id, id, kind, preset, starred, created_at)
            WHERE deleted_at IS NULL""",
        # Case-folded prompt, preset, models and file name; trigrams also find words within
        # words, and so work in languages that put no spaces.
        "CREATE VIRTUAL TABLE items_search USING fts5(body, tokenize = 'trigram')",
        "CREATE INDEX items_path ON items(path)",
        "CREATE INDEX items_deleted ON items(deleted_at) WHERE deleted_at IS NOT NULL",
    ),
    (
        """CREATE TABLE grids (
            id TEXT PRIMARY KEY,
            user_id TEXT NOT NULL,
            sides TEXT NOT NULL,            -- JSON: what varies across and down, with labels
            jobs TEXT NOT NULL,             -- JSON: the ids of the cells, row by row
            created_at REAL NOT NULL,
            done INTEGER NOT NULL DEFAULT 0 -- its sheet is drawn, or cannot be
        )""",
        "CREATE INDEX grids_unfinished ON grids(created_at) WHERE done = 0",
    ),
    (
        # A job that goes on at another server may still be at the one it left.
        """CREATE TABLE copies (
            prompt_id TEXT PRIMARY KEY,
            job_id TEXT NOT NULL,
            server TEXT NOT NULL,
            there INTEGER NOT NULL          -- 0: the server is known not to have it
        )""",
        "CREATE INDEX copies_job ON copies(job_id)",
    ),
    (
        # How much an owner keeps is asked before every job.
        """CREATE INDEX IF NOT EXISTS items_size ON items(user_id, size_bytes)
            WHERE deleted_at IS NULL""",
    ),
    (
        # Which presets an owner has results of: one step for each preset, not for each result.
        "CREATE INDEX items_preset ON items(user_id, preset) WHERE deleted_at IS NULL",
    ),
    (
        # What an owner has on the disk is asked before every job: see .space.
        quota.UPLOADS,
        quota.SPACE,
        quota.FILL,
        *quota.TRIGGERS,
        "DROP INDEX IF EXISTS items_size",
    ),
)
"""What makes version n+1 of the schema from version n. Append; never change one that shipped."""


class Database:
    """One connection in one thread, and the lock that keeps other processes out."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = SingleThread("studio-db")
        self._lock: sqlite3.Connection | None = None
        self._connection: sqlite3.Connection | None = None
        self.rescued: RecoveredDatabase | None = None
        """What came of a broken file that was found on opening."""

    async def open(self) -> None:
        """Make or migrate the file.

        Raises:
            StorageError: the folder cannot be used, another process uses it, or the file was
                written by a newer version.
        """
        try:
            await self._thread.run(self._open)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the file and end the thread. May be called twice."""
        await self._thread.close(self._close)

    async def run(
        self, call: Callable[Concatenate[sqlite3.Connection, P], R], *args: P.args, **kw: P.kwargs
    ) -> R:
        """``call(connection, …)`` as one transaction, in the thread.

        Raises:
            StorageError: the disk or the database refused; nothing was changed.
            ValidationError: a value is one that no row can hold.
        """
        connection = self._connection
        if connection is None:
            raise StorageError("The studio is closed.", hint="Open it again.")
        return await self._thread.run(
            lambda: _transaction(connection, lambda: call(connection, *args, **kw))
        )

    def _open(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self._folder / "studio.lock")
            path = self._folder / "studio.db"
            if is_broken(path):
                aside = move_aside(path)
                self.rescued = rescue(aside, self._connect(path))
            else:
                self._connect(path)
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"The folder {self._folder} cannot be used: {error}.") from error

    def _connect(self, path: Path) -> sqlite3.Connection:
        # autocommit: transactions are begun and ended in _transaction, and nowhere else
        connection = sqlite3.connect(path, isolation_level=None)
        self._connection = connection
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # a job that was accepted stays so
        connection.execute("PRAGMA foreign_keys = ON")
        _transaction(connection, lambda: migrate(connection))
        return connection

    def _close(self) -> None:
        for connection in (self._connection, self._lock):
            if connection is not None:
                connection.close()
        self._connection = self._lock = None


def _transaction(connection: sqlite3.Connection, call: Callable[[], R]) -> R:
    try:
        connection.execute("BEGIN")
        result = call()
        connection.execute("COMMIT")
        return result
    except BaseException as error:
        with suppress(sqlite3.Error):  # what began is undone; nothing may have begun
            connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error):
            raise StorageError(f"The studio's database refused: {error}.") from error
        if isinstance(error, OverflowError | UnicodeEncodeError):
            raise ValidationError(
                "This text or number cannot be stored.",
                hint="Leave out broken characters and numbers beyond 64 bits.",
            ) from error
        raise


def _locked(path: Path) -> sqlite3.Connection:
    """An open lock on ``path`` that the operating system drops when this process dies.

    Two processes on one folder would follow every job twice. SQLite's own file locks do this
    alike on all systems, which fcntl and msvcrt do not.
    """
    lock = sqlite3.connect(path, isolation_level=None, timeout=0)
    try:
        lock.execute("PRAGMA journal_mode = DELETE")
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        lock.close()
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
        raise StorageError(
            f"Another comfy-ui is using the folder {path.parent}.",
            hint="Close it, or choose another folder with --data-dir.",
        ) from error
    return lock


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema to the newest version, one step after the other."""
    connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)")
    row = connection.execute("SELECT max(version) FROM schema_version").fetchone()
    version = row[0] or 0
    if version > len(MIGRATIONS):
        raise StorageError(
            "The data folder was written by a newer version of comfy-ui.",
            hint="Update comfy-ui, or choose another folder with --data-dir.",
        )
    for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
        for statement in statements:
            connection.execute(statement)
        connection.execute("INSERT INTO schema_version VALUES (?)", (number,))
