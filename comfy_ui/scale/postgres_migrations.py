"""The schema of the PostgreSQL database: numbered SQL files, applied in order.

Plain SQL instead of Alembic: without SQLAlchemy's models there is nothing that it could compare,
and a file of SQL can be read, and run by hand, by those who look after the database.

All files that are missing are applied in one transaction. The first line of each names the oldest
schema whose apps still work with the database afterwards, so that apps of two versions can run side
by side during an upgrade: columns are added first, and removed in a later release.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.rows import tuple_row

from ..errors import StorageError

_FOLDER: Final = Path(__file__).parent / "migrations"
_FIRST_LINE: Final = re.compile(r"-- works with schema (\d+)\n")
_LOCK: Final = 0x636F6D66_75690001  # of an upgrade; any number that other programs do not use
_TABLE: Final = """CREATE TABLE IF NOT EXISTS comfy_ui_migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    works_with integer NOT NULL,    -- apps with an older schema must not use the database
    applied_at timestamptz NOT NULL DEFAULT now()
)"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One SQL file. ``works_with``: the oldest schema whose apps may use the database then."""

    number: int
    name: str
    works_with: int
    script: str


def read_migrations(folder: Path = _FOLDER) -> tuple[Migration, ...]:
    """Return the migrations of a folder in order.

    Raises:
        ValueError: a number is missing, or a file does not say what it works with.
    """
    migrations = []
    for number, path in enumerate(sorted(folder.glob("*.sql")), start=1):
        script = path.read_text(encoding="utf-8")
        first_line = _FIRST_LINE.match(script)
        if not path.name.startswith(f"{number:04}_") or first_line is None:
            raise ValueError(f"{path.name} is not migration {number}, or its first line is wrong.")
        migrations.append(Migration(number, path.stem, int(first_line[1]), script))
    return tuple(migrations)


@cache
def app_migrations() -> tuple[Migration, ...]:
    """Return the migrations of this version of the app."""
    return read_migrations()


async def upgrade(url: str, migrations: tuple[Migration, ...] | None = None) -> list[str]:
    """Bring the database up to date; return the names of the migrations that were applied.

    Several processes may do so at the same time: one applies them, the others wait.

    Raises:
        StorageError: the server does not answer, refuses, or a newer version of the app has
            upgraded the database; nothing has changed.
    """
    migrations = app_migrations() if migrations is None else migrations
    try:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            await connection.execute(_TABLE)
            version = await check_compatible(connection, migrations)
            missing = migrations[version:]
            for migration in missing:
                await connection.execute(migration.script)
                await connection.execute(
                    "INSERT INTO comfy_ui_migrations (number, name, works_with)"
                    " VALUES (%s, %s, %s)",
                    (migration.number, migration.name, migration.works_with),
                )
            return [migration.name for migration in missing]
    except psycopg.Error as error:
        raise StorageError(
            f"The database could not be upgraded: {reason_of(error)}",
            hint="Nothing was changed. Check COMFY_UI_DATABASE and the rights of its user.",
        ) from error


async def check(url: str) -> int:
    """Return the number of the database's schema.

    Raises:
        StorageError: the server does not answer, or the schema is too old or too new.
    """
    try:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            return await require_schema(connection)
    except psycopg.Error as error:
        raise StorageError(
            f"The database cannot be read: {reason_of(error)}",
            hint="Check COMFY_UI_DATABASE, and that the server runs.",
        ) from error


async def require_schema(
    connection: psycopg.AsyncConnection[Any],
    migrations: tuple[Migration, ...] | None = None,
) -> int:
    """Return the number of the schema if the app can use it.

    Raises:
        StorageError: the schema is too old or too new.
    """
    migrations = app_migrations() if migrations is None else migrations
    version = await check_compatible(connection, migrations)
    if version < len(migrations):
        raise StorageError(
            f"The schema of the database is {version}, and the app needs {len(migrations)}.",
            hint="Run: comfy-ui db upgrade",
        )
    return version


async def check_compatible(
    connection: psycopg.AsyncConnection[Any], migrations: tuple[Migration, ...]
) -> int:
    """Return the number of the schema, 0 for an empty database.

    Raises:
        StorageError: a newer version of the app has changed the schema beyond what this one knows.
    """
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute("SELECT to_regclass('comfy_ui_migrations') IS NOT NULL")
        if await cursor.fetchone() != (True,):
            return 0
        await cursor.execute(
            "SELECT coalesce(max(number), 0), coalesce(max(works_with), 0) FROM comfy_ui_migrations"
        )
        version, works_with = await cursor.fetchone() or (0, 0)
    if works_with > len(migrations):
        raise StorageError(
            f"The schema of the database is {version}; this version of comfy-ui knows"
            f" {len(migrations)}.",
            hint="Update comfy-ui.",
        )
    return int(version)


def reason_of(error: psycopg.Error) -> str:
    """Return the first line of an error's message, as a sentence."""
    lines = str(error).strip().splitlines()
    return f"{lines[0].rstrip('.')}." if lines else f"{type(error).__name__}."
