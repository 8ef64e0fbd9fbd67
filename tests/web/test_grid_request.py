"""The route that counts a grid before it is queued."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from comfy_ui.web.http.upload_routes import UploadRoutes
from comfy_ui.web.tabs.create import generate, grid_request
from comfy_ui.web.tabs.create.generate import GenerateHandler
from comfy_ui.web.tabs.create.grid_request import grid, routes
from tests.web.web_app import open_web_app


@pytest.mark.parametrize(
    ("images", "varied", "results"),
    [
        (1, {"steps": "1-3", "cfg": "1, 2, 3"}, 9),
        (4, {"steps": "1-3", "cfg": "1, 2, 3"}, 36),
        (4, {"steps": "1-3", "batch": "1, 2"}, 9),
    ],
)
async def test_grid_count_includes_the_images_of_each_job(
    tmp_path: Path, images: int, varied: dict[str, str], results: int
) -> None:
    async with open_web_app(tmp_path / "data") as web_app:
        handlers = routes(web_app.services, web_app.access)
        client, _ = web_app.browser(SimpleNamespace(routes=lambda: handlers))
        draft = {
            "preset": "z_image_turbo",
            "prompt": "a fox",
            "values": {"batch": images},
            "grid": [{"name": name, "values": values} for name, values in varied.items()],
        }
        counted = (await client.post("/grid", json=draft)).json()
    assert counted["results"] == results


async def test_grid_unfolds_outside_of_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    def recording_grid(*args: Any) -> Any:
        threads.append(threading.get_ident())
        return grid(*args)

    monkeypatch.setattr(grid_request, "grid", recording_grid)
    monkeypatch.setattr(generate, "grid", recording_grid)
    async with open_web_app(tmp_path / "data") as web_app:
        uploads = UploadRoutes(web_app.services, web_app.access)
        press = GenerateHandler(web_app.services, web_app.access, uploads)
        handlers = [*routes(web_app.services, web_app.access), *press.routes()]
        client, _ = web_app.browser(SimpleNamespace(routes=lambda: handlers))
        draft = {
            "preset": "z_image_turbo",
            "prompt": "a fox",
            "grid": [{"name": "steps", "values": "1, 2"}],
        }
        assert (await client.post("/grid", json=draft)).json()["results"] == 2
        assert (await client.post("/create/press", json=draft)).json()["job"]
    assert len(threads) == 2
    assert threading.get_ident() not in threads
