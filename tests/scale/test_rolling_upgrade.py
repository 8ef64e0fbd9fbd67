"""Apps of two versions on one database: the statements of older ones work with the newest schema.

An old version cannot be installed in CI, so its statements were recorded (``statement_recorder``).
PREPARE checks every table, column, function and type in them without running anything.
"""

from __future__ import annotations

import json
import re

import psycopg
import pytest

from comfy_ui.scale import postgres_migrations
from comfy_ui.scale.postgres_migrations import Migration, read_migrations
from tests.scale.postgres_server import new_database
from tests.scale.statement_recorder import STATEMENTS, numbered

pytestmark = pytest.mark.usefixtures("postgres")

RECORDED = sorted(STATEMENTS.glob("*.json"))
NEWEST = read_migrations()
_INSERT = re.compile(r"INSERT INTO (\w+)(?: AS \w+)? \(([^)]*)\)")
_REQUIRED = """SELECT column_name FROM information_schema.columns WHERE table_name = %s
    AND table_schema = 'public' AND is_nullable = 'NO' AND column_default IS NULL
    AND is_identity = 'NO' AND is_generated = 'NEVER'"""


def recorded(schema: int) -> list[str]:
    """Return the statements of the version whose newest migration has that number."""
    path = STATEMENTS / f"{schema:04}.json"
    statements: list[str] = json.loads(path.read_text(encoding="utf-8"))
    return statements


async def refused(migrations: tuple[Migration, ...], statements: list[str]) -> set[str]:
    """Return the statements that a database with these migrations does not accept."""
    found = set()
    async with new_database(upgraded=False) as url:
        await postgres_migrations.upgrade(url, migrations)
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            for statement in statements:
                try:
                    await connection.execute(f"PREPARE one AS {numbered(statement)}")  # type: ignore[arg-type]
                    await connection.execute("DEALLOCATE one")
                except psycopg.errors.ProgrammingError:
                    found.add(statement)
                if insert := _INSERT.match(statement):
                    cursor = await connection.execute(_REQUIRED, (insert[1],))
                    required = {column for (column,) in await cursor.fetchall()}
                    if not required <= {name.strip() for name in insert[2].split(",")}:
                        found.add(statement)
    return found


@pytest.mark.parametrize("schema", [int(path.stem) for path in RECORDED])
async def test_statements_of_an_older_version_work_with_the_newest_schema(schema: int) -> None:
    if max(migration.works_with for migration in NEWEST) > schema:
        pytest.skip("apps of that version are refused by the newest schema")
    statements = recorded(schema)
    unclear = await refused(NEWEST[:schema], statements)  # PREPARE is not told every type
    assert len(unclear) <= len(statements) / 20
    assert await refused(NEWEST, statements) - unclear == set()


async def test_statements_of_an_older_version_fail_if_a_column_is_removed_or_required() -> None:
    statements = recorded(int(RECORDED[-1].stem))
    number = len(NEWEST) + 1
    for script, affected in (
        ("ALTER TABLE jobs DROP COLUMN rank", "INSERT INTO jobs"),
        ("ALTER TABLE copies ADD COLUMN note text NOT NULL", "INSERT INTO copies"),
    ):
        broken = Migration(number, f"{number:04}_broken", 1, script)
        failing = await refused((*NEWEST, broken), statements)
        assert any(statement.startswith(affected) for statement in failing), script
