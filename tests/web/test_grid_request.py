"""The route that counts a grid before it is queued."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from comfy_ui.web.tabs.create.grid_request import routes
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
