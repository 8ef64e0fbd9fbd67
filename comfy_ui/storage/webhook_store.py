"""The store of webhooks and their deliveries, in the SQLite database of this process."""

from __future__ import annotations

from .database import Database
from .records import Webhook, WebhookDelivery, WebhookTarget
from .tables import webhooks_table


class WebhookStore:
    """Durable webhooks. Each method is one transaction and raises StorageError if it fails."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def webhook(self, user_id: str) -> Webhook:
        """Return the user's webhook; one without an address if the user has set none."""
        return await self._database.run(webhooks_table.webhook, user_id)

    async def set_webhook(self, user_id: str, target: WebhookTarget) -> None:
        """Set the user's webhook. An empty address removes it."""
        await self._database.run(webhooks_table.set_webhook, user_id, target)

    async def renew_secret(self, user_id: str) -> None:
        """Replace the secret that signs the user's deliveries."""
        await self._database.run(webhooks_table.renew_secret, user_id)

    async def add_test(self, user_id: str, target: WebhookTarget, now: float) -> None:
        """Add a delivery that is about no job."""
        await self._database.run(webhooks_table.insert_test, user_id, target, now)

    async def due(self, now: float, limit: int) -> list[WebhookDelivery]:
        """Return the deliveries whose next attempt is due, the one that waited longest first."""
        return await self._database.run(webhooks_table.due, now, limit)

    async def recent(self, user_id: str, limit: int) -> list[WebhookDelivery]:
        """Return the user's deliveries, the newest first."""
        return await self._database.run(webhooks_table.recent, user_id, limit)

    async def save(self, delivery: WebhookDelivery) -> None:
        """Write the outcome of an attempt."""
        await self._database.run(webhooks_table.save, delivery)

    async def send_again(self, delivery_id: int, user_id: str, now: float) -> bool:
        """Schedule an ended delivery of the user again; False if there is none."""
        return await self._database.run(webhooks_table.send_again, delivery_id, user_id, now)
