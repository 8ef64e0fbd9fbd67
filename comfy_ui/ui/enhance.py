"""Enhance: a draft of a richer prompt. The original is replaced only when the person says so."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Final, Self, get_args

import gradio as gr

from ..errors import ComfyHeadlessError, ValidationError
from ..prompts import (
    DescribeOptions,
    EnhancedPrompt,
    EnhanceOptions,
    Kind,
    Strength,
    adescribe_image,
    count_tokens,
    differences,
    list_styles,
    load_styles,
    stream_enhance,
)
from ..prompts.models import RULES, find_model, find_seeing_model
from ..studio import JobError
from ..workflow.presets import Preset
from .access import Access
from .backend import Backend
from .draft import Draft
from .html import Html, el, icon
from .island import island, sent

__all__ = ["Enhance", "Wishes", "draft_card", "kind_of", "writing_card"]

_TIMEOUT_S: Final = 60.0  # a person sees it coming and can stop it; a model may have to be loaded
_RULES_NAME: Final = "built-in rules"
_DRAW_EVERY_S: Final = 0.1
_MAX_OWN_WORDS: Final = 4000
_MAX_PICTURE: Final = 4_000_000  # characters of a data: address; the browser sends it small


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a person wants drafts: kept by the browser, sent with every request."""

    style: str = "balanced"
    strength: Strength = "medium"
    instructions: str = ""
    system: str | None = ""
    """A system prompt of their own, in the place of ours. None: it is not theirs to give."""
    again: bool = False
    """Another draft is wanted than the one before."""

    @classmethod
    def parse(cls, text: str, styles: Iterable[str]) -> Self:
        """From the page's JSON. What is not as it should be is as it is by default."""
        try:
            raw = json.loads(text)
        except ValueError:
            return cls()
        wished = raw.get("wishes") if isinstance(raw, dict) else None
        if not isinstance(wished, dict):
            return cls()
        right: dict[str, Any] = {"again": raw.get("again") is True}
        if (style := wished.get("style")) in list(styles):
            right["style"] = style
        if (strength := wished.get("strength")) in get_args(Strength):
            right["strength"] = strength
        for name in ("instructions", "system"):
            if isinstance(told := wished.get(name), str):
                right[name] = told[:_MAX_OWN_WORDS]
        return cls(**right)


class Enhance:
    """The button in the prompt's corner and the draft below it."""

    def __init__(self, backend: Backend, access: Access) -> None:
        self._backend = backend
        self._access = access
        self._writing: dict[str, asyncio.Task[Any]] = {}  # per open page

    def build(self, prompt: Any, slot: Any) -> None:
        """Make the components and connect them to the ``prompt`` box."""
        button = gr.Button("✨ Enhance", elem_id="enhance", size="sm")
        draft = island(elem_id="draft", sends=["use", "retry", "discard", "describe"])
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        for event, again in ((button.click, "false"), (draft.retry, "true")):
            event(
                self._write,
                inputs=[prompt, slot],
                outputs=[draft],
                js=f"(prompt) => [prompt, window.comfy.wishes({again})]",
                trigger_mode="multiple",  # a new draft ends the one before, see _pieces
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
            self._access.require("enhance", request)
            self._end(page)
            folder = self._backend.settings.data_dir / "styles"
            library = (await asyncio.to_thread(load_styles, folder)).styles
            wishes = Wishes.parse(text, [*list_styles(), *library])
            if not self._access.allows("open_workflow", request):
                # With a system prompt a visitor would have the owner's model for anything.
                wishes = replace(wishes, system=None)
            preset = self._backend.catalog.entry(Draft.parse(text).preset).preset
            model = await asyncio.to_thread(find_model, settings=self._backend.settings)
            options: EnhanceOptions = {
                "style": library.get(wishes.style, wishes.style),
                "strength": wishes.strength,
                "family": preset.family,
                "kind": kind_of(preset),
                "seed": random.randrange(2**31) if wishes.again else None,
                "model": model or "rules",
                "instructions": wishes.instructions,
                "system": wishes.system or "",
                "timeout_s": _TIMEOUT_S,
            }
            source = (model.name or "the model") if model else ""
            async with aclosing(self._pieces(page, stream_enhance(prompt, **options))) as parts:
                written, drawn = "", 0.0
                async for part in parts:
                    if isinstance(part, EnhancedPrompt):
                        yield draft_card(part, preset, wishes, library)
                        return
                    written += part
                    if model is not None and time.monotonic() - drawn >= _DRAW_EVERY_S:
                        drawn = time.monotonic()
                        yield writing_card(written, source)
            yield gr.skip()  # stopped: Gradio shows the last value once more, and that is none
        except ComfyHeadlessError as error:
            yield _failed(JobError.of(error))

    async def _describe(self, event: gr.EventData, request: gr.Request) -> AsyncIterator[Any]:
        """A prompt from a picture, as a draft."""
        page = request.session_hash or ""
        try:
            self._access.require("enhance", request)
            self._end(page)
            data = sent(event)
            picture = _picture(data.get("picture"))
            preset = self._backend.catalog.entry(Draft.parse(data.get("draft")).preset).preset
            model = await asyncio.to_thread(find_seeing_model, settings=self._backend.settings)
            options: DescribeOptions = {
                "family": preset.family,
                "model": model or RULES,
                "timeout_s": _TIMEOUT_S,
            }
            async with aclosing(self._pieces(page, _described(picture, options))) as parts:
                async for part in parts:
                    if isinstance(part, EnhancedPrompt):
                        yield draft_card(part, preset)
                        return
                    yield writing_card(part, (model and model.name) or "the model")
            yield gr.skip()  # stopped
        except ComfyHeadlessError as error:
            yield _failed(JobError.of(error))

    async def _pieces(
        self, page: str, written: AsyncGenerator[str | EnhancedPrompt, None]
    ) -> AsyncGenerator[str | EnhancedPrompt, None]:
        """``written``, ending without a word when the page wants no more of it."""
        parts: asyncio.Queue[str | EnhancedPrompt | None] = asyncio.Queue()
        writing = asyncio.create_task(_into(parts, written), name="a draft")
        self._writing[page] = writing
        writing.add_done_callback(lambda _: parts.put_nowait(None))
        try:
            yield ""  # something is seen at once, also while a model is being loaded
            while (part := await parts.get()) is not None:
                yield part
            if not writing.cancelled():
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


def _picture(address: object) -> bytes:
    """The bytes in a ``data:`` address. Whether they are a picture is seen when it is opened."""
    text = address if isinstance(address, str) and len(address) <= _MAX_PICTURE else ""
    try:
        return base64.b64decode(text.partition(";base64,")[2], validate=True)
    except ValueError as error:
        raise ValidationError("That is not a picture.") from error


def draft_card(
    draft: EnhancedPrompt,
    preset: Preset,
    wishes: Wishes | None = None,
    styles: Iterable[str] = (),
) -> Html:
    """The draft: what changed is marked, who wrote it, and what can be done with it.

    Without ``wishes`` it is the description of a picture, which no prompt was before.
    """
    negative = draft.negative if preset.by_role("negative") else ""
    changed = draft.enhanced != draft.original.strip()
    tokens = count_tokens(draft.enhanced, preset.family)
    return el(
        "section",
        _head(_RULES_NAME if draft.source == RULES else draft.source),
        el("p", draft.reason, class_="quiet", role="status") if draft.reason else None,
        el("p", _marked(draft) if wishes else draft.enhanced, class_="draft-text")
        if changed
        else None,
        _besides("Negative", negative) if negative and changed else None,
        _besides("Lyrics", draft.lyrics) if draft.lyrics else None,
        el("p", f"About {tokens.used} of {tokens.limit} tokens.", class_="quiet")
        if not tokens.fits
        else None,
        el(
            "div",
            _act(
                "Use",
                "check",
                strong=True,
                data_send="use",
                data_prompt=draft.enhanced,
                data_negative=negative or None,
                data_lyrics=draft.lyrics or None,
            )
            if changed
            else None,
            _act("Edit", "prompt", data_do="edit-draft") if changed else None,
            _act("Retry", "again", data_send="retry") if wishes else None,
            _act("Discard", "close", data_send="discard"),
            class_="acts",
        ),
        _choices(wishes, styles) if wishes else None,
        class_="draft",
        aria_label="Draft of the prompt",
        aria_live="polite",
    )


def writing_card(text: str, source: str) -> Html:
    """The draft while a model writes it."""
    return el(
        "section",
        _head(source, writing=True),
        el("p", text or "…", class_="draft-text"),
        el("div", _act("Stop", "stop", data_send="discard"), class_="acts"),
        class_="draft writing",
        aria_label="Draft of the prompt",
        aria_busy="true",
    )


def _head(source: str, *, writing: bool = False) -> Html:
    name = el("span", source, translate="no")
    told: list[Html | str] = [name, " is writing"] if writing else ["by ", name]
    if source == _RULES_NAME:
        told = [f"by {source}"]
    return el("div", el("strong", "Draft"), el("span", told, class_="quiet"), class_="row")


def _besides(label: str, text: str) -> Html:
    return el(
        "p", el("b", f"{label}:"), " ", el("span", text, translate="no"), class_="quiet besides"
    )


def _act(label: str, image: str, *, strong: bool = False, **data: str | None) -> Html:
    class_ = "act strong" if strong else "act"
    return el("button", icon(image), label, type="button", class_=class_, **data)


def _marked(draft: EnhancedPrompt) -> list[Html | str]:
    tags = {"added": "mark", "removed": "del"}
    return [
        el(tags[run.kind], run.text) if run.kind in tags else run.text
        for run in differences(draft.original.strip(), draft.enhanced)
    ]


def _choices(wishes: Wishes, styles: Iterable[str]) -> Html:
    """How the next draft is to be. A change asks for one at once."""

    def option(value: str) -> Html:
        return el("option", value.capitalize(), value=value, selected=value == wishes.style)

    return el(
        "div",
        el(
            "select",
            el("optgroup", [option(name) for name in list_styles()], label="Ways to write"),
            el("optgroup", [option(name) for name in sorted(styles)], label="Looks"),
            data_wish="style",
            aria_label="Style of the draft",
        ),
        el(
            "select",
            [
                el("option", name.capitalize(), value=name, selected=name == wishes.strength)
                for name in get_args(Strength)
            ],
            data_wish="strength",
            aria_label="Strength of the draft",
        ),
        el(
            "details",
            el("summary", "Own instructions"),
            _own(
                wishes.instructions,
                "instructions",
                "Besides ours",
                "For instance: always photographs, never people",
            ),
            None
            if wishes.system is None
            else _own(
                wishes.system,
                "system",
                "Instead of ours: the whole system prompt",
                "You write prompts for …",
            ),
        ),
        class_="wishes",
    )


def _own(text: str, wish: str, label: str, example: str) -> Html:
    return el(
        "label",
        el("span", label),
        el(
            "textarea",
            text,
            data_wish=wish,
            rows=2,
            maxlength=_MAX_OWN_WORDS,
            placeholder=example,
        ),
    )


def kind_of(preset: Preset) -> Kind:
    """What a prompt for this preset is for."""
    if preset.task == "edit":
        return "edit"
    if preset.task == "i2v":
        return "i2v"
    if preset.kind == "video":
        return "video"
    return "audio" if preset.kind == "audio" else "image"


def _failed(error: JobError) -> Html:
    return el(
        "div", icon("alert"), el("p", error.message, " ", error.hint), class_="notice", role="alert"
    )
