"""EnhanceHandler: what it yields to the page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from starlette.requests import Request

from comfy_ui.settings import Settings
from comfy_ui.web.auth.access import Access, AccessMode
from comfy_ui.web.tabs.create import enhance_prompt
from comfy_ui.web.tabs.create.enhance_prompt import EnhanceHandler
from comfy_ui.web.tabs.create.prompt.prompt_tools import PromptTools
from tests.web.web_app import open_web_app


@pytest.fixture
async def enhance(tmp_path: Path) -> AsyncIterator[EnhanceHandler]:
    async with open_web_app(tmp_path / "data") as web_app:
        web_app.services.settings = Settings(data_dir=tmp_path, llm_model="rules")
        yield EnhanceHandler(web_app.services, Access(AccessMode.LOCAL, b"secret"))


@pytest.fixture
def request_() -> gr.Request:
    scope = {"type": "http", "headers": [], "client": ("127.0.0.1", 1)}
    scope["app"] = SimpleNamespace(auth=None)
    return gr.Request(request=Request(scope), session_hash="page")  # type: ignore[arg-type]


async def test_enhance_handler_write_yields_the_draft_once(
    enhance: EnhanceHandler, request_: gr.Request
) -> None:
    """Gradio shows the last value again when the event ends, so a discarded draft would return."""
    updates: list[Any] = [part async for part in enhance._write("a cat", "{}", request_)]
    assert updates[-1] == gr.skip()
    assert sum("draft" in str(part) for part in updates) == 1


async def test_enhance_handler_describe_yields_the_description_once(
    enhance: EnhanceHandler, request_: gr.Request
) -> None:
    event = SimpleNamespace(_data={"picture": "data:image/png;base64,!"})
    updates: list[Any] = [part async for part in enhance._describe(event, request_)]  # type: ignore[arg-type]
    assert updates[-1] == gr.skip()
    assert sum("not an image" in str(part) for part in updates) == 1


async def test_enhance_handler_write_uses_the_encoder_of_the_preset(
    enhance: EnhanceHandler, request_: gr.Request
) -> None:
    services = enhance._services
    services.settings = Settings(data_dir=services.settings.data_dir, llm_model="comfyui")
    await services.catalog.refresh()
    form = json.dumps({"preset": "z_image_turbo"})
    cards = [str(part) async for part in enhance._write("a cat", form, request_)]
    assert any("in soft light at dawn" in card for card in cards)
    assert "qwen_3_4b (ComfyUI)" in cards[-2]


async def test_prompt_tools_bar_offers_describe_with_an_encoder_that_sees(
    enhance: EnhanceHandler, request_: gr.Request
) -> None:
    services = enhance._services
    tools = PromptTools(services, enhance._access)
    services.settings = Settings(data_dir=services.settings.data_dir, llm_model="comfyui")
    assert 'data-sees="true"' not in await tools.bar(request_)
    await services.catalog.refresh()
    assert 'data-sees="true"' in await tools.bar(request_)


async def _a_model(*_: Any, **__: Any) -> Any:
    return SimpleNamespace(name="a model")


async def test_enhance_stop_with_swallowed_cancellation_ends_draft(
    enhance: EnhanceHandler, request_: gr.Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that swallows the cancellation must not keep a stopped draft on the page."""
    swallowed = asyncio.Event()

    async def stubborn(prompt: str, **_: Any) -> AsyncIterator[str]:
        await asyncio.sleep(0.2)  # the card is drawn ten times a second
        yield f"{prompt} asleep"
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            swallowed.set()
        while True:
            yield " and more"
            await asyncio.sleep(0.2)

    monkeypatch.setattr(enhance_prompt, "stream_enhance", stubborn)
    monkeypatch.setattr(enhance_prompt, "find_source", _a_model)
    async with asyncio.timeout(20):
        cards = []
        async for card in enhance._write("a cat", "{}", request_):
            cards.append(card)
            if "a cat asleep" in str(card) and not swallowed.is_set():
                assert await enhance._stop(request_) == ""
    assert swallowed.is_set()
    assert "and more" not in str(cards)
