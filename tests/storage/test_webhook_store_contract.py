"""The contract of :class:`.WebhookStore`, for every implementation.

A new implementation adds an entry to ``OPENERS``: its store together with the job store that adds
deliveries to the same database.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_ui.scale.postgres_job_store import PostgresJobStore
from comfy_ui.scale.postgres_webhook_store import PostgresWebhookStore
from comfy_ui.storage.database import Database
from comfy_ui.storage.job_store import JobStore
from comfy_ui.storage.records import JobStatus, Webhook, WebhookTarget
from comfy_ui.storage.sqlite_job_store import SqliteJobStore
from comfy_ui.storage.sqlite_webhook_store import SqliteWebhookStore
from comfy_ui.storage.tables import webhooks_table
from comfy_ui.storage.webhook_store import WebhookStore
from tests.jobs.support import a_job
from tests.scale.postgres_server import new_app_database
from tests.storage.test_job_store_contract import ended

Stores = tuple[WebhookStore, JobStore]
HOOK = WebhookTarget("https://ann.example/hook", "https://app.example")
OTHER = WebhookTarget("https://other.example", "https://app.example")


@asynccontextmanager
async def open_sqlite_stores(folder: Path) -> AsyncIterator[Stores]:
    database = Database(folder)
    await database.open()
    try:
        yield SqliteWebhookStore(database), SqliteJobStore(database, folder)
    finally:
        await database.close()


@asynccontextmanager
async def open_postgres_stores(folder: Path) -> AsyncIterator[Stores]:
    async with new_app_database() as database:
        yield PostgresWebhookStore(database), PostgresJobStore(database, folder)


OPENERS: dict[str, Callable[[Path], AbstractAsyncContextManager[Stores]]] = {
    "sqlite": open_sqlite_stores,
    "postgres": open_postgres_stores,
}


@pytest.fixture(params=OPENERS.values(), ids=[*OPENERS])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    if request.param is open_postgres_stores:
        request.getfixturevalue("postgres")
    async with request.param(tmp_path) as stores:
        yield stores


async def test_set_webhook_replaces_the_address_and_keeps_the_secret(stores: Stores) -> None:
    webhooks, _ = stores
    assert await webhooks.webhook("ann") == Webhook()
    await webhooks.renew_secret("ann")
    await webhooks.set_webhook("ann", OTHER)
    await webhooks.set_webhook("ann", HOOK)
    assert await webhooks.webhook("ann") == Webhook(HOOK.url, 2)
    await webhooks.renew_secret("ann")
    assert await webhooks.webhook("ann") == Webhook(HOOK.url, 3)
    assert await webhooks.webhook("bob") == Webhook()


async def test_end_of_a_job_adds_one_delivery_for_each_address(stores: Stores) -> None:
    webhooks, jobs = stores
    await webhooks.set_webhook("ann", HOOK)
    own = await jobs.add(a_job(webhook=OTHER))
    same = await jobs.add(a_job(webhook=HOOK))
    await jobs.add(a_job("bob"))
    await jobs.finish(ended(own, 5.0), [])
    await jobs.save(ended(same, 6.0, JobStatus.FAILED))
    await jobs.save(ended(same, 7.0, JobStatus.FAILED))
    assert await webhooks.due(4.0, 9) == []
    due = await webhooks.due(6.0, 9)
    assert sorted((d.job_id, d.event, d.url, d.base) for d in due) == sorted(
        [
            (own.id, "job.succeeded", HOOK.url, HOOK.base),
            (own.id, "job.succeeded", OTHER.url, OTHER.base),
            (same.id, "job.failed", HOOK.url, HOOK.base),
        ]
    )
    assert due[-1].job_id == same.id
    assert await webhooks.due(6.0, 1) == due[:1]


async def test_save_ends_a_delivery_until_it_is_sent_again(stores: Stores) -> None:
    webhooks, _ = stores
    await webhooks.add_test("ann", HOOK, 1.0)
    (delivery,) = await webhooks.due(1.0, 9)
    assert not await webhooks.send_again(delivery.id, "ann", 2.0)
    done = replace(
        delivery, body="{}", attempts=3, next_at=None, sent_at=2.0, status=500, error="x"
    )
    await webhooks.save(done)
    assert await webhooks.recent("ann", 9) == [done]
    assert await webhooks.recent("bob", 9) == []
    assert await webhooks.due(9.0, 9) == []
    assert not await webhooks.send_again(done.id, "bob", 9.0)
    assert await webhooks.send_again(done.id, "ann", 9.0)
    assert await webhooks.due(9.0, 9) == [replace(done, next_at=9.0, attempts=0)]


async def test_save_forgets_the_oldest_ended_deliveries(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks_table, "MAX_KEPT", 2)
    webhooks, _ = stores
    for number in range(4):
        await webhooks.add_test("ann", HOOK, float(number))
    await webhooks.add_test("bob", HOOK, 5.0)
    *done, open_one, of_bob = await webhooks.due(1e9, 9)
    for delivery in (*done, of_bob):
        await webhooks.save(replace(delivery, next_at=None))
    kept = [delivery.id for delivery in await webhooks.recent("ann", 9)]
    assert kept == [open_one.id, done[2].id, done[1].id]
    assert len(await webhooks.recent("bob", 9)) == 1


async def test_due_delivery_can_be_claimed_once_and_is_due_again_later(stores: Stores) -> None:
    webhooks, _ = stores
    await webhooks.add_test("ann", HOOK, 1.5)
    (delivery,) = await webhooks.due(2.0, 9)
    assert await webhooks.claim(delivery, 62.25)
    assert not await webhooks.claim(delivery, 70.0)
    assert await webhooks.due(62.0, 9) == []
    (again,) = await webhooks.due(63.0, 9)
    assert again == replace(delivery, next_at=62.25)
