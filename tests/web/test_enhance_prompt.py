"""Enhance's answers to the page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from starlette.requests import Request

from comfy_ui.settings import Settings
from comfy_ui.web.auth.access import Access, AccessMode
from comfy_ui.web.tabs.create.enhance_prompt import EnhanceHandler
from tests.web.house import open_house


@pytest.fixture
async def enhance(tmp_path: Path) -> AsyncIterator[EnhanceHandler]:
    async with open_house(tmp_path / "data") as house:
        house.services.settings = Settings(data_dir=tmp_path, llm_model="rules")
        yield EnhanceHandler(house.services, Access(AccessMode.LOCAL, b"secret"))


@pytest.fixture
def request_() -> gr.Request:
    scope = {"type": "http", "headers": [], "client": ("127.0.0.1", 1)}
    scope["app"] = SimpleNamespace(auth=None)
    return gr.Request(request=Request(scope), session_hash="page")  # type: ignore[arg-type]


async def test_a_draft_is_told_once(enhance: EnhanceHandler, request_: gr.Request) -> None:
    """Gradio shows the last value again when the event ends: a discarded draft came back."""
    told: list[Any] = [part async for part in enhance._write("a cat", "{}", request_)]
    assert told[-1] == gr.skip()
    assert sum("draft" in str(part) for part in told) == 1


async def test_a_description_is_told_once(enhance: EnhanceHandler, request_: gr.Request) -> None:
    event = SimpleNamespace(_data={"picture": "data:image/png;base64,!"})
    told: list[Any] = [part async for part in enhance._describe(event, request_)]  # type: ignore[arg-type]
    assert told[-1] == gr.skip()
    assert sum("not a picture" in str(part) for part in told) == 1
