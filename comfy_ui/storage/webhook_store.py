"""The store of webhooks and their deliveries.

:class:`.sqlite_webhook_store.SqliteWebhookStore` implements it. Another implementation has to pass
``tests/storage/test_webhook_store_contract.py``. A trigger of the database adds the deliveries in
the transaction of :class:`.job_store.JobStore` that ends a job, so both use one database.
"""

from __future__ import annotations

from typing import Protocol

from .records import Webhook, WebhookDelivery, WebhookTarget


class WebhookStore(Protocol):
    """Durable webhooks. Each method is one transaction and raises StorageError if it fails."""

    async def webhook(self, user_id: str) -> Webhook:
        """Return the user's webhook; one without an address if the user has set none."""

    async def set_webhook(self, user_id: str, target: WebhookTarget) -> None:
        """Set the user's webhook. An empty address removes it."""

    async def renew_secret(self, user_id: str) -> None:
        """Replace the secret that signs the user's deliveries."""

    async def add_test(self, user_id: str, target: WebhookTarget, now: float) -> None:
        """Add a delivery that is about no job."""

    async def due(self, now: float, limit: int) -> list[WebhookDelivery]:
        """Return the deliveries whose next attempt is due, the one that waited longest first."""

    async def claim(self, delivery: WebhookDelivery, until: float) -> bool:
        """Put off the next attempt of a due delivery, so that no other app makes this one.

        If the attempt is not saved, for instance because the app has ended, it is due again then.
        Returns False if another app has claimed it.
        """

    async def recent(self, user_id: str, limit: int) -> list[WebhookDelivery]:
        """Return the user's deliveries, the newest first."""

    async def save(self, delivery: WebhookDelivery) -> None:
        """Write the outcome of an attempt."""

    async def send_again(self, delivery_id: int, user_id: str, now: float) -> bool:
        """Schedule an ended delivery of the user again; False if there is none."""
