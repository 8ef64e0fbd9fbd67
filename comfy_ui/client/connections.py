"""The connections and tasks of an async client, separate for each event loop that uses it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from .flow_runner import await_flow
from .operations import Flow
from .parts import CLEANUP_TIMEOUT_S, ClientParts
from .tracking.session import Session
from .transport.http_transport import AsyncTransport, closed_client

T = TypeVar("T")


class LoopConnections:
    """The connections and tasks within one event loop."""

    def __init__(self, transport: AsyncTransport, parts: ClientParts) -> None:
        self._api = parts.api
        self.transport = transport
        self.session = Session(
            lambda on_message, on_change: parts.api.open_feed(
                transport.send, on_message=on_message, on_change=on_change
            ),
            parts.asker,
            parts.tracking,
            self.drive,
            telemetry=parts.telemetry,
            observer=parts.pictures.take,
            durations=parts.durations,
        )
        self.uploading = asyncio.Lock()
        self._background: set[asyncio.Task[object]] = set()

    def drive(self, flow: Flow[T]) -> Coroutine[Any, Any, T]:
        """The coroutine that runs a flow and returns its result."""
        return await_flow(self._api.carry(flow), self.transport)

    def drive_in_background(self, flow: Flow[object], *, name: str) -> None:
        """Run a flow in a task; :meth:`close` waits a moment for it."""
        task = asyncio.create_task(self.drive(flow), name=name)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def close(self) -> None:
        """Close all connections and end all tasks."""
        if self._background:
            _, unfinished = await asyncio.wait(self._background, timeout=CLEANUP_TIMEOUT_S)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
        await self.session.close()
        await self.transport.close()


class ConnectionsByLoop:
    """The connections of one client, created when a loop first uses it.

    They cannot outlive their loop, and callers rarely close a client between two ``asyncio.run``.
    So each loop has an async generator that closes them: loops end their async generators last.
    """

    def __init__(self, create: Callable[[], LoopConnections]) -> None:
        self._create = create
        self._connections: dict[asyncio.AbstractEventLoop, LoopConnections] = {}
        self._closers: dict[asyncio.AbstractEventLoop, AsyncGenerator[None, None]] = {}
        self._closed = False

    def here(self) -> LoopConnections:
        """The connections within the running loop.

        Raises:
            ComfyUIConnectionError: the client was closed in another loop.
        """
        loop = asyncio.get_running_loop()
        connections = self._connections.get(loop)
        if connections is None:
            if self._closed:
                raise closed_client()
            connections = self._connections[loop] = self._create()
            closer = self._closers[loop] = self._close_at_end(loop, connections)
            with suppress(StopIteration):  # runs up to the yield, so that the loop knows it
                closer.asend(None).send(None)
        return connections

    async def close(self) -> None:
        """Close the connections of all loops; a loop that is not running closes its own later."""
        self._closed = True
        closers, self._closers = self._closers, {}
        for loop, closer in closers.items():
            if loop is asyncio.get_running_loop():
                await closer.aclose()
            elif loop.is_closed():
                await self._connections[loop].transport.close()
            elif loop.is_running():
                closing = asyncio.run_coroutine_threadsafe(_end(closer), loop)
                with suppress(TimeoutError):
                    async with asyncio.timeout(2 * CLEANUP_TIMEOUT_S):
                        await asyncio.wrap_future(closing)

    async def _close_at_end(
        self, loop: asyncio.AbstractEventLoop, connections: LoopConnections
    ) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            if not self._closed:
                self._closers.pop(loop, None)
                self._connections.pop(loop, None)
            await connections.close()


async def _end(closer: AsyncGenerator[None, None]) -> None:
    await closer.aclose()
