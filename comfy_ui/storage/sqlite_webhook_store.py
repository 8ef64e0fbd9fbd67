"""The store of webhooks in the SQLite database of this process."""

from __future__ import annotations

from .database import Database
from .records import Webhook, WebhookDelivery, WebhookTarget
from .tables import webhooks_table


class SqliteWebhookStore:
    """The :class:`.webhook_store.WebhookStore` of one data folder."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def webhook(self, user_id: str) -> Webhook:
        return await self._database.run(webhooks_table.webhook, user_id)

    async def set_webhook(self, user_id: str, target: WebhookTarget) -> None:
        await self._database.run(webhooks_table.set_webhook, user_id, target)

    async def renew_secret(self, user_id: str) -> None:
        await self._database.run(webhooks_table.renew_secret, user_id)

    async def add_test(self, user_id: str, target: WebhookTarget, now: float) -> None:
        await self._database.run(webhooks_table.insert_test, user_id, target, now)

    async def due(self, now: float, limit: int) -> list[WebhookDelivery]:
        return await self._database.run(webhooks_table.due, now, limit)

    async def claim(self, delivery: WebhookDelivery, until: float) -> bool:
        return await self._database.run(webhooks_table.claim, delivery, until)

    async def recent(self, user_id: str, limit: int) -> list[WebhookDelivery]:
        return await self._database.run(webhooks_table.recent, user_id, limit)

    async def save(self, delivery: WebhookDelivery) -> None:
        await self._database.run(webhooks_table.save, delivery)

    async def send_again(self, delivery_id: int, user_id: str, now: float) -> bool:
        return await self._database.run(webhooks_table.send_again, delivery_id, user_id, now)
