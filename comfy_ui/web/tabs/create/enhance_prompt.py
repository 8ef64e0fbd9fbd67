"""Enhance: draft a richer prompt. The original is replaced only when the user accepts the draft."""

from __future__ import annotations

import asyncio
import base64
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

import gradio as gr

from ....errors import ComfyHeadlessError, ValidationError
from ....prompts import (
    DescribeOptions,
    EnhancedPrompt,
    EnhanceOptions,
    Kind,
    adescribe_image,
    list_styles,
    load_styles,
    stream_enhance,
)
from ....prompts.describe import scaled_down
from ....prompts.language_models.model_choice import RULES, LanguageModel
from ....prompts.language_models.sources import Source, find_source
from ....prompts.language_models.text_encoder import TextEncoder
from ....storage.records import JobError
from ....worker_processes.process_pool import WORKERS
from ....workflow.presets.preset_store import Preset
from ...auth.access import Access
from ...components.enhance_card import EnhanceSettings, draft_card, failed_card, writing_card
from ...components.html import Html
from ...components.html_block import from_page, html_block
from ...services import Services
from .form_state import FormState

__all__ = ["EnhanceHandler", "kind_of"]

_TIMEOUT_S: Final = (
    60.0  # seconds; the user sees the progress and can stop it, and a model may have to be loaded
)
_DRAW_EVERY_S: Final = 0.1
_MAX_PICTURE: Final = 4_000_000  # characters of a data: URI; the browser sends a small image
_MAX_PIXELS: Final = 4 * 1024**2  # it sends up to 1024 × 1024; 64 million would take a second


class EnhanceHandler:
    """The button in the prompt's corner and the draft below it."""

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access
        self._writing: dict[str, asyncio.Task[Any]] = {}  # per open page

    def build(self, prompt: Any, slot: Any) -> None:
        """Create the components and connect them to the ``prompt`` box."""
        button = gr.Button("✨ Enhance", elem_id="enhance", size="sm")
        draft = html_block(elem_id="draft", sends=["use", "retry", "discard", "describe"])
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        for event, again in ((button.click, "false"), (draft.retry, "true")):
            event(
                self._write,
                inputs=[prompt, slot],
                outputs=[draft],
                js=f"(prompt) => [prompt, window.comfy.wishes({again})]",
                trigger_mode="multiple",  # a new draft ends the previous one, see _pieces
                concurrency_limit=None,
                **quiet,
            )
        # The browser has put the draft into the prompt and the old prompt into its history.
        draft.use(self._stop, outputs=[draft], **quiet)
        draft.discard(self._stop, outputs=[draft], **quiet)
        draft.describe(self._describe, outputs=[draft], concurrency_limit=None, **quiet)

    async def _stop(self, request: gr.Request) -> str:
        self._access.require("see_own", request)
        self._end(request.session_hash or "")
        return ""

    def _end(self, page: str) -> None:
        if writing := self._writing.pop(page, None):
            writing.cancel()

    async def _write(self, prompt: str, text: str, request: gr.Request) -> AsyncIterator[Any]:
        page = request.session_hash or ""
        try:
            await self._access.admit("enhance", request)
            self._end(page)
            folder = self._services.settings.data_dir / "styles"
            library = (await asyncio.to_thread(load_styles, folder)).styles
            wishes = EnhanceSettings.parse(text, [*list_styles(), *library])
            if not self._access.allows("open_workflow", request):
                # With a system prompt a user could use the admin's model for anything.
                wishes = replace(wishes, system=None)
            preset = self._services.catalog.entry(FormState.parse(text).preset).preset
            source = await self._source(preset)
            options: EnhanceOptions = {
                "style": library.get(wishes.style, wishes.style),
                "strength": wishes.strength,
                "family": preset.family,
                "kind": kind_of(preset),
                "seed": random.randrange(2**31) if wishes.unlike else None,
                "unlike": wishes.unlike,
                "model": source or RULES,
                "client": self._services.client,
                "shares_gpu": self._services.settings.llm_shares_gpu,
                "instructions": wishes.instructions,
                "system": wishes.system or "",
                "timeout_s": _timeout_s(source),
            }
            draft = self._started(source, stream_enhance(prompt, **options))
            async with aclosing(self._pieces(page, draft)) as parts:
                written, drawn = "", 0.0
                async for part in parts:
                    if isinstance(part, EnhancedPrompt):
                        yield draft_card(part, preset, wishes, library)
                        break
                    written += part
                    if source is not None and time.monotonic() - drawn >= _DRAW_EVERY_S:
                        drawn = time.monotonic()
                        yield self._writing_card(written, source)
        except ComfyHeadlessError as error:
            yield failed_card(JobError.of(error))
        # At the end of an event Gradio shows its last value once more: a draft that was discarded,
        # used or replaced by then would reappear. So the last value is empty.
        yield gr.skip()

    async def _describe(self, event: gr.EventData, request: gr.Request) -> AsyncIterator[Any]:
        """Draft a prompt from an image."""
        page = request.session_hash or ""
        try:
            user_id = await self._access.admit("enhance", request)
            self._end(page)
            data = from_page(event)
            content = _picture(data.get("picture"))
            picture = await WORKERS.run(scaled_down, content, _MAX_PIXELS, user_id=user_id)
            preset = self._services.catalog.entry(FormState.parse(data.get("draft")).preset).preset
            source = await self._source(preset, seeing=True)
            options: DescribeOptions = {
                "family": preset.family,
                "model": source or RULES,
                "client": self._services.client,
                "shares_gpu": self._services.settings.llm_shares_gpu,
                "timeout_s": _timeout_s(source),
            }
            draft = self._started(source, _described(picture, options))
            async with aclosing(self._pieces(page, draft)) as parts:
                async for part in parts:
                    if isinstance(part, EnhancedPrompt):
                        yield draft_card(part, preset)
                        break
                    yield self._writing_card(part, source)
        except ComfyHeadlessError as error:
            yield failed_card(JobError.of(error))
        yield gr.skip()  # the same

    async def _source(self, preset: Preset, *, seeing: bool = False) -> Source | None:
        services = self._services
        return await find_source(
            None,
            servers=services.catalog.servers,
            graph=preset.graph,
            seeing=seeing,
            settings=services.settings,
        )

    def _writing_card(self, written: str, source: Source | None) -> Html:
        starts = isinstance(source, TextEncoder) and bool(self._services.connection.absence())
        return writing_card(written, (source and source.name) or "the model", starts=starts)

    async def _started(
        self, source: Source | None, written: AsyncGenerator[str | EnhancedPrompt, None]
    ) -> AsyncGenerator[str | EnhancedPrompt, None]:
        """Yield from ``written``, but start ComfyUI first if it is the one to write."""
        async with aclosing(written):
            if isinstance(source, TextEncoder):
                await self._services.idle_stop.ensure_started()
                yield ""  # show that it writes now
            async for part in written:
                yield part

    async def _pieces(
        self, page: str, written: AsyncGenerator[str | EnhancedPrompt, None]
    ) -> AsyncGenerator[str | EnhancedPrompt, None]:
        """Yield from ``written``, ending silently when the page cancels it."""
        parts: asyncio.Queue[str | EnhancedPrompt | None] = asyncio.Queue()
        writing = asyncio.create_task(_into(parts, written), name="a draft")
        self._writing[page] = writing
        writing.add_done_callback(lambda _: parts.put_nowait(None))
        try:
            yield ""  # show something at once, even while a model is being loaded
            # Stop ends the draft at once, even if a library delays or swallows the cancellation.
            while (part := await parts.get()) is not None and self._writing.get(page) is writing:
                yield part
            if writing.done() and not writing.cancelled():
                writing.result()
        finally:
            writing.cancel()
            if self._writing.get(page) is writing:
                del self._writing[page]


async def _into(
    parts: asyncio.Queue[str | EnhancedPrompt | None],
    written: AsyncGenerator[str | EnhancedPrompt, None],
) -> None:
    async with aclosing(written):
        async for part in written:
            parts.put_nowait(part)


async def _described(
    picture: bytes, options: DescribeOptions
) -> AsyncGenerator[str | EnhancedPrompt, None]:
    yield await adescribe_image(picture, **options)


def _timeout_s(source: Source | None) -> float | None:
    return _TIMEOUT_S if isinstance(source, LanguageModel) else None


def _picture(address: object) -> bytes:
    """Decode a ``data:`` URI. Whether it is an image is checked when it is opened."""
    text = address if isinstance(address, str) and len(address) <= _MAX_PICTURE else ""
    try:
        return base64.b64decode(text.partition(";base64,")[2], validate=True)
    except ValueError as error:
        raise ValidationError("That is not an image.") from error


def kind_of(preset: Preset) -> Kind:
    """Return the kind of prompt for a preset."""
    if preset.task == "edit":
        return "edit"
    if preset.task == "i2v":
        return "i2v"
    if preset.kind == "video":
        return "video"
    return "audio" if preset.kind == "audio" else "image"
