"""Recovery of a damaged database: detect, move aside, copy the readable rows.

SQLite survives crashes and power cuts, but not failing disks or copies of a file in use. Damage
is mostly a few pages; the rows before and after them can be read. The library imports files
without a row again (``LibraryService.recover_files``).
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .tables.items_table import rebuild_search_index

logger = logging.getLogger(__name__)

_BROKEN: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_ALWAYS_CHECKED_BYTES: Final = 64 * 2**20  # a larger file is checked only after a crash
_JSON: Final = frozenset(
    {"vals", "graph", "outputs", "error", "sides", "jobs", "webhook", "fields"}
)
# jobs before items; all but the learned durations
_TABLES: Final = (
    "jobs", "items", "grids", "copies", "uploads", "pauses", "favorites", "preset_defaults",
    "labels", "saved_searches", "webhooks", "webhook_deliveries",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RecoveredDatabase:
    """The number of recovered rows, and the path of the broken file."""

    aside: Path | None
    """None: there was no file, or an empty one."""
    jobs: int
    results: int

    def __str__(self) -> str:
        if self.aside is None:
            return (
                "The database was empty or missing. The results were imported again from their"
                " files, for the admin; jobs, stars and other users' names could not be restored."
            )
        return (
            f"The database was damaged. It is kept as {self.aside.name}; "
            f"{self.jobs} jobs and {self.results} results could be read from it, and other files "
            "were imported again from their metadata."
        )


def is_empty(path: Path) -> bool:
    """Whether the file is missing or has no bytes."""
    return not path.exists() or not path.stat().st_size


def holds_results(folder: Path) -> bool:
    """Whether the data folder has files of results."""
    return any((folder / "files").glob("*/*"))


def is_broken(path: Path) -> bool:
    """Whether the file is damaged. A large file is checked only after a crash."""
    if is_empty(path):
        return False
    crashed = path.with_name(f"{path.name}-wal").exists()
    try:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if not crashed and path.stat().st_size > _ALWAYS_CHECKED_BYTES:
                return False
            row = connection.execute("PRAGMA quick_check(1)").fetchone()
            return row is None or row[0] != "ok"
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in _BROKEN:
            return True
        raise


def move_aside(path: Path) -> Path:
    """Rename the file and its journal; return the new path."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    aside = path.with_name(f"{path.name}.broken-{stamp}")
    for ending in ("", "-wal", "-shm"):
        part = path.with_name(path.name + ending)
        if part.exists():
            part.replace(aside.with_name(aside.name + ending))
    return aside


def recover(aside: Path, connection: sqlite3.Connection) -> RecoveredDatabase:
    """Copy the readable rows of a broken file into a new database."""
    counts = dict.fromkeys(_TABLES, 0)
    connection.execute("BEGIN")
    try:
        with closing(sqlite3.connect(aside)) as broken:
            broken.row_factory = sqlite3.Row
            for table in _TABLES:
                counts[table] = _copy_rows(broken, connection, table)
            rebuild_search_index(connection)
    except sqlite3.DatabaseError as error:  # no table can be read
        logger.info("Cannot read %s: %s", aside, error)
    connection.execute("COMMIT")
    return RecoveredDatabase(aside, counts["jobs"], counts["items"])


def _copy_rows(broken: sqlite3.Connection, connection: sqlite3.Connection, table: str) -> int:
    """Copy rows from the start up to the damage, then from the end back to it."""
    columns = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
    count = 0
    for order in ("ASC", "DESC"):
        try:
            for row in broken.execute(f"SELECT * FROM {table} ORDER BY rowid {order}"):  # noqa: S608 -- our own names
                count += _insert(connection, table, row, columns) if _is_sound(row) else 0
        except sqlite3.DatabaseError as error:
            logger.info("Table %s, %s: %s", table, order, error)
        else:
            break
    return count


def _insert(connection: sqlite3.Connection, table: str, row: sqlite3.Row, columns: set[str]) -> int:
    names = [name for name in row.keys() if name in columns]  # noqa: SIM118 -- not a mapping
    marks = ", ".join("?" * len(names))
    try:
        return connection.execute(
            f"INSERT OR IGNORE INTO {table} ({', '.join(names)}) VALUES ({marks})",  # noqa: S608 -- our own names
            [row[name] for name in names],
        ).rowcount
    except sqlite3.IntegrityError:  # a result without its job: the library imports its file again
        return 0


def _is_sound(row: sqlite3.Row) -> bool:
    """Whether the JSON columns are valid: a damaged page may yield rows of garbage."""
    try:
        for name in _JSON.intersection(row.keys()):
            if row[name] is not None:
                json.loads(row[name])
    except (ValueError, TypeError):
        return False
    return True
