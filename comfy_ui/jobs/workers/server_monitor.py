"""Monitoring of one of several servers: object_info, availability and leftover copies of jobs.

A single server is not monitored, because its jobs always wait for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from typing import Final

from ...errors import ComfyHeadlessError, ComfyUIConnectionError, StorageError, is_silence
from ...health import WorkerDeathDetector
from ...protocol.object_info import NodeRegistry
from ...protocol.queue_and_history import QueueSnapshot
from ..placement import ServerOffer, offer_of
from ..queue import JobQueue
from .server import Server

logger = logging.getLogger(__name__)

# Constant intervals, not a Backoff: a check is one small request to a server of our own, and a
# server that starts again must get jobs within seconds, however long it was offline.
_CHECK_INTERVAL_S: Final = 10.0
_OFFLINE_CHECK_INTERVAL_S: Final = 2.0
_OBJECT_INFO_MAX_AGE_S: Final = 300.0  # object_info is some megabytes
_CANCEL_TIMEOUT_S: Final = 5.0
_SILENT_FACTOR: Final = 10  # a server with jobs of ours that only sends nothing may load a model


class ServerMonitor:
    """Announces a server to the queue, and tells the worker when it has been offline for long.

    Args:
        patience_s: how long the server may be unreachable before its jobs move to others.
        own_prompt_ids: returns the ``prompt_id`` of each job that the worker has there.
    """

    def __init__(
        self,
        queue: JobQueue,
        server: Server,
        *,
        patience_s: float,
        own_prompt_ids: Callable[[], Collection[str]],
    ) -> None:
        self._queue = queue
        self._server = server
        self._patience_s = patience_s
        self._own_prompt_ids = own_prompt_ids
        self._offer = ServerOffer(online=False, parallel_jobs=server.parallel_jobs or 1)
        self._registry: NodeRegistry | None = None  # the source of the offer
        self._registry_task: asyncio.Task[None] | None = None
        self._offline_since: float | None = None
        self._silent = False  # when it is offline: it accepts connections
        self._worker_watch = WorkerDeathDetector()
        self._check_lock = asyncio.Lock()
        self._check_requested = asyncio.Event()

    async def run(self, on_gone: Callable[[], None]) -> None:
        """Check the server until cancelled; call ``on_gone`` while it is offline for long."""
        try:
            while True:
                try:
                    online = await self.check()
                except StorageError as error:  # temporary, as on a full disk
                    logger.warning("%s", error)
                    online = True
                if not online and self._offline_s() >= self._limit_s():
                    on_gone()
                interval_s = (
                    _CHECK_INTERVAL_S
                    if online
                    else min(_OFFLINE_CHECK_INTERVAL_S, self._patience_s / 2)
                )
                with suppress(TimeoutError):
                    async with asyncio.timeout(interval_s):
                        await self._check_requested.wait()
                self._check_requested.clear()
        finally:
            await self._stop_registry_task()

    def request_check(self) -> None:
        """Check the server soon after an error, unless it is known to be offline."""
        if self._offline_since is None:
            self._check_requested.set()

    async def check(self) -> bool:
        """Check whether the server is online, and announce it to the queue.

        Concurrent calls run one after the other.
        """
        async with self._check_lock:
            try:
                queue = await self._server_queue()
                if self._offline_since is not None:
                    self._server.forget_uploads()
                await self._cancel_copies()
            except StorageError:
                raise
            except ComfyHeadlessError as error:
                self._silent = is_silence(error)
                if self._offline_since is None:
                    self._offline_since = time.monotonic()
                    logger.warning("%s gets no jobs until it answers: %s", self._server, error)
                await self._stop_registry_task()
                self._offer = replace(self._offer, online=False)
            else:
                self._offline_since = None
                foreign = {*queue.running, *queue.pending}.difference(self._own_prompt_ids())
                self._offer = replace(self._offer, online=True, foreign=len(foreign))
                if self._registry_task is None or self._registry_task.done():
                    self._registry_task = asyncio.create_task(
                        self._read_registry(), name="object_info"
                    )
            self._server.online = self._offer.online
            await self._announce()
            return self._offer.online

    async def _server_queue(self) -> QueueSnapshot:
        """Return the queue of the server.

        Raises:
            ComfyUIConnectionError: the server is offline, or it answers but its worker thread has
                died. Its jobs will never run there, so it counts as offline.
        """
        look = await self._server.look()
        if look.queue is None:
            raise look.error or ComfyUIConnectionError("It did not answer.")
        running = frozenset(look.queue.running)
        if self._worker_watch.is_dead(running, at=time.monotonic(), log_says_so=look.worker_died):
            raise ComfyUIConnectionError("Its worker has died over a job.")
        return look.queue

    async def _announce(self) -> None:
        """Announce the server, but an online one only after its object_info was read."""
        known = self._registry is not None or not self._server.lists_nodes
        if known or not self._offer.online:
            await self._queue.announce(self._server.name, self._offer)

    async def _read_registry(self) -> None:
        """Read object_info in a separate task: a large server takes minutes to answer."""
        registry = await self._server.node_registry(max_age_s=_OBJECT_INFO_MAX_AGE_S)
        if registry is None and not self._server.lists_nodes:
            await self._announce()
        if registry is None or registry is self._registry:
            return
        offer = await asyncio.to_thread(offer_of, registry)
        self._registry = registry
        self._offer = replace(self._offer, classes=offer.classes, models=offer.models)
        try:
            await self._announce()
        except StorageError as error:  # the next check announces it
            logger.warning("%s", error)

    async def _stop_registry_task(self) -> None:
        if self._registry_task is not None:
            self._registry_task.cancel()
            await asyncio.gather(self._registry_task, return_exceptions=True)

    async def _cancel_copies(self) -> None:
        """Cancel jobs that moved on while the server was offline, before it gets new ones."""
        for prompt_id in await self._queue.copies(self._server.name):
            await self._server.client.cancel(prompt_id, timeout=_CANCEL_TIMEOUT_S)
            if (await self._server.client.queue()).answer(prompt_id).place == "absent":
                await self._queue.copy_deleted(self._server.name, prompt_id)

    def _limit_s(self) -> float:
        """Return how long the server may be offline before its jobs move."""
        is_busy = self._silent and bool(self._own_prompt_ids())
        return self._patience_s * (_SILENT_FACTOR if is_busy else 1)

    def _offline_s(self) -> float:
        return time.monotonic() - self._offline_since if self._offline_since is not None else 0.0
