"""The store of webhooks in a PostgreSQL database."""

from __future__ import annotations

from typing import Final

from ..storage.records import Webhook, WebhookDelivery, WebhookTarget
from ..storage.tables import webhooks_table
from .postgres_database import Cursor, PostgresDatabase

_UPDATE: Final = (
    f"UPDATE webhook_deliveries SET {' = %s, '.join(webhooks_table.CHANGING_COLUMNS)} = %s"  # noqa: S608 -- constant
    " WHERE id = %s"
)


class PostgresWebhookStore:
    """The :class:`~comfy_ui.storage.webhook_store.WebhookStore` of a database."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def webhook(self, user_id: str) -> Webhook:
        rows = await self._database.fetch(
            "SELECT url, secret_version FROM webhooks WHERE user_id = %s", (user_id,)
        )
        return Webhook(**rows[0]) if rows else Webhook()

    async def set_webhook(self, user_id: str, target: WebhookTarget) -> None:
        await self._database.execute(
            "INSERT INTO webhooks (user_id, url, base) VALUES (%s, %s, %s)"
            " ON CONFLICT (user_id) DO UPDATE SET url = excluded.url, base = excluded.base",
            (user_id, target.url, target.base),
        )

    async def renew_secret(self, user_id: str) -> None:
        await self._database.execute(
            "INSERT INTO webhooks (user_id, url, base, secret_version) VALUES (%s, '', '', 2)"
            " ON CONFLICT (user_id) DO UPDATE SET secret_version = webhooks.secret_version + 1",
            (user_id,),
        )

    async def add_test(self, user_id: str, target: WebhookTarget, now: float) -> None:
        await self._database.execute(
            "INSERT INTO webhook_deliveries"
            " (user_id, job_id, event, url, base, created_at, next_at)"
            " VALUES (%s, '', 'test', %s, %s, %s, %s)",
            (user_id, target.url, target.base, now, now),
        )

    async def due(self, now: float, limit: int) -> list[WebhookDelivery]:
        rows = await self._database.fetch(
            "SELECT * FROM webhook_deliveries WHERE next_at <= %s ORDER BY next_at, id LIMIT %s",
            (now, limit),
        )
        return [WebhookDelivery(**row) for row in rows]

    async def claim(self, delivery: WebhookDelivery, until: float) -> bool:
        changed = await self._database.execute(
            "UPDATE webhook_deliveries SET next_at = %s WHERE id = %s AND next_at = %s",
            (until, delivery.id, delivery.next_at),
        )
        return changed > 0

    async def recent(self, user_id: str, limit: int) -> list[WebhookDelivery]:
        rows = await self._database.fetch(
            "SELECT * FROM webhook_deliveries WHERE user_id = %s ORDER BY id DESC LIMIT %s",
            (user_id, limit),
        )
        return [WebhookDelivery(**row) for row in rows]

    async def save(self, delivery: WebhookDelivery) -> None:
        async def write(cursor: Cursor) -> None:
            await cursor.execute(_UPDATE, (*webhooks_table.changing_values(delivery), delivery.id))
            await cursor.execute(
                "DELETE FROM webhook_deliveries WHERE id IN (SELECT id FROM webhook_deliveries"
                " WHERE user_id = %s AND next_at IS NULL ORDER BY id DESC OFFSET %s)",
                (delivery.user_id, webhooks_table.MAX_KEPT),
            )

        await self._database.run(write)

    async def send_again(self, delivery_id: int, user_id: str, now: float) -> bool:
        changed = await self._database.execute(
            "UPDATE webhook_deliveries SET next_at = %s, attempts = 0"
            " WHERE id = %s AND user_id = %s AND next_at IS NULL",
            (now, delivery_id, user_id),
        )
        return changed > 0
