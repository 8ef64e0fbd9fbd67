from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from comfy_ui.web.http.client_disconnect import while_connected


def request(*messages: dict[str, Any]) -> Request:
    """A request whose client sends these messages and then stays connected."""
    remaining = list(messages)

    async def receive() -> dict[str, Any]:
        if not remaining:
            await asyncio.Event().wait()
        return remaining.pop(0)

    return Request({"type": "http", "headers": []}, receive)


async def test_while_connected_returns_the_result_and_passes_errors() -> None:
    async def fail() -> None:
        raise KeyError("x")

    assert await while_connected(request(), asyncio.sleep(0, 7)) == 7
    with pytest.raises(KeyError):
        await while_connected(request(), fail())


async def test_while_connected_disconnect_cancels_the_work() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(ClientDisconnect):
        await while_connected(request({"type": "http.disconnect"}), work())
    assert ended.is_set()
