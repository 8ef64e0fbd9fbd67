"""Both clients behind awaitable methods, so that one test body serves both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Literal

from comfy_ui import ComfyClient, ComfyWSClient

Shell = Literal["async", "sync"]
SHELLS: tuple[Shell, ...] = ("async", "sync")


class Awaited:
    """The sync client, each of its methods run in a thread."""

    def __init__(self, client: ComfyClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        method = getattr(self._client, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await asyncio.to_thread(method, *args, **kwargs)

        return call


@asynccontextmanager
async def opened(shell: Shell, url: str, **options: Any) -> AsyncIterator[Any]:
    """A client of that kind for the length of the block."""
    if shell == "async":
        async with ComfyWSClient(url=url, **options) as client:
            yield client
    else:
        with ComfyClient(url=url, **options) as client:
            yield Awaited(client)
