"""The counters of rate limits in PostgreSQL: what their contract does not cover."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from comfy_ui.errors import StorageError
from comfy_ui.scale import postgres_limit_counters as module
from comfy_ui.scale.postgres_limit_counters import PostgresLimitCounters
from comfy_ui.web.auth.limit_counters import SharedCounters
from comfy_ui.web.auth.rate_limit import RateLimit

from .postgres_server import PostgresServer, new_database

SLOW = RateLimit(burst=2, per_minute=0.001)


@pytest.fixture
async def counters(postgres: Any) -> AsyncIterator[PostgresLimitCounters]:
    async with new_database() as url:
        counters = PostgresLimitCounters(url)
        await counters.open()
        yield counters
        await counters.close()


async def statements(counters: PostgresLimitCounters, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the first words of the statements that run from now on."""
    seen: list[str] = []
    for name in ("fetch", "execute"):
        original = getattr(counters._database, name)

        async def counted(statement: str, values: Any, original: Any = original) -> Any:
            seen.append(statement.split(maxsplit=1)[0])
            return await original(statement, values)

        monkeypatch.setattr(counters._database, name, counted)
    return seen


async def test_update_takes_two_statements_and_one_if_it_is_refused(
    counters: PostgresLimitCounters, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = await statements(counters, monkeypatch)
    for _ in range(2):
        assert await counters.update("ann", SLOW.take) == 0
    assert seen == ["SELECT", "INSERT"] * 2
    seen.clear()
    assert await counters.update("ann", SLOW.take) > 0
    assert seen == ["SELECT"]


async def test_update_that_another_app_overtakes_is_made_again(
    counters: PostgresLimitCounters,
) -> None:
    plenty = RateLimit(burst=100, per_minute=0.001)
    await asyncio.gather(*(counters.update("ann", plenty.take) for _ in range(8)))
    (row,) = await counters._database.fetch("SELECT state FROM limit_counters")
    assert row["state"]["tokens"] == pytest.approx(92, abs=0.1)


async def test_keep_trimmed_deletes_counters_of_days_ago_and_those_beyond_the_limit(
    counters: PostgresLimitCounters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_ROWS", 2)
    for age, name in enumerate(("new", "hour", "two hours", "week")):
        await counters.update(name, SLOW.take)
        hours = 200 if name == "week" else age
        await counters._database.execute(
            "UPDATE limit_counters SET used_at = now() - make_interval(hours => %s) WHERE key = %s",
            (hours, name),
        )
    task = asyncio.create_task(counters.keep_trimmed())
    async with asyncio.timeout(30):
        while True:
            rows = await counters._database.fetch("SELECT key FROM limit_counters ORDER BY key")
            if len(rows) == 2:
                break
            await asyncio.sleep(0.02)
    assert [row["key"] for row in rows] == ["hour", "new"]
    task.cancel()


async def test_counters_of_a_database_that_is_away_are_the_apps_own(
    postgres: PostgresServer, counters: PostgresLimitCounters
) -> None:
    shared = SharedCounters(counters)
    assert await shared.update("ann", SLOW.take) == 0
    postgres.stop()
    try:
        with pytest.raises(StorageError):
            await counters.update("ann", SLOW.take)
        assert await shared.update("ann", SLOW.take) == 0
        assert await shared.update("ann", SLOW.take) > 0, "what it has seen still counts"
    finally:
        postgres.start()
