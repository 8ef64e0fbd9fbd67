"""Database calls that wait together are committed together, and each stands for itself."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from comfy_ui.errors import StorageError
from comfy_ui.storage.group_commit import GroupCommit
from comfy_ui.storage.single_thread import SingleThread


class Log:
    """A table of numbers, with the statements that its connection has run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.statements: list[str] = []
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("CREATE TABLE log (number INTEGER PRIMARY KEY, text TEXT)")
        self.connection.set_trace_callback(self.statements.append)
        self.thread = SingleThread("log")
        self.commits = GroupCommit(self.thread)

    async def write(self, number: int, text: str = "") -> list[int]:
        """Insert a number; return those that another connection sees afterward."""

        def insert(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO log VALUES (?, ?)", (number, text))

        await self.commits.run(self.connection, insert)
        return self.on_disk()

    def on_disk(self) -> list[int]:
        with closing(sqlite3.connect(self.path)) as other:
            return [row[0] for row in other.execute("SELECT number FROM log ORDER BY number")]


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[Log]:
    log = Log(tmp_path / "log.db")
    yield log
    await log.commits.finish()
    await log.thread.close(log.connection.close)


async def test_group_commit_waiting_calls_share_transaction_and_return_after_it(log: Log) -> None:
    seen = await asyncio.gather(*(log.write(number) for number in range(50)))
    assert all(number in numbers for number, numbers in enumerate(seen))
    assert log.statements.count("COMMIT") <= 2


async def test_group_commit_failing_call_changes_nothing_and_others_succeed(log: Log) -> None:
    outcomes = await asyncio.gather(
        log.write(1), log.write(2), log.write(1), log.write(3), return_exceptions=True
    )
    assert [isinstance(outcome, StorageError) for outcome in outcomes] == [0, 0, 1, 0]
    assert log.on_disk() == [1, 2, 3]


async def test_group_commit_call_that_fills_disk_does_not_fail_others(log: Log) -> None:
    log.connection.execute("PRAGMA max_page_count = 8")
    outcomes = await asyncio.gather(
        log.write(1), log.write(2, "x" * 100_000), log.write(3), return_exceptions=True
    )
    assert [isinstance(outcome, StorageError) for outcome in outcomes] == [0, 1, 0]
    assert log.on_disk() == [1, 3]


async def test_group_commit_after_slow_call_commits_before_the_next(log: Log) -> None:
    def slow(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO log (number) VALUES (0)")
        time.sleep(0.02)

    _, seen = await asyncio.gather(log.commits.run(log.connection, slow), log.write(1))
    assert seen == [0, 1]
    assert log.statements.count("COMMIT") == 2


async def test_group_commit_skips_waiting_call_of_cancelled_caller(log: Log) -> None:
    first = asyncio.create_task(log.write(1))
    second = asyncio.create_task(log.write(2))
    await asyncio.sleep(0)
    second.cancel()
    assert await first == [1]


async def test_group_commit_after_thread_has_ended_raises_storage_error(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.db")
    await log.thread.close(log.connection.close)
    outcomes = await asyncio.gather(log.write(1), log.write(2), return_exceptions=True)
    assert all(isinstance(outcome, StorageError) for outcome in outcomes)
