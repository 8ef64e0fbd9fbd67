"""A database that is broken: found at start, moved aside, and what can be read of it taken over.

SQLite keeps a file whole through crashes and power cuts; disks, copies of a file in use and
cleaners do not. Damage is mostly a few pages: the rows before and after them can be read. What
lies in the files and in no row is entered again by :class:`..library.library.Library`.
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

from .items_table import index_words

logger = logging.getLogger(__name__)

_BROKEN: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_ALWAYS_CHECKED_BYTES: Final = 64 * 2**20  # read in a blink; a larger one when it was not closed
_JSON: Final = frozenset({"vals", "graph", "outputs", "error", "sides", "jobs"})
_TABLES: Final = ("jobs", "items", "grids", "copies", "uploads")  # items name jobs


@dataclass(frozen=True, slots=True)
class RecoveredDatabase:
    """What was taken over from a broken database, which now lies at ``aside``."""

    aside: Path
    jobs: int
    results: int

    def __str__(self) -> str:
        return (
            f"The studio's database was broken. It is kept as {self.aside.name}; "
            f"{self.jobs} jobs and {self.results} results could be read from it, and other files "
            "were entered again with what they tell."
        )


def is_broken(path: Path) -> bool:
    """Whether the file is damaged. A large one is looked through only after a crash."""
    if not path.exists() or not path.stat().st_size:
        return False
    crashed = path.with_name(f"{path.name}-wal").exists()
    try:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if not crashed and path.stat().st_size > _ALWAYS_CHECKED_BYTES:
                return False
            found = connection.execute("PRAGMA quick_check(1)").fetchone()
            return found is None or found[0] != "ok"
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in _BROKEN:
            return True
        raise


def move_aside(path: Path) -> Path:
    """Give the file, and its journal, another name. Gives that of the file."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    aside = path.with_name(f"{path.name}.broken-{stamp}")
    for ending in ("", "-wal", "-shm"):
        part = path.with_name(path.name + ending)
        if part.exists():
            part.replace(aside.with_name(aside.name + ending))
    return aside


def rescue(aside: Path, connection: sqlite3.Connection) -> RecoveredDatabase:
    """Take over what can be read of the broken file into a new database."""
    taken = dict.fromkeys(_TABLES, 0)
    connection.execute("BEGIN")
    try:
        with closing(sqlite3.connect(aside)) as broken:
            broken.row_factory = sqlite3.Row
            for table in _TABLES:
                taken[table] = _take_over(broken, connection, table)
            index_words(connection)
    except sqlite3.DatabaseError as error:  # nothing at all can be read
        logger.info("Of %s: %s", aside, error)
    connection.execute("COMMIT")
    rescued = RecoveredDatabase(aside, taken["jobs"], taken["items"])
    logger.warning("%s", rescued)
    return rescued


def _take_over(broken: sqlite3.Connection, connection: sqlite3.Connection, table: str) -> int:
    """Rows from the start up to the damage, and from the end back to it."""
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
    given = [name for name in row.keys() if name in columns]  # noqa: SIM118 -- not a mapping
    marks = ", ".join("?" * len(given))
    try:
        return connection.execute(
            f"INSERT OR IGNORE INTO {table} ({', '.join(given)}) VALUES ({marks})",  # noqa: S608 -- our own names
            [row[name] for name in given],
        ).rowcount
    except sqlite3.IntegrityError:  # a result without its job: its file is entered again
        return 0


def _is_sound(row: sqlite3.Row) -> bool:
    """Whether what is written as JSON still is: a damaged page may give rows of rubbish."""
    try:
        for name in _JSON.intersection(row.keys()):
            if row[name] is not None:
                json.loads(row[name])
    except (ValueError, TypeError):
        return False
    return True
