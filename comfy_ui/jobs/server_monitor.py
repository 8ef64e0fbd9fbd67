"""One of several servers under watch: what it has, whether it answers, what it still has of ours.

A server on its own is not watched: its jobs wait for it, whatever happens.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from typing import Final

from ..errors import ComfyHeadlessError, ComfyUIConnectionError, StorageError
from ..health import WorkerWatch
from ..protocol.object_info import NodeRegistry
from ..protocol.queue_and_history import QueueSnapshot
from .placement import ServerOffer, offer_of
from .queue import JobQueue
from .server import Server

logger = logging.getLogger(__name__)

_LOOK_S: Final = 10.0
_LOOK_AWAY_S: Final = 2.0
_NODE_LIST_S: Final = 300.0  # asking costs the server some megabytes
_ANSWER_S: Final = 30.0  # a server that loads a model can be silent for so long
_STOP_S: Final = 5.0


class ServerMonitor:
    """Tells the queue of a server, and the worker when it has been away for long.

    Args:
        patience_s: how long it may be out of reach before its jobs go elsewhere.
        mine: the ``prompt_id`` of each job that the worker has there.
    """

    def __init__(
        self,
        queue: JobQueue,
        server: Server,
        *,
        patience_s: float,
        mine: Callable[[], Collection[str]],
    ) -> None:
        self._queue = queue
        self._server = server
        self._patience_s = patience_s
        self._mine = mine
        self._offer = ServerOffer(online=False)
        self._read: NodeRegistry | None = None  # what the offer was read from
        self._reading: asyncio.Task[None] | None = None
        self._away_since: float | None = None
        self._worker = WorkerWatch()
        self._looking = asyncio.Lock()
        self._doubted = asyncio.Event()

    async def run(self, gone: Callable[[], None]) -> None:
        """Look for ever; ``gone`` is called at each look at a server that is away for long."""
        try:
            while True:
                try:
                    there = await self.look()
                except StorageError as error:  # the disk may have room again in a while
                    logger.warning("%s", error)
                    there = True
                if not there and self._away_s() >= self._patience_s:
                    gone()
                pause_s = _LOOK_S if there else min(_LOOK_AWAY_S, self._patience_s / 2)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._doubted.wait(), pause_s)
                self._doubted.clear()
        finally:
            await self._stop_reading()

    def doubt(self) -> None:
        """Something went wrong with it: look soon, unless it is known to be away."""
        if self._away_since is None:
            self._doubted.set()

    async def look(self) -> bool:
        """Whether the server answers now. Known to the queue when this returns.

        Who comes while that is being found out waits for it, and then asks again.
        """
        async with self._looking:
            try:
                seen = await self._seen()
                if self._away_since is not None:
                    self._server.forget_inputs()
                await self._stop_leftovers()
            except StorageError:
                raise
            except (ComfyHeadlessError, TimeoutError) as error:
                if self._away_since is None:
                    self._away_since = time.monotonic()
                    logger.warning("%s is left out until it answers: %s", self._server, error)
                await self._stop_reading()
                self._offer = replace(self._offer, online=False)
            else:
                self._away_since = None
                foreign = {*seen.running, *seen.pending}.difference(self._mine())
                self._offer = replace(self._offer, online=True, foreign=len(foreign))
                if self._reading is None or self._reading.done():
                    self._reading = asyncio.create_task(self._read_nodes(), name="node list")
            self._server.answers = self._offer.online
            await self._announce()
            return self._offer.online

    async def _seen(self) -> QueueSnapshot:
        """Its queue.

        Raises:
            ComfyUIConnectionError: it is away; or it answers, but what runs there has died. Then
                it gets nothing more, and what it has goes elsewhere: it will never run there.
        """
        async with asyncio.timeout(_ANSWER_S):
            look = await self._server.client.look()
        if look.queue is None:
            raise look.error or ComfyUIConnectionError("It did not answer.")
        running = frozenset(look.queue.running)
        if self._worker.is_dead(running, at=time.monotonic(), says_so=look.worker_died):
            raise ComfyUIConnectionError("Its worker has died over a job.")
        return look.queue

    async def _announce(self) -> None:
        """Nothing is said of a server that answers before it is known what it has."""
        if self._read is not None or not self._offer.online:
            await self._queue.announce(self._server.name, self._offer)

    async def _read_nodes(self) -> None:
        """Apart from the looks: a large server takes minutes to tell."""
        library = await self._server.node_library(max_age_s=_NODE_LIST_S)
        if library is None or library is self._read:
            return
        told = await asyncio.to_thread(offer_of, library)
        self._read = library
        self._offer = replace(self._offer, classes=told.classes, models=told.models)
        await self._announce()

    async def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _stop_leftovers(self) -> None:
        """Stop what went elsewhere while the server was away, before it gets anything new."""
        for prompt_id in await self._queue.leftovers(self._server.name):
            await self._server.client.cancel(prompt_id, timeout=_STOP_S)
            if (await self._server.client.queue()).answer(prompt_id).place == "absent":
                await self._queue.cleared(self._server.name, prompt_id)

    def _away_s(self) -> float:
        return time.monotonic() - self._away_since if self._away_since is not None else 0.0
