"""Group commit: database calls that wait at the same time share a transaction and its fsync.

Each caller still returns only after its change is on disk, and a call that fails changes nothing
and affects no other. Source: J. Gray, A. Reuter, "Transaction Processing", 1993, section 9.4.3.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeVar, cast

from ..errors import StorageError, ValidationError
from .single_thread import SingleThread

R = TypeVar("R")

_LONGEST_S: Final = 0.01  # a slow call must not delay the commit of many others


class _WaitingCall(NamedTuple):
    function: Callable[[sqlite3.Connection], Any]
    future: asyncio.Future[Any]


class _Outcome(NamedTuple):
    result: Any = None
    error: BaseException | None = None


class GroupCommit:
    """The transactions of one connection, which ``thread`` uses. For one event loop."""

    def __init__(self, thread: SingleThread) -> None:
        self._thread = thread
        self._waiting: list[_WaitingCall] = []
        self._task: asyncio.Task[None] | None = None

    async def run(
        self, connection: sqlite3.Connection, function: Callable[[sqlite3.Connection], R]
    ) -> R:
        """Run ``function(connection)`` as one transaction.

        Raises:
            StorageError: the disk or the database failed; nothing was changed.
            ValidationError: a value cannot be stored.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_WaitingCall(function, future))
        if self._task is None:
            self._task = asyncio.create_task(self._commit(connection), name="group commit")
        return cast("R", await future)

    async def finish(self) -> None:
        """Wait until no call waits."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def _commit(self, connection: sqlite3.Connection) -> None:
        group: list[_WaitingCall] = []
        try:
            while self._waiting:
                group, self._waiting = self._waiting, []
                group = [call for call in group if not call.future.done()]  # callers may be gone
                outcomes = await self._thread.run(
                    _run_group, connection, [call.function for call in group]
                )
                self._waiting[:0] = group[len(outcomes) :]
                for call, outcome in zip(group, outcomes, strict=False):
                    _resolve(call.future, outcome)
        except BaseException as error:
            for call in (*group, *self._waiting):
                closed = StorageError("The database is closed.", hint="Open it again.")
                _resolve(call.future, _Outcome(error=closed))
            self._waiting = []
            if not isinstance(error, RuntimeError):  # the thread has ended
                raise
        finally:
            self._task = None


def _resolve(future: asyncio.Future[Any], outcome: _Outcome) -> None:
    if future.done():
        return
    if outcome.error is not None:
        future.set_exception(outcome.error)
    else:
        future.set_result(outcome.result)


def _run_group(
    connection: sqlite3.Connection, functions: Sequence[Callable[[sqlite3.Connection], Any]]
) -> list[_Outcome]:
    """Run the functions in order; return the outcomes of the first ones, at least of one."""
    if len(functions) > 1:
        with suppress(Exception):  # then each function is tried on its own
            return _in_one_transaction(connection, functions)
    outcomes = []
    for function in functions:
        try:
            outcomes.append(_Outcome(transaction(connection, function)))
        except Exception as error:  # noqa: BLE001 -- the caller raises it
            outcomes.append(_Outcome(error=error))
    return outcomes


def _in_one_transaction(
    connection: sqlite3.Connection, functions: Sequence[Callable[[sqlite3.Connection], Any]]
) -> list[_Outcome]:
    """Run the functions as one transaction, without savepoints: a function seldom fails."""

    def run(connection: sqlite3.Connection) -> list[_Outcome]:
        outcomes: list[_Outcome] = []
        start = time.monotonic()
        for function in functions:
            outcomes.append(_Outcome(function(connection)))
            if time.monotonic() - start > _LONGEST_S:
                break
        return outcomes

    return transaction(connection, run)


def transaction(connection: sqlite3.Connection, function: Callable[[sqlite3.Connection], R]) -> R:
    """Run one function as a transaction of its own, in the thread of the connection.

    Raises:
        StorageError: the disk or the database failed; nothing was changed.
        ValidationError: a value cannot be stored.
    """
    try:
        connection.execute("BEGIN")
        result = function(connection)
        connection.execute("COMMIT")
    except BaseException as error:
        with suppress(sqlite3.Error):  # BEGIN itself may have failed
            connection.execute("ROLLBACK")
        translated = _translated(error)
        if translated is error:
            raise
        raise translated from error
    return result


def _translated(error: BaseException) -> BaseException:
    translated: BaseException
    if isinstance(error, sqlite3.Error):
        translated = StorageError(f"The database failed: {error}.")
    elif isinstance(error, OverflowError | UnicodeEncodeError):
        translated = ValidationError(
            "This text or number cannot be stored.",
            hint="Remove invalid characters and numbers beyond 64 bits.",
        )
    else:
        return error
    translated.__cause__ = error
    return translated
