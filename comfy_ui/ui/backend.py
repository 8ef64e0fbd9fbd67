"""What the page stands on: the server's connection, the studio and the presets' readiness."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from ..client import ComfyWSClient
from ..settings import Settings
from ..studio import ServerStatus, Studio
from .catalog import Catalog
from .engine import Choice, demo_speed

__all__ = ["Backend"]


class Backend:
    """One per page. Lives in the event loop that ran :meth:`open`."""

    studio: Studio
    client: ComfyWSClient
    catalog: Catalog

    def __init__(self, settings: Settings, choice: Choice) -> None:
        self.settings = settings
        self.choice = choice
        self._engine = AsyncExitStack()
        self._connection = AsyncExitStack()
        self._changing = asyncio.Lock()

    @property
    def embedded(self) -> bool:
        """Whether the embedded engine serves."""
        return self.choice.kind == "embedded"

    async def open(self) -> None:
        """Start the embedded engine if it is to serve, connect, and take up unfinished jobs.

        Raises:
            StorageError: the data folder cannot be used.
            InvalidAddressError: the configured address is none.
        """
        url = self.choice.url
        if url is None:
            from ..demo import DemoServer

            engine: Any = DemoServer(speed=demo_speed(self.settings.demo_speed))
            # A thread of its own: painting must not hold up the page.
            url = self._engine.enter_context(engine.in_thread()).url
        await self._connect(url)

    async def aclose(self) -> None:
        """Stop following, close the connection and the engine. Jobs are found again later."""
        await self._connection.aclose()
        await self._engine.aclose()

    async def reconnect(self, url: str) -> ServerStatus:
        """Use another server from now on. The one before stays when the new one is no address.

        Raises:
            InvalidAddressError: ``url`` is not an address.
        """
        async with self._changing:
            probe = self._new_client(url)  # a wrong address must not cost the working connection
            await probe.aclose()
            await self._connection.aclose()
            self._connection = AsyncExitStack()
            self.choice = Choice("configured", url)
            await self._connect(url)
            await self._engine.aclose()
            return await self.refresh()

    async def refresh(self) -> ServerStatus:
        """Ask the server how it is and what it has."""
        status = await self.studio.server_status()
        if status.online:
            await self.catalog.refresh(version=status.version)
        return status

    async def _connect(self, url: str) -> None:
        self.client = await self._connection.enter_async_context(self._new_client(url))
        self.studio = await self._connection.enter_async_context(
            Studio(client=self.client, data_dir=self.settings.data_dir)
        )
        self.catalog = Catalog(self.client)
        await self.refresh()

    def _new_client(self, url: str) -> ComfyWSClient:
        token = self.settings.comfyui_token
        return ComfyWSClient(
            url=url,
            timeout=self.settings.timeout_s,
            token=token.get_secret_value() if token else None,
            verify=self.settings.verify_tls,
        )
