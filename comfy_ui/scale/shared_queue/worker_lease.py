"""The right of one process to run jobs on a ComfyUI: a lock of its own session, and a token.

The lock keeps a second worker of the same ComfyUI away. The token is written to each job that the
worker gets, and decides who may publish it: a worker that was cut off has an older one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

import psycopg

from ...errors import StorageError
from ..postgres_database import CONNECT, PostgresDatabase
from ..postgres_migrations import reason_of

logger = logging.getLogger(__name__)

_TRY_INTERVAL_S: Final = 0.2
_LOCK: Final = "pg_try_advisory_lock(hashtextextended('comfy-ui worker ' || %s, 0))"
_REGISTER: Final = """INSERT INTO workers (name, token, seen_at)
    VALUES (%s, nextval('worker_tokens'), extract(epoch FROM clock_timestamp()))
    ON CONFLICT (name) DO UPDATE SET token = excluded.token, seen_at = excluded.seen_at
    RETURNING token"""
_HEARTBEAT: Final = """UPDATE workers SET seen_at = extract(epoch FROM clock_timestamp())
    WHERE name = %s AND token = %s"""


class WorkerLease:
    """The lease of the worker ``name``. ``wait_s``: how long an ending worker may still have it.

    Attributes:
        token: the fencing token; 0 before :meth:`acquire`.
        lost: set if another worker has taken over. This one must stop.
    """

    def __init__(self, database: PostgresDatabase, name: str, *, wait_s: float = 10.0) -> None:
        self.name = name
        self.token = 0
        self.lost = asyncio.Event()
        self._database = database
        self._wait_s = wait_s
        self._connection: psycopg.AsyncConnection[tuple[object, ...]] | None = None

    async def acquire(self) -> None:
        """Get the lock and a new token.

        Raises:
            StorageError: another worker runs jobs on this ComfyUI, or the database does not answer.
        """
        await self._lock(self._wait_s)
        (row,) = await self._database.fetch(_REGISTER, (self.name,))
        self.token = row["token"]

    async def renew(self) -> None:
        """Record that the worker lives.

        Raises:
            StorageError: as :meth:`acquire`; see also :attr:`lost`.
        """
        try:
            if self._connection is None:
                raise psycopg.OperationalError("There is no connection.")
            await self._connection.execute("SELECT 1")
        except psycopg.Error:
            await self.release()
            await self._lock(0.0)
        if not await self._database.execute(_HEARTBEAT, (self.name, self.token)):
            self.lost.set()
            raise self._refusal()

    async def release(self) -> None:
        """Give the lock back. May be called twice."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            # Else the server would do so when it notices that the connection is closed.
            await connection.execute("SELECT pg_advisory_unlock_all()")
        except psycopg.Error as error:
            logger.info("The lock of a worker ends with its connection: %s", reason_of(error))
        finally:
            await connection.close()

    async def _lock(self, wait_s: float) -> None:
        deadline = time.monotonic() + wait_s
        try:
            connection = await psycopg.AsyncConnection.connect(
                self._database.url, autocommit=True, **CONNECT
            )
        except psycopg.Error as error:
            raise StorageError(f"The database does not answer: {reason_of(error)}") from error
        try:
            while True:
                cursor = await connection.execute(f"SELECT {_LOCK}", (self.name,))
                if await cursor.fetchone() == (True,):
                    self._connection = connection
                    return
                if time.monotonic() > deadline:
                    raise self._refusal()
                await asyncio.sleep(_TRY_INTERVAL_S)
        except psycopg.Error as error:
            raise StorageError(f"The database failed: {reason_of(error)}") from error
        finally:
            if self._connection is not connection:
                await connection.close()

    def _refusal(self) -> StorageError:
        return StorageError(
            "Another worker runs the jobs of this ComfyUI.",
            hint="Stop it first, or give each worker a name of its own with --name.",
        )
