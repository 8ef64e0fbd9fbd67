"""The Create tab: describe, generate, watch, keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import gradio as gr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ....errors import ComfyHeadlessError, ValidationError
from ....features import FEATURES
from ....storage.records import Job, JobError, LibraryItem
from ...components import preset_form
from ...components.html import Html
from ...components.html_block import from_page, html_block
from ...components.templates import error_notice, render
from ...http.handlers import PRIVATE, body, guarded
from ...tab import PageContext, PageParts, Tab, fill_on_load
from .dropped_files import DroppedFiles
from .enhance_prompt import EnhanceHandler
from .form_state import FormState
from .generate import GenerateHandler
from .generate_menu import menu
from .grid_request import routes as grid_routes
from .live_preview import LivePreview
from .model_browser import ModelBrowser
from .one_press import OnePress
from .own_presets import OwnPresets, own_defaults
from .prompt.prompt_completion import Completion
from .prompt.prompt_tools import PromptTools
from .reuse_settings import recall
from .small_jobs import SmallJobs

__all__ = ["CreateTab"]

_MAX_DRAFT_BYTES: Final = 2 * 2**20


class CreateTab(Tab):
    """The form, the Generate button, the stage and the newest results."""

    id = "create"
    title = "Create"

    def __init__(self, context: PageContext) -> None:
        super().__init__(context)
        services, access = context.services, context.access
        self._uploads = context.uploads
        self._form = context.form
        self._enhance = EnhanceHandler(services, access)
        self._prompt_tools = PromptTools(services, access)
        self._completion = Completion(services, access)
        self._own_presets = OwnPresets(services, access)
        self._models = ModelBrowser(services, access)
        self._stage = LivePreview(services, access)
        self._generate = GenerateHandler(services, access, context.uploads)
        self._one_press = OnePress(services, access, context.uploads, self._generate)
        self._small_jobs = SmallJobs(services, access, context.uploads)
        self._dropped_files = DroppedFiles(services, access, context.form)

    def routes(self) -> list[BaseRoute]:
        """The routes of the stage, Generate, grids, dropped files, prompt tools and model files."""
        return [
            Route("/create/open", guarded(self._open, writes=True), methods=["POST"]),
            *self._stage.routes(),
            *self._generate.routes(),
            *grid_routes(self._services, self._access),
            *self._dropped_files.routes(),
            *self._prompt_tools.routes(),
            *self._completion.routes(),
            *self._own_presets.routes(),
            *self._one_press.routes(),
            *self._models.routes(),
            *self._small_jobs.routes(),
        ]

    def build(self, parts: PageParts, /) -> None:
        """Create the components and connect them."""
        banner = html_block(elem_id="banner")
        slot = gr.Textbox(visible=False)  # carries the page's JSON to Python, by the js of events
        with gr.Row(elem_id="create"):
            with gr.Column(elem_id="compose"):
                chooser = html_block(elem_id="picker", sends=["choose"])
                with gr.Column(elem_id="prompt-card"):
                    prompt = gr.Textbox(
                        label="Prompt",
                        lines=3,
                        max_lines=12,
                        autofocus=True,
                        placeholder="Describe what you want to see, or drop an image here to "
                        "restore its settings",
                        elem_id="prompt",
                    )
                    words = html_block(elem_id="words")
                    if FEATURES["ai"]:
                        self._enhance.build(prompt, slot)
                notice = html_block(elem_id="notice")
                with gr.Row(elem_id="actions"):
                    gr.Button("Generate", variant="primary", elem_id="generate")
                    html_block(menu(), elem_id="more-ways")
                    stop = gr.Button("Stop", elem_id="stop", interactive=False)
                with gr.Column(elem_id="settings"):
                    form = html_block(elem_id="form")
            with gr.Column(elem_id="stage-area"):
                stage = html_block(elem_id="stage", sends=["recall"])
                opened = html_block(elem_id="opened-result", sends=["recall"])
                results = html_block(elem_id="results", sends=["recall"])
        self._form.components = [chooser, form, prompt, notice]
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

        # Apart from the others: it waits for the servers.
        fill_on_load(parts.blocks, self._form.components, "window.comfy.openForm()")
        parts.on_load.add(self._prompt_tools.bar, words)
        chooser.choose(self._choose, outputs=self._form.components, **quiet)
        stop.click(self._stop, inputs=[slot], js="() => [window.comfy.shownJob()]", **quiet)
        for source in (stage, opened, results):
            source.recall(self._recall, outputs=self._form.components, **quiet)
        self._dropped_files.build()
        parts.on_load.add(self._banner, banner)

    def _banner(self, request: Request) -> Html:
        """Say that the demo engine is in use, if it is."""
        self._access.require("see", request)
        if not self._services.connection.embedded:
            return Html("")
        is_admin = self._access.allows("reconnect", request)
        can_set_up = self._access.allows("set_up_engine", request)
        return render("status_tab.html", "banner", is_admin=is_admin, can_set_up=can_set_up)

    async def _open(self, request: Request) -> Response:
        """Show the form that the page asks for. The page itself restores the prompt."""
        user_id = self._access.require("see_own", request)
        draft = FormState.parse((await body(request, _MAX_DRAFT_BYTES)).decode(errors="replace"))
        return JSONResponse(await self._opened(draft, user_id), headers=PRIVATE)

    async def _opened(self, draft: FormState, user_id: str) -> tuple[Any, ...]:
        await self._services.connection.wait_checked()
        await self._services.connection.check_online()
        catalog = self._services.catalog
        await catalog.look()
        try:
            preset = catalog.chosen(draft.preset).preset
        except ValidationError as error:
            *updates, _ = self._form.show(catalog.default.preset.id, {})
            return (*updates, error_notice(JobError.of(error)))
        defaults = await own_defaults(self._services, user_id, preset)
        return self._form.show(preset.id, {**defaults, **draft.values})

    async def _choose(self, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        user_id = self._access.require("see_own", request)
        await self._services.connection.check_online()
        data = from_page(event)
        draft = FormState.parse(data.get("draft"))
        old = self._services.catalog.entry(draft.preset).preset
        new = self._services.catalog.entry(data.get("preset")).preset
        defaults = await own_defaults(self._services, user_id, new)
        if data.get("reset"):
            return self._form.show(new.id, defaults)
        edited = preset_form.carry(
            old,
            preset_form.read(old, draft.values),
            new,
            defaults=await own_defaults(self._services, user_id, old),
        )
        return self._form.show(new.id, {**defaults, **edited})

    async def _stop(self, job_id: str, request: gr.Request) -> None:
        user_id = self._access.require("cancel", request)
        jobs = await self._services.jobs.active(user_id)
        chosen = next((job for job in jobs if job.id == job_id), jobs[0] if jobs else None)
        if chosen is not None:
            await self._services.jobs.cancel(chosen.id, user_id)

    async def _recall(self, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        data = from_page(event)
        user_id = self._access.require("see_own", request)
        draft = FormState.parse(data.get("draft"))
        try:
            source = await self._source(data, user_id)
            what = str(data.get("what", ""))
            reused = await recall(what, source, draft, self._services, self._uploads)
        except ComfyHeadlessError as error:
            return self._form.error(error)
        if reused.preset is None:
            return self._form.prompt(reused.prompt)
        return self._form.show(reused.preset.id, reused.values, prompt=reused.prompt)

    async def _source(self, data: Mapping[str, Any], user_id: str) -> LibraryItem | Job:
        """The job or result that the page names, if it is the user's own."""
        if "job" in data:
            return await self._services.jobs.job(str(data["job"]), user_id)
        number = str(data.get("item", ""))
        return await self._services.library.item(int(number) if number.isdecimal() else 0, user_id)
