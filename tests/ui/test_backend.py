"""The connections under the page, as its owner changes them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from comfy_ui.demo import DemoServer
from comfy_ui.settings import Settings
from comfy_ui.ui.backend import Backend
from comfy_ui.ui.engine import Choice


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.05, 0.1, 0.2, 0.4])
async def test_a_page_that_goes_away_while_it_connects_elsewhere_leaves_no_app_without_a_server(
    tmp_path: Path, after_s: float
) -> None:
    with (
        DemoServer(speed="instant").in_thread() as first,
        DemoServer(speed="instant").in_thread() as second,
    ):
        backend = Backend(Settings(data_dir=tmp_path), Choice("configured", (first.url,)))
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
