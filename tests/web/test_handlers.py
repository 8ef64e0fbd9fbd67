from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest

from comfy_ui.web.http import handlers


def request() -> Any:
    return SimpleNamespace(app=SimpleNamespace(stop_event=asyncio.Event()))


class Source:
    """Tells its pieces, then waits for ever; notes that it was ended in good order."""

    def __init__(self, *pieces: str, ends: bool = False) -> None:
        self.pieces, self.ends, self.closed = pieces, ends, False

    async def told(self) -> AsyncGenerator[str, None]:
        try:
            for piece in self.pieces:
                yield piece
            if not self.ends:
                await asyncio.Event().wait()
        finally:
            self.closed = True


async def test_a_stream_tells_all_and_ends() -> None:
    source = Source("a", "b", ends=True)
    told = [piece async for piece in handlers._until_stopped(request(), source.told())]
    assert told == ["retry: 1000\n\n", "a", "b"]
    assert source.closed


async def test_a_stream_that_has_ended_is_forgotten_without_a_search_for_garbage() -> None:
    pieces = Source("a", ends=True).told()
    left = weakref.ref(pieces)
    gc.disable()
    try:
        async for _ in handlers._until_stopped(request(), pieces):
            pass
        del pieces
        await asyncio.sleep(0)
        assert left() is None
    finally:
        gc.enable()


async def test_a_stream_in_which_nothing_happens_gives_signs_of_life(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handlers, "_SILENCE_S", 0.01)
    stream = handlers._until_stopped(request(), Source("a").told())
    told = [await anext(stream) for _ in range(5)]
    assert told[1:] == ["a", ":\n\n", ":\n\n", ":\n\n"]
    await stream.aclose()


async def test_a_reader_who_goes_away_ends_the_source() -> None:
    source = Source("a")
    stream = handlers._until_stopped(request(), source.told())

    async def read() -> None:
        async for _ in stream:
            pass

    reader = asyncio.create_task(read())
    await asyncio.sleep(0.01)
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    assert reader.cancelled()
    assert source.closed


async def test_a_stop_of_the_app_ends_streams_without_an_end() -> None:
    asked, source = request(), Source("a")

    async def stop() -> None:
        await asyncio.sleep(0.01)
        asked.app.stop_event.set()

    stopping = asyncio.create_task(stop())
    async with asyncio.timeout(5):
        told = [piece async for piece in handlers._until_stopped(asked, source.told())]
    await stopping
    assert told[1:] == ["a"]
    assert source.closed
