"""The answer to a press of Generate."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from comfy_ui.web.tabs.create.generate import GenerateHandler
from tests.web.support import Page
from tests.web.web_app import WebApp, open_web_app


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[WebApp]:
    async with open_web_app(tmp_path) as app:
        yield app


async def press(app: WebApp, **form: Any) -> dict[str, Any]:
    uploads: Any = SimpleNamespace(check=lambda *_: frozenset())
    client, _ = app.browser(GenerateHandler(app.services, app.access, uploads))
    async with client:
        state = {"preset": "sd15", "prompt": "a cat", **form}
        response = await client.post("/create/press", content=json.dumps(state))
    answer: dict[str, Any] = response.json()
    assert answer["job"], answer
    return answer


async def test_generate_rounded_size_returns_a_notice(app: WebApp) -> None:
    answer = await press(app, values={"width": 500, "height": "601", "steps": 1})
    assert Page(answer["notice"]).text == (
        "Width 500 becomes 504, a multiple of 8.Height 601 becomes 600, a multiple of 8."
    )


async def test_generate_grid_with_rounded_sizes_returns_each_notice_once(app: WebApp) -> None:
    axes = [{"name": "width", "values": "500, 512"}, {"name": "steps", "values": "1, 2"}]
    answer = await press(app, values={"width": 512, "height": 512}, grid=axes)
    assert Page(answer["notice"]).text == "Width 500 becomes 504, a multiple of 8."


async def test_generate_valid_size_returns_no_notice(app: WebApp) -> None:
    assert (await press(app, values={"width": 512, "height": 512, "steps": 1}))["notice"] == ""
