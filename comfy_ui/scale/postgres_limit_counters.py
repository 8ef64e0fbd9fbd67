"""The counters of rate limits in a PostgreSQL database, for several apps."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from psycopg.types.json import Jsonb

from ..errors import StorageError
from .postgres_database import PostgresDatabase

logger = logging.getLogger(__name__)

State: TypeAlias = Mapping[str, float]

_CONNECTIONS: Final = 2
_WAIT_S: Final = 1.0  # a request waits for it
_MAX_TRIES: Final = 50
_MAX_ROWS: Final = 100_000
_TRIM_EVERY_S: Final = 600.0
_READ: Final = (
    "SELECT extract(epoch FROM clock_timestamp())::float8 AS now,"
    " (SELECT state FROM limit_counters WHERE key = %s) AS state"
)
_WRITE: Final = (
    "INSERT INTO limit_counters AS counter (key, state) VALUES (%(key)s, %(new)s)"
    " ON CONFLICT (key) DO UPDATE SET state = excluded.state, used_at = now()"
    " WHERE counter.state = %(old)s::jsonb"
)
_TRIM: Final = (
    "DELETE FROM limit_counters WHERE used_at < now() - interval '1 day' OR used_at <"
    " (SELECT used_at FROM limit_counters ORDER BY used_at DESC OFFSET %s LIMIT 1)"
)


class PostgresLimitCounters:
    """Counters by key, changed by one app after the other. Call :meth:`open` first.

    A change takes two statements, and one if nothing changes. It is optimistic: no row stays locked
    between them, and if another app was faster, it is made again.
    """

    def __init__(self, url: str) -> None:
        self._database = PostgresDatabase(
            url, connections=_CONNECTIONS, wait_s=_WAIT_S, name="limits"
        )

    async def open(self) -> None:
        """Connect.

        Raises:
            StorageError: the database cannot be used.
        """
        await self._database.open()

    async def close(self) -> None:
        """Close the connections. May be called twice."""
        await self._database.close()

    async def update(
        self, key: str, change: Callable[[State, float], tuple[float, State]]
    ) -> float:
        """Replace a counter by what ``change`` makes of it, and return its seconds to wait.

        Raises:
            StorageError: the database does not answer, or too many apps change this counter.
        """
        for _ in range(_MAX_TRIES):
            (row,) = await self._database.fetch(_READ, (key,))
            old = row["state"]
            wait_s, new = change(old or {}, row["now"])
            if new == (old or {}):
                return wait_s
            values = {"key": key, "new": Jsonb(new), "old": None if old is None else Jsonb(old)}
            if await self._database.execute(_WRITE, values):
                return wait_s
        raise StorageError("Too many requests change one counter.")

    async def keep_trimmed(self) -> None:
        """Delete old counters every few minutes until cancelled: those of the last day stay.

        Of more than 100,000, those used last stay.
        """
        while True:
            try:
                await self._database.execute(_TRIM, (_MAX_ROWS - 1,))
            except StorageError as error:
                logger.info("The counters of rate limits were not trimmed: %s", error)
            await asyncio.sleep(_TRIM_EVERY_S)
