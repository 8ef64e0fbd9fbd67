"""Enhance: a draft of a richer prompt. The original is replaced only when the person says so."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import gradio as gr

from ..errors import ComfyHeadlessError
from ..prompts.enhance import EnhancedPrompt, Kind, enhance_prompt
from ..studio import JobError
from .backend import Backend
from .draft import Draft
from .html import Html, el, icon
from .island import island

__all__ = ["Enhance", "draft_card"]


class Enhance:
    """The button in the prompt's corner and the draft below it."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def build(self, prompt: Any, slot: Any) -> None:
        """Make the components and connect them to the ``prompt`` box."""
        button = gr.Button("✨ Enhance", elem_id="enhance", size="sm")
        draft = island(elem_id="draft", sends=["use", "retry", "discard"])
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        button.click(
            self._first,
            inputs=[prompt, slot],
            outputs=[draft],
            js="(prompt) => [prompt, window.comfy.current()]",
            **quiet,
        )
        draft.retry(
            self._again,
            inputs=[prompt, slot],
            outputs=[draft],
            js="(prompt) => [prompt, window.comfy.current()]",
            **quiet,
        )
        # The browser has put the draft into the prompt and the old prompt into its history.
        draft.use(lambda: "", outputs=[draft], **quiet)
        draft.discard(lambda: "", outputs=[draft], **quiet)

    async def _first(self, prompt: str, text: str) -> Html:
        return await self._write(prompt, text, seed=None)

    async def _again(self, prompt: str, text: str) -> Html:
        return await self._write(prompt, text, seed=random.randrange(2**32))

    async def _write(self, prompt: str, text: str, *, seed: int | None) -> Html:
        preset = self._backend.catalog.entry(Draft.parse(text).preset).preset
        kind: Kind = "video" if preset.kind == "video" else "image"
        try:
            draft = await asyncio.to_thread(
                enhance_prompt, prompt, family=preset.family, kind=kind, seed=seed
            )
        except ComfyHeadlessError as error:
            return _failed(JobError.of(error))
        return draft_card(draft)


def draft_card(draft: EnhancedPrompt) -> Html:
    """The draft with what was added marked in it, where it came from, and what to do with it."""
    source = "built-in rules" if draft.source == "rules" else draft.source
    return el(
        "section",
        el(
            "div",
            el("strong", "Draft"),
            el("span", f"by {source}", class_="quiet"),
            class_="row",
        ),
        el("p", _marked(draft.enhanced, draft.changes), class_="draft-text"),
        el("p", f"Negative: {draft.negative}", class_="quiet") if draft.negative else None,
        el(
            "div",
            el(
                "button",
                icon("check"),
                "Use",
                type="button",
                class_="act strong",
                data_send="use",
                data_prompt=draft.enhanced,
            ),
            el("button", icon("again"), "Retry", type="button", class_="act", data_send="retry"),
            el(
                "button", icon("close"), "Discard", type="button", class_="act", data_send="discard"
            ),
            class_="acts",
        ),
        class_="draft",
        aria_label="Draft of the prompt",
        aria_live="polite",
    )


def _marked(text: str, changes: tuple[str, ...]) -> list[Html | str]:
    """``text`` with the added phrases as ``<mark>``, first occurrences in order."""
    parts: list[Html | str] = []
    rest = text
    for change in sorted(changes, key=text.find):
        before, found, after = rest.partition(change)
        if found:
            parts += [before, el("mark", found)]
            rest = after
    return [*parts, rest]


def _failed(error: JobError) -> Html:
    return el(
        "div", icon("alert"), el("p", error.message, " ", error.hint), class_="notice", role="alert"
    )
