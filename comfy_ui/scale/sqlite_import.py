"""Copy the SQLite database of a data folder to PostgreSQL, once."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

from psycopg.sql import SQL, Identifier

from ..errors import StorageError
from ..storage.database import DATABASE_FILE, Database
from .postgres_database import Cursor, PostgresDatabase

IMPORTED_FILE: Final = "comfy_ui.imported.db"
"""The name of the SQLite database after the import. The app does not read it any more."""

_BOOLEANS: Final[Mapping[str, tuple[str, ...]]] = {
    "jobs": ("cancel_requested", "may_spend"),
    "items": ("starred",),
    "grids": ("done", "paused"),
    "copies": ("there",),
    "durations": ("cold",),
}
"""The columns of each table that SQLite stores as numbers."""
_STATEMENTS: Final[Mapping[str, str]] = {
    "jobs": "SELECT * FROM jobs",
    "items": "SELECT items.*, coalesce(body, '') AS search FROM items"
    " LEFT JOIN items_search ON items_search.rowid = items.id",
    **{
        table: f"SELECT * FROM {table}"  # noqa: S608 -- constants
        for table in (
            "grids",
            "copies",
            "pauses",
            "durations",
            "favorites",
            "preset_defaults",
            "labels",
            "saved_searches",
            "uploads",
            "webhooks",
            "webhook_deliveries",
        )
    },
}
"""The rows of each table. Triggers sum up ``storage_usage`` as they are copied."""
_BATCH: Final = 500


async def import_sqlite(folder: Path, url: str) -> dict[str, int]:
    """Copy all rows of a data folder's SQLite database; return their numbers by table.

    All or nothing. The files of results stay where they are. Afterwards the SQLite database has the
    name :data:`IMPORTED_FILE`.

    Raises:
        StorageError: there is no SQLite database, an app uses it, or the PostgreSQL database has
            rows already or cannot be used.
    """
    if not (folder / DATABASE_FILE).is_file():
        raise StorageError(
            f"There is no SQLite database in {folder}.",
            hint="Name the data folder of the app with --data-dir.",
        )
    source = Database(folder)
    target = PostgresDatabase(url, exclusive=True)
    try:
        await source.open()  # locks the folder and brings the tables up to date
        await target.open()
        with closing(
            sqlite3.connect(folder / DATABASE_FILE, check_same_thread=False)
        ) as connection:
            connection.row_factory = sqlite3.Row
            counts = await target.run(lambda cursor: _copy_all(connection, cursor))
    except sqlite3.Error as error:
        raise StorageError(f"The SQLite database cannot be read: {error}.") from error
    finally:
        await target.close()
        await source.close()
    (folder / DATABASE_FILE).rename(folder / IMPORTED_FILE)
    return counts


async def _copy_all(source: sqlite3.Connection, cursor: Cursor) -> dict[str, int]:
    await cursor.execute("SELECT EXISTS (SELECT FROM jobs) OR EXISTS (SELECT FROM uploads) AS used")
    if await cursor.fetchone() != {"used": False}:
        raise StorageError(
            "The PostgreSQL database has jobs or uploads already.",
            hint="Import into a new database.",
        )
    counts = {table: await _copy(source, cursor, table) for table in _STATEMENTS}
    await cursor.execute(
        "SELECT setval(pg_get_serial_sequence('webhook_deliveries', 'id'),"
        " (SELECT coalesce(max(id), 0) + 1 FROM webhook_deliveries), false)"
    )
    return counts


async def _copy(source: sqlite3.Connection, cursor: Cursor, table: str) -> int:
    """Copy the rows of a table, some at a time; return their number."""
    rows = await asyncio.to_thread(source.execute, _STATEMENTS[table])
    names = [column[0] for column in rows.description]
    booleans = {number for number, name in enumerate(names) if name in _BOOLEANS.get(table, ())}
    targets = [*names, "has_texts"] if table == "jobs" else names
    statement = SQL("COPY {} ({}) FROM STDIN").format(
        Identifier(table), SQL(", ").join(map(Identifier, targets))
    )
    count = 0
    async with cursor.copy(statement) as copy:
        while batch := await asyncio.to_thread(rows.fetchmany, _BATCH):
            for row in batch:
                values: list[object] = [
                    bool(value) if number in booleans else value for number, value in enumerate(row)
                ]
                if table == "jobs":
                    outputs = row["outputs"]
                    values.append(bool(outputs and json.loads(outputs)["texts"]))
                await copy.write_row(values)
            count += len(batch)
    return count
