"""Images that ComfyUI makes for the form itself."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, ImageDraw

from comfy_ui.web.http.upload_routes import UploadRoutes
from comfy_ui.web.tabs.create.small_jobs import SmallJobs
from tests.web.web_app import WebApp, open_web_app


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[WebApp]:
    async with open_web_app(tmp_path / "data") as app:
        await app.services.catalog.refresh()
        yield app


@pytest.fixture
async def visit(app: WebApp) -> AsyncIterator[tuple[httpx.AsyncClient, str, str]]:
    """A browser, its user, and the name of an image that the user uploaded."""
    uploads = UploadRoutes(app.services, app.access)
    client, user_id = app.browser(SmallJobs(app.services, app.access, uploads))
    image = Image.new("RGB", (160, 120), "black")
    ImageDraw.Draw(image).rectangle((40, 30, 120, 90), fill="white")
    content = io.BytesIO()
    image.save(content, "PNG")
    name = await uploads.accept(content.getvalue(), "image", user_id)
    async with client:
        yield client, user_id, name


async def test_preprocess_canny_returns_the_edges_and_keeps_nothing(
    app: WebApp, visit: Any
) -> None:
    client, user_id, name = visit
    for _ in range(2):  # the second time from the server's cache
        response = await client.post("/create/preprocess", json={"image": name, "type": "canny"})
        assert response.status_code == 200, response.text
        with Image.open(io.BytesIO(response.content)) as image:
            edges = np.asarray(image.convert("L")) > 128
        assert edges.shape == (120, 160)
        assert 0.005 < edges.mean() < 0.1
        assert not edges[50:70, 60:100].any()
    assert await app.service.recent(user_id) == []
    assert not await app.services.client.recent()


@pytest.mark.parametrize("what", [{"text": "a square"}, {"points": [[80, 60]]}])
async def test_segment_by_words_or_a_click_returns_a_mask(visit: Any, what: dict[str, Any]) -> None:
    client, _, name = visit
    response = await client.post("/create/segment", json={"image": name, **what})
    assert response.status_code == 200, response.text
    with Image.open(io.BytesIO(response.content)) as image:
        mask = np.asarray(image.convert("L")) > 128
    assert mask[35:85, 45:115].all()
    assert not mask[:25].any()
    response = await client.post("/create/segment", json={"image": name})
    assert "Say what to select" in response.json()["error"]


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"type": "lineart"}, "comfyui_controlnet_aux"),
        ({"type": "x"}, "no such type"),
        ({"image": "example.png"}, "not an upload of yours"),
    ],
)
async def test_preprocess_that_cannot_work_says_why(
    visit: Any, form: dict[str, str], message: str
) -> None:
    client, _, name = visit
    response = await client.post(
        "/create/preprocess", json={"image": name, "type": "canny", **form}
    )
    assert response.status_code == 422
    assert message in response.json()["error"]
