"""The task that sends the deliveries of webhooks, each until its receiver accepts it.

Deliveries are stored in the transaction that ends a job, and leave the queue only when an attempt
has been stored: a message may come twice after a crash, with the same ``webhook-id``. Of several
apps on one database, one claims each attempt.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

from ...client.transfer.web_files import PostAnswer, post_to_web
from ...errors import StorageError, ValidationError
from ...storage.records import WebhookDelivery
from ...storage.webhook_store import WebhookStore
from .webhook_message import message_body, message_headers, next_attempt_at

__all__ = ["JobReport", "WebhookSender"]

logger = logging.getLogger(__name__)

JobReport = Callable[[str, str, str], Awaitable[Mapping[str, Any]]]
"""Describes a job, from its id, its user and the app's own address."""

_LOOK_EVERY_S: Final = 1.0
_AFTER_ERROR_S: Final = 10.0
_ATTEMPT_S: Final = 60.0  # more than an attempt takes; afterwards another app makes it
_MAX_SENDING: Final = 8
_MAX_OF_USER: Final = 2
_LOOKED_AT: Final = 100


class WebhookSender:
    """Sends what is due, a few at a time, and of one user two.

    Args:
        store: returns the store, which a reconnect replaces.
        report: describes a job.
        secret: returns the secret of a user by its version.
        private_hosts: returns the hosts that may have addresses in private networks.
        post: sends one request; it blocks.
        now: the time of day, in seconds since the epoch.
    """

    def __init__(
        self,
        store: Callable[[], WebhookStore],
        report: JobReport,
        secret: Callable[[str, int], str],
        *,
        private_hosts: Callable[[], Collection[str]] = tuple,
        post: Callable[..., PostAnswer] = post_to_web,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._report = report
        self._secret = secret
        self._private_hosts = private_hosts
        self._post = post
        self._now = now
        self._sending: dict[int, asyncio.Task[None]] = {}
        self._users: Counter[str] = Counter()

    async def run(self) -> None:
        """Send deliveries until cancelled."""
        try:
            while True:
                wait_s = _LOOK_EVERY_S
                try:
                    await self.start_due()
                except StorageError as error:
                    logger.info("Webhooks cannot be read: %s", error)
                    wait_s = _AFTER_ERROR_S
                await asyncio.sleep(wait_s)
        finally:
            for task in self._sending.values():
                task.cancel()
            await self.finish()

    async def start_due(self) -> None:
        """Start sending what is due and has a place."""
        if len(self._sending) >= _MAX_SENDING:
            return
        for delivery in await self._store().due(self._now(), _LOOKED_AT):
            user_id = delivery.user_id
            if delivery.id in self._sending or self._users[user_id] >= _MAX_OF_USER:
                continue
            if not await self._store().claim(delivery, self._now() + _ATTEMPT_S):
                continue
            self._users[user_id] += 1
            task = asyncio.create_task(self._send(delivery), name="send a webhook")
            self._sending[delivery.id] = task
            if len(self._sending) >= _MAX_SENDING:
                return

    async def finish(self) -> None:
        """Wait for what is being sent."""
        await asyncio.gather(*self._sending.values(), return_exceptions=True)

    async def _send(self, delivery: WebhookDelivery) -> None:
        try:
            await self._attempt(delivery)
        except StorageError as error:
            logger.warning("A webhook cannot be stored: %s", error)
        finally:
            self._users[delivery.user_id] -= 1
            del self._sending[delivery.id]

    async def _attempt(self, delivery: WebhookDelivery) -> None:
        store, at = self._store(), self._now()
        body = delivery.body or message_body(delivery.event, await self._data(delivery), at)
        version = (await store.webhook(delivery.user_id)).secret_version
        headers = message_headers(delivery, body, self._secret(delivery.user_id, version), at)
        hosts = {host.lower() for host in self._private_hosts()}
        private = (urlsplit(delivery.url).hostname or "").lower() in hosts
        answer = await asyncio.to_thread(
            self._post, delivery.url, body.encode(), headers, private=private
        )
        attempts, now, next_at = delivery.attempts + 1, self._now(), None
        if answer.problem:
            next_at = next_attempt_at(attempts, answer.status, now, answer.retry_after_s)
        await store.save(
            replace(
                delivery,
                body=body,
                attempts=attempts,
                next_at=next_at,
                sent_at=now,
                status=answer.status,
                error=answer.problem or None,
            )
        )

    async def _data(self, delivery: WebhookDelivery) -> Mapping[str, Any]:
        if not delivery.job_id:
            return {"message": "This is a test. Nothing has happened."}
        try:
            return await self._report(delivery.job_id, delivery.user_id, delivery.base)
        except ValidationError:  # the job has been forgotten since
            return {"job": delivery.job_id, "phase": delivery.event.removeprefix("job.")}
