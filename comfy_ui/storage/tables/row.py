"""A row of a table, as the drivers of SQLite and PostgreSQL return it."""

from __future__ import annotations

from typing import Any, Protocol


class Row(Protocol):
    """The values of a row by the names of its columns."""

    def __getitem__(self, column: str, /) -> Any: ...
