"""Record the SQL statements of this version, for the test that later schemas still accept them.

A plugin of pytest. At a release::

    pytest -n0 -p tests.scale.statement_recorder tests/jobs/test_queue_contract.py \\
        tests/storage/test_job_store_contract.py tests/storage/test_webhook_store_contract.py \\
        tests/library/test_library_store_contract.py tests/scale/test_postgres_job_queue.py \\
        tests/scale/test_queue_progress.py tests/scale/test_worker_process.py

writes ``tests/data/postgres_statements/NNNN.json``, named by the schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import psycopg

from comfy_ui.scale.postgres_migrations import read_migrations

STATEMENTS: Final = Path(__file__).parent.parent / "data" / "postgres_statements"
_PARAMETER: Final = re.compile(r"%(?:s|\((\w+)\)s)")
_OURS: Final = re.compile(r"\s*(WITH|SELECT|INSERT|UPDATE|DELETE)\b")
_OF_TESTS: Final = re.compile(r"information_schema|pg_locks|pg_terminate|replication_role|EXPLAIN")

_recorded: set[str] = set()


def numbered(statement: str) -> str:
    """Return a statement with the parameters of PREPARE.

    >>> numbered("UPDATE a SET b = %s, c = %(c)s, d = %(c)s WHERE e LIKE '%%'")
    "UPDATE a SET b = $1, c = $2, d = $2 WHERE e LIKE '%'"
    """
    numbers: dict[str, int] = {}

    def number(found: re.Match[str]) -> str:
        name = found[1] or f"%{found.start()}"
        return f"${numbers.setdefault(name, len(numbers) + 1)}"

    return _PARAMETER.sub(number, statement).replace("%%", "%")


def pytest_configure() -> None:
    for name in ("execute", "executemany"):
        _record(name)


def _record(name: str) -> None:
    original = getattr(psycopg.AsyncCursor, name)

    async def recorded(self: Any, query: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(query, str) and _OURS.match(query) and not _OF_TESTS.search(query):
            _recorded.add(" ".join(query.split()))
        return await original(self, query, *arguments, **options)

    setattr(psycopg.AsyncCursor, name, recorded)


def pytest_sessionfinish() -> None:
    write(_recorded)


def write(statements: Iterable[str]) -> None:
    STATEMENTS.mkdir(parents=True, exist_ok=True)
    path = STATEMENTS / f"{len(read_migrations()):04}.json"
    path.write_text(json.dumps(sorted(statements), indent=1) + "\n", encoding="utf-8")
