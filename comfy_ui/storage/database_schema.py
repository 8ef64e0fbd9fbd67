"""The database schema: one script for all tables, and the check of its version."""

from __future__ import annotations

import sqlite3
from typing import Final

from ..errors import StorageError
from . import quota
from .tables import (
    copies_table,
    durations_table,
    favorites_table,
    grids_table,
    items_table,
    jobs_table,
    labels_table,
    pauses_table,
    preset_defaults_table,
    saved_searches_table,
    uploads_table,
    webhooks_table,
)

VERSION: Final = 13
"""Stored as SQLite's ``user_version``."""

SCHEMA: Final = (
    *jobs_table.SCHEMA,
    *items_table.SCHEMA,
    *grids_table.SCHEMA,
    *copies_table.SCHEMA,
    *uploads_table.SCHEMA,
    *quota.SCHEMA,
    *pauses_table.SCHEMA,
    *durations_table.SCHEMA,
    *favorites_table.SCHEMA,
    *preset_defaults_table.SCHEMA,
    *webhooks_table.SCHEMA,
    *labels_table.SCHEMA,
    *saved_searches_table.SCHEMA,
)

MIGRATIONS: Final = {
    2: (jobs_table.ADD_SERVER_DEATHS, *pauses_table.SCHEMA),
    3: durations_table.SCHEMA,
    4: favorites_table.SCHEMA,
    5: (*jobs_table.ADD_PARENT, *preset_defaults_table.SCHEMA),
    6: (webhooks_table.ADD_WEBHOOK, *webhooks_table.SCHEMA),
    7: (jobs_table.SEED_INDEX,),
    8: grids_table.ADD_GROUPS,
    9: (*items_table.ADD_RATING, *labels_table.SCHEMA),
    10: (jobs_table.ADD_KEY,),
    11: (jobs_table.ADD_SPENDING,),
    12: (*items_table.ADD_ORDERS, *saved_searches_table.SCHEMA),
    13: (jobs_table.ADD_TRACES,),
}
"""The statements that lead to each version from the one before it."""


def create_or_check(connection: sqlite3.Connection) -> None:
    """Create the tables of an empty database, or bring those of an earlier version up to date.

    Raises:
        StorageError: a newer version or another program wrote the database.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == VERSION:
        return
    if version > VERSION:
        raise StorageError(
            "The data folder was written by a newer version of comfy-ui.",
            hint="Update comfy-ui, or choose another folder with --data-dir.",
        )
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if version > 0:
        for step in range(version + 1, VERSION + 1):
            for statement in MIGRATIONS[step]:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        return
    if version or tables:
        raise StorageError(
            "The database in the data folder was not written by a release of comfy-ui.",
            hint="Move it away, or choose another folder with --data-dir.",
        )
    for statement in SCHEMA:
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION}")
