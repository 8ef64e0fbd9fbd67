from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from comfy_ui.web.http import handlers


def request() -> Any:
    return SimpleNamespace(app=SimpleNamespace(stop_event=asyncio.Event()))


class Source:
    """Yields its pieces, then blocks; records that it was closed."""

    def __init__(self, *pieces: str, ends: bool = False) -> None:
        self.pieces, self.ends, self.closed = pieces, ends, False

    async def events(self) -> AsyncGenerator[str, None]:
        try:
            for piece in self.pieces:
                yield piece
            if not self.ends:
                await asyncio.Event().wait()
        finally:
            self.closed = True


async def test_until_stopped_yields_all_pieces_and_ends() -> None:
    source = Source("a", "b", ends=True)
    received = [piece async for piece in handlers._until_stopped(request(), source.events())]
    assert received == ["retry: 1000\n\n", "a", "b"]
    assert source.closed


async def test_until_stopped_ended_stream_is_freed_without_garbage_collection() -> None:
    pieces = Source("a", ends=True).events()
    stream_ref = weakref.ref(pieces)
    gc.disable()
    try:
        async for _ in handlers._until_stopped(request(), pieces):
            pass
        del pieces
        await asyncio.sleep(0)
        assert stream_ref() is None
    finally:
        gc.enable()


async def test_until_stopped_idle_stream_sends_keepalive_comments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handlers, "_SILENCE_S", 0.01)
    stream = handlers._until_stopped(request(), Source("a").events())
    received = [await anext(stream) for _ in range(5)]
    assert received[1:] == ["a", ":\n\n", ":\n\n", ":\n\n"]
    await stream.aclose()


async def test_until_stopped_cancelled_reader_closes_the_source() -> None:
    source = Source("a")
    stream = handlers._until_stopped(request(), source.events())

    async def read() -> None:
        async for _ in stream:
            pass

    reader = asyncio.create_task(read())
    await asyncio.sleep(0.01)
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    assert reader.cancelled()
    assert source.closed


async def test_until_stopped_app_stop_ends_endless_streams() -> None:
    request_, source = request(), Source("a")

    async def stop() -> None:
        await asyncio.sleep(0.01)
        request_.app.stop_event.set()

    stopping = asyncio.create_task(stop())
    async with asyncio.timeout(5):
        received = [piece async for piece in handlers._until_stopped(request_, source.events())]
    await stopping
    assert received[1:] == ["a"]
    assert source.closed


async def test_until_stopped_stream_ends_with_its_login(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = {"token": "anna"}
    app = SimpleNamespace(auth=object(), tokens=tokens, cookie_id="app", stop_event=asyncio.Event())
    headers = [(b"cookie", b"access-token-app=token")]
    request_ = Request({"type": "http", "headers": headers, "app": app})
    source = Source("a")
    monkeypatch.setattr(handlers, "_SILENCE_S", 0.01)
    stream = handlers._until_stopped(request_, source.events())
    assert [await anext(stream) for _ in range(3)] == ["retry: 1000\n\n", "a", ":\n\n"]
    tokens.clear()
    async with asyncio.timeout(5):
        assert [piece async for piece in stream] == []
    assert source.closed


def request_with(*messages: dict[str, Any]) -> Request:
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

    assert await handlers.while_connected(request_with(), asyncio.sleep(0, 7)) == 7
    with pytest.raises(KeyError):
        await handlers.while_connected(request_with(), fail())


async def test_while_connected_disconnect_cancels_the_work() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(ClientDisconnect):
        await handlers.while_connected(request_with({"type": "http.disconnect"}), work())
    assert ended.is_set()
