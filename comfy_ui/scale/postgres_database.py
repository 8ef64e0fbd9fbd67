"""The PostgreSQL database: a pool of connections, and a transaction for each call."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeVar

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from ..errors import StorageError, ValidationError
from ..storage.job_store import StoreProblem
from .open_pools import pool_closed, pool_opened
from .postgres_migrations import reason_of, require_schema

R = TypeVar("R")
Cursor: TypeAlias = psycopg.AsyncCursor[DictRow]
Values: TypeAlias = Sequence[object] | Mapping[str, object]

logger = logging.getLogger(__name__)

_ONE_APP: Final = 0x636F6D66_75690002  # the advisory lock of the only app on a database
_OPEN_S: Final = 30.0
_RECONNECT_S: Final = 5.0
CONNECT: Final[Mapping[str, Any]] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
"""Parameters of every connection: one whose host is gone ends within half a minute."""
_REPEATABLE: Final = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.AdminShutdown,
    psycopg.errors.CrashShutdown,
)


class PostgresDatabase:
    """The connections of one app.

    ``url``: a ``postgresql://`` address, with its password. ``exclusive``: no other app may use
    the database. The app then has one connection, whose session holds a lock, so that no
    transaction of it can run after another app has got the lock. ``one_of_many``: the app has its
    place among others that are so, and keeps exclusive ones out. ``wait_s``: how long a call waits
    for a connection, for instance while the server restarts. ``name``: of the pool, in the metrics.
    """

    def __init__(
        self,
        url: str,
        *,
        exclusive: bool = False,
        one_of_many: bool = False,
        connections: int = 8,
        wait_s: float = 10.0,
        name: str = "comfy-ui",
    ) -> None:
        self.url = url
        self._exclusive = exclusive
        self._one_of_many = one_of_many
        self._wait_s = wait_s
        self._refusal: StorageError | None = None
        self._pool = AsyncConnectionPool(
            url,
            connection_class=psycopg.AsyncConnection[DictRow],
            kwargs={**CONNECT, "row_factory": dict_row},
            min_size=1,
            max_size=1 if exclusive else connections,
            open=False,
            configure=self._configure,
            timeout=wait_s,
            reconnect_timeout=_RECONNECT_S,
            name=name,
        )

    async def open(self) -> None:
        """Connect, and check the schema.

        Raises:
            StorageError: the server does not answer or refuses, the schema is too old or too new,
                or another app uses the database.
        """
        try:
            async with await psycopg.AsyncConnection[DictRow].connect(
                self.url, row_factory=dict_row, **CONNECT
            ) as connection:
                await self._configure(connection)
                await connection.execute("SELECT pg_advisory_unlock_all()")
        except psycopg.Error as error:
            raise StorageError(
                f"The database cannot be used: {reason_of(error)}",
                hint="Check COMFY_UI_DATABASE, and that the server runs.",
            ) from error
        try:
            await self._pool.open(wait=True, timeout=_OPEN_S)
            pool_opened(self._pool.name, self._pool.get_stats)
        except PoolTimeout as error:
            await self.close()
            raise self._unavailable(error) from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the connections. May be called twice."""
        pool_closed(self._pool.name)
        await self._pool.close()

    async def run(self, call: Callable[[Cursor], Awaitable[R]], *, single: bool = False) -> R:
        """Run ``call(cursor)`` in a transaction; return when its changes are on disk.

        ``single``: the call runs one statement, or reads only, and needs no transaction around
        them: that saves two round trips.

        A transaction that is lost with its connection is run again. It may have been committed
        already, so ``call`` has to give the same outcome when it is repeated.

        Raises:
            StorageError: the server does not answer, or the transaction failed; nothing has
                changed, unless the connection broke while it was committed.
            ValidationError: a value cannot be stored.
        """
        deadline = time.monotonic() + self._wait_s
        while True:
            connection = None
            try:
                async with self._pool.connection() as connection, connection.cursor() as cursor:
                    if not single:
                        return await call(cursor)
                    await connection.set_autocommit(True)  # sends nothing
                    try:
                        return await call(cursor)
                    finally:
                        if not connection.closed:
                            await connection.set_autocommit(False)
            except (PoolTimeout, PoolClosed) as error:
                _raise_if_cancelled()
                raise self._unavailable(error) from error
            except (psycopg.DataError, UnicodeEncodeError) as error:
                raise ValidationError(
                    "This text or number cannot be stored.",
                    hint="Remove invalid characters and numbers beyond 64 bits.",
                ) from error
            except psycopg.Error as error:
                _raise_if_cancelled()
                lost = connection is not None and connection.closed
                if not (lost or isinstance(error, _REPEATABLE)) or time.monotonic() > deadline:
                    raise StorageError(
                        f"The database failed: {reason_of(error)}",
                        hint="The log of the PostgreSQL server says more.",
                    ) from error
                logger.info("A transaction is run again: %s", reason_of(error))

    async def fetch(self, statement: str, values: Values = ()) -> list[DictRow]:
        """Run one statement in a transaction and return its rows."""

        async def read(cursor: Cursor) -> list[DictRow]:
            await cursor.execute(statement, values)
            return await cursor.fetchall()

        return await self.run(read, single=True)

    async def execute(self, statement: str, values: Values = ()) -> int:
        """Run one statement in a transaction and return the number of rows that it changed."""

        async def write(cursor: Cursor) -> int:
            await cursor.execute(statement, values)
            return cursor.rowcount

        return await self.run(write, single=True)

    async def problem(self) -> StoreProblem | None:
        """Return why the database cannot be used now, or None. Waits as :meth:`run`."""
        try:
            return await self.run(lambda cursor: _schema_problem(cursor.connection))
        except StorageError:
            return "database"

    def _unavailable(self, error: psycopg.Error) -> StorageError:
        return self._refusal or StorageError(
            f"The database does not answer: {reason_of(error)}",
            hint="The app connects again when it does.",
        )

    async def _configure(self, connection: psycopg.AsyncConnection[DictRow]) -> None:
        """Prepare a new connection before it is used.

        Raises:
            StorageError: as :meth:`open`.
        """
        try:
            await require_schema(connection)
            # A session whose host is gone would hold its lock for hours.
            await connection.execute("SET tcp_keepalives_idle = 10")
            await connection.execute("SET tcp_keepalives_interval = 5")
            await connection.execute("SET tcp_keepalives_count = 3")
            if self._exclusive or self._one_of_many:
                shared = "" if self._exclusive else "_shared"
                # Another app may just be ending.
                lock_wait_ms = int(self._wait_s / 5 * 1000)
                await connection.execute(f"SET lock_timeout = {lock_wait_ms}")
                await connection.execute(f"SELECT pg_advisory_lock{shared}(%s)", (_ONE_APP,))
                await connection.execute("SET lock_timeout = 0")
            await connection.commit()
        except psycopg.errors.LockNotAvailable as error:
            self._refusal = StorageError(
                "Another comfy-ui is using the database.",
                hint="Stop it first. Several apps can share a database if all of them have"
                " COMFY_UI_WORKERS=external.",
            )
            raise self._refusal from error
        except StorageError as error:
            self._refusal = error
            raise
        self._refusal = None


async def _schema_problem(connection: psycopg.AsyncConnection[Any]) -> StoreProblem | None:
    try:
        await require_schema(connection)
    except StorageError as error:
        logger.warning("%s", error)
        return "schema"
    return None


def _raise_if_cancelled() -> None:
    """Raise CancelledError if the caller was cancelled: psycopg may raise its own error instead."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
