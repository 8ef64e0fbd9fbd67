"""Notifications of the shared queue: they only wake, so one that is lost costs a poll."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

import psycopg

from ..postgres_database import CONNECT, PostgresDatabase
from ..postgres_migrations import reason_of

logger = logging.getLogger(__name__)

_RETRY_S: Final = 1.0
_CHECK_S: Final = 15.0  # between checks whether the connection still exists


class QueueListener:
    """A connection that calls ``on_news(channel, payload)`` at each notification.

    ``on_connect`` is called at each new connection, since notifications may have been lost.
    """

    def __init__(
        self,
        database: PostgresDatabase,
        channels: Iterable[str],
        *,
        on_news: Callable[[str, str], None],
        on_connect: Callable[[], None],
    ) -> None:
        self._url = database.url
        self._channels = tuple(channels)
        self._on_news = on_news
        self._on_connect = on_connect
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def open(self) -> None:
        """Start to listen."""
        self._task = asyncio.create_task(self._run(), name="queue listener")

    async def aclose(self) -> None:
        """Stop to listen. May be called twice."""
        self._closed = True  # psycopg may turn a cancellation into an error of its own
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while not self._closed:
            try:
                await self._listen()
            except psycopg.Error as error:
                logger.info("The queue is polled meanwhile: %s", reason_of(error))
                await asyncio.sleep(_RETRY_S)

    async def _listen(self) -> None:
        connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True, **CONNECT)
        try:
            for channel in self._channels:
                await connection.execute(f"LISTEN {channel}")
            self._on_connect()
            while not self._closed:
                async for news in connection.notifies(timeout=_CHECK_S):
                    self._on_news(news.channel, news.payload)
                await connection.execute("SELECT 1")  # a dead connection receives nothing, silently
        finally:
            with suppress(psycopg.Error):
                await connection.close()
