"""The servers change under the page: what was there stays until something else is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.demo import DemoServer
from comfy_ui.errors import StorageError
from comfy_ui.jobs.studio import Studio
from comfy_ui.settings import Settings
from comfy_ui.web.server_choice import ServerChoice
from comfy_ui.web.services import Services


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[Services]:
    settings = Settings(demo=True, demo_speed="instant", data_dir=tmp_path / "data")
    made = Services(settings, ServerChoice("embedded"))
    made.start_engine()
    await made.open()
    yield made
    await made.aclose()
    made.stop_engine()


async def test_where_the_new_studio_cannot_be_opened_the_one_before_is_there_again(
    backend: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, before = Studio.start, backend.client.url

    async def once(self: Studio) -> None:
        monkeypatch.setattr(Studio, "start", start)
        raise StorageError("The disk is full.")

    with DemoServer(speed="instant").in_thread() as other:
        monkeypatch.setattr(Studio, "start", once)
        with pytest.raises(StorageError, match="full"):
            await backend.reconnect(other.url)
        assert (backend.client.url, backend.embedded) == (before, True)
        assert [status.online for status in await backend.refresh()] == [True]
        await backend.reconnect(other.url)
        assert (backend.client.url, backend.embedded) == (other.url, False)


async def test_who_comes_while_the_servers_change_waits_for_the_new_studio(
    backend: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    await backend.ready()  # at once: nothing changes
    opening, go_on, start = asyncio.Event(), asyncio.Event(), Studio.start

    async def slow(self: Studio) -> None:
        opening.set()
        await go_on.wait()
        await start(self)

    monkeypatch.setattr(Studio, "start", slow)
    with DemoServer(speed="instant").in_thread() as other:
        change = asyncio.create_task(backend.reconnect(other.url))
        await opening.wait()
        guest: Any = asyncio.create_task(backend.ready())
        await asyncio.sleep(0.05)
        assert not guest.done()
        go_on.set()
        await guest
        assert await backend.studio.active("ann") == []
        await change


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.05, 0.1, 0.2, 0.4])
async def test_a_page_that_goes_away_while_it_connects_elsewhere_leaves_no_app_without_a_server(
    tmp_path: Path, after_s: float
) -> None:
    with (
        DemoServer(speed="instant").in_thread() as first,
        DemoServer(speed="instant").in_thread() as second,
    ):
        backend = Services(Settings(data_dir=tmp_path), ServerChoice("configured", (first.url,)))
        await backend.open()
        try:
            await backend.checked()
            going = asyncio.create_task(backend.reconnect(second.url))
            await asyncio.sleep(after_s)
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)
            async with backend._changing:  # what was begun is over
                assert await backend.studio.results("ann") == []
                assert (await backend.studio.server_status()).online
        finally:
            await backend.aclose()
