"""The Create tab: describe, generate, watch, keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import gradio as gr

from ....errors import ComfyHeadlessError, ValidationError
from ....features import FEATURES
from ....storage.records import Job, JobError, LibraryItem, Phase, Snapshot
from ....workflow.presets.preset_store import Preset
from ...auth.access import Access
from ...components import job_card, preset_form
from ...components.html import Html
from ...components.html_block import from_page, html_block
from ...components.preset_picker import picker
from ...components.templates import notice
from ...components.thumbnails import gallery
from ...http.upload_routes import UploadRoutes
from ...services import Services
from .enhance_prompt import EnhanceHandler
from .form_state import FormState
from .generate import read_outcomes
from .generate_menu import menu
from .live_preview import LivePreview
from .prompt_tools import PromptTools
from .reuse_settings import recall, ways_on

__all__ = ["CreateTab"]

_SHOWN_RESULTS: Final = 24


class CreateTab:
    """Builds the tab inside a ``gr.Blocks`` and answers its events."""

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access
        self._uploads = UploadRoutes(services, access)
        self._stage = LivePreview(services, access)

    def build(self, page: Any) -> None:
        """Make the components and connect them. ``page`` is the surrounding ``gr.Blocks``."""
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
                        placeholder="Describe what you want to see, or drop a picture here to "
                        "restore its settings",
                        elem_id="prompt",
                    )
                    words = html_block(elem_id="words")
                    if FEATURES["ai"]:
                        EnhanceHandler(self._services, self._access).build(prompt, slot)
                notice = html_block(elem_id="notice")
                with gr.Row(elem_id="actions"):
                    generate = gr.Button("Generate", variant="primary", elem_id="generate")
                    html_block(menu(), elem_id="more-ways")
                    stop = gr.Button("Stop", elem_id="stop", interactive=False)
            with gr.Column(elem_id="stage-area"):
                stage = html_block(elem_id="stage", sends=["attach", "recall"])
                results = html_block(elem_id="results", sends=["recall"])
            with gr.Column(elem_id="settings"):
                form = html_block(elem_id="form")
        ticket = gr.State("")  # changes when there may be something new to follow
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

        page.load(
            self._open,
            inputs=[slot],
            outputs=[chooser, form, prompt, notice],
            js="() => [window.comfy.draft()]",
            **quiet,
        )
        page.load(PromptTools(self._services, self._access).bar, outputs=[words], **quiet)
        chooser.choose(self._choose, outputs=[chooser, form, notice, generate], **quiet)
        generate.click(
            self._pressed,
            inputs=[slot],
            outputs=[notice, ticket],
            js="async () => [await window.comfy.outcome()]",
            trigger_mode="multiple",
            **quiet,
        )
        look: dict[str, Any] = {
            "inputs": [slot],
            "outputs": [stage, results, notice, generate, stop],
            "js": "() => [window.comfy.liveJob()]",
            "trigger_mode": "always_last",
            "concurrency_limit": None,
            **quiet,
        }
        gr.on([page.load, ticket.change], self._look, **look)
        stage.attach(self._attach, **look)
        stop.click(self._stop, inputs=[slot], js="() => [window.comfy.shownJob()]", **quiet)
        self.shown = [chooser, form, prompt, notice]
        for source in (stage, results):
            source.recall(self._recall, outputs=self.shown, **quiet)

    def show(
        self, preset_id: str, values: Mapping[str, Any], *, prompt: str | None = None
    ) -> tuple[Any, ...]:
        """What the components in :attr:`shown` become to show that preset's form.

        Without a ``prompt`` the preset's own goes into the box, where it has one.
        """
        preset = self._services.catalog.entry(preset_id).preset
        said = preset.by_role("prompt")
        text = prompt or (str(said.default) if said is not None and said.default else "")
        return (*self._show(preset, values), text or gr.skip(), self._reason(preset))

    @staticmethod
    def told(error: ComfyHeadlessError) -> tuple[Any, ...]:
        """What they become to say what went wrong: all stays, but for the notice."""
        return gr.skip(), gr.skip(), gr.skip(), _notice(JobError.of(error))

    # What follows answers events. Each handler asks self._access whose request it is.

    async def _open(self, text: str, request: gr.Request) -> tuple[Any, ...]:
        """The page was loaded: show the draft that the browser kept."""
        self._access.require("see", request)
        draft = FormState.parse(text)
        await self._services.connection.wait_checked()
        catalog = self._services.catalog
        await catalog.look()
        if draft.preset and catalog.find(draft.preset) is None:
            gone = ValidationError(
                f"There is no preset '{draft.preset[:80]}' here.", hint="Choose another one."
            )
            first = catalog.entry(None).preset
            return (*self._show(first, {}), draft.prompt, _notice(JobError.of(gone)))
        entry = catalog.entry(draft.preset)
        return (*self._show(entry.preset, draft.values), draft.prompt, self._reason(entry.preset))

    async def _choose(self, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        self._access.require("see", request)
        data = from_page(event)
        draft = FormState.parse(data.get("draft"))
        old = self._services.catalog.entry(draft.preset).preset
        new = self._services.catalog.entry(data.get("preset")).preset
        values = preset_form.carry(old, preset_form.read(old, draft.values), new)
        return (*self._show(new, values), self._reason(new), gr.skip())

    async def _pressed(self, text: str, request: gr.Request) -> tuple[Any, Any]:
        """Draw what came of presses of Generate, as :class:`.generate.Press` has told the page."""
        self._access.require("see_own", request)
        outcomes = read_outcomes(text)
        if not outcomes:
            return gr.skip(), gr.skip()
        errors = [outcome.error for outcome in outcomes if outcome.error]
        jobs = [outcome.job for outcome in outcomes if outcome.job]
        return _notice(errors[-1]) if errors else "", jobs[-1] if jobs else gr.skip()

    async def _look(self, shown: str, request: gr.Request) -> tuple[Any, ...]:
        """The stage, the results and the buttons as they are now.

        ``shown`` is the job that the page draws already, as :class:`.live_preview.LivePreview`
        tells it.
        """
        return await self._now(self._access.require("see_own", request), shown)

    async def _attach(
        self, shown: str, event: gr.EventData, request: gr.Request
    ) -> tuple[Any, ...]:
        """The same, because a job has ended or another page may have started one."""
        user_id = self._access.require("see_own", request)
        ended = str(from_page(event).get("job") or "")
        stage, results, notice, *buttons = await self._now(user_id, shown, watched=bool(ended))
        if ended:
            notice = await self._ended(ended, user_id)
        return stage, results, notice, *buttons

    async def _now(self, user_id: str, shown: str, *, watched: bool = False) -> tuple[Any, ...]:
        stage = gr.skip()
        try:
            jobs = await self._services.jobs.active(user_id)
            if not jobs:
                await self._services.jobs.wait_for_sheets(user_id)
                stage = await self._last(user_id, watched=watched)
            elif jobs[0].id != shown:
                stage = await self._stage.card(jobs[0])
            return stage, await self._results(user_id), gr.skip(), *_buttons(running=bool(jobs))
        except ComfyHeadlessError as error:  # the disk refuses, or the server was changed
            told = job_card.error_card(JobError.of(error))
            return told, gr.skip(), gr.skip(), *_buttons(running=False)

    async def _ended(self, job_id: str, user_id: str) -> Any:
        """Why a job failed, beside the button, where the next one has taken the stage."""
        try:
            error = (await self._services.jobs.snapshot(job_id, user_id)).error
        except ComfyHeadlessError:
            return gr.skip()
        return _notice(error) if error and await self._services.jobs.active(user_id) else gr.skip()

    async def _last(self, user_id: str, *, watched: bool) -> Html:
        """What the stage shows when nothing runs: how the newest job ended.

        One that was stopped is told to who ``watched`` it; who comes later sees a result.
        """
        for job in await self._services.jobs.recent(
            user_id, limit=1 if watched else _SHOWN_RESULTS
        ):
            snapshot = await self._services.jobs.snapshot(job.id, user_id)
            if watched or snapshot.error or snapshot.items or snapshot.texts:
                return self._finished(snapshot, job)
        return job_card.empty_card(self._services.catalog.entry(None).preset.sample_prompts)

    async def _results(self, user_id: str) -> Html:
        return gallery(await self._services.library.results(user_id, limit=_SHOWN_RESULTS))

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
            found = await recall(what, source, draft, self._services, self._uploads)
        except ComfyHeadlessError as error:
            return self.told(error)
        said = gr.skip() if found.prompt is None else found.prompt
        if found.preset is None:
            return gr.skip(), gr.skip(), said, gr.skip()
        return (*self._show(found.preset, found.values), said, self._reason(found.preset))

    async def _source(self, data: Mapping[str, Any], user_id: str) -> LibraryItem | Job:
        """The job or the result that the page names, if it is the owner's."""
        if "job" in data:
            return await self._services.jobs.job(str(data["job"]), user_id)
        number = str(data.get("item", ""))
        return await self._services.library.item(int(number) if number.isdecimal() else 0, user_id)

    def _show(self, preset: Preset, values: Mapping[str, Any]) -> tuple[Html, Html]:
        catalog = self._services.catalog
        return (
            picker(catalog.entries, preset.id),
            preset_form.form(preset, values, library=catalog.library),
        )

    def _finished(self, snapshot: Snapshot, job: Job) -> Html:
        if snapshot.phase is Phase.SUCCEEDED and snapshot.items:
            seconds = (
                job.finished_at - job.started_at
                if job.finished_at and job.started_at
                else snapshot.elapsed_s
            )
            ways = ways_on(snapshot.items[0], self._services.catalog)
            return job_card.result_card(snapshot.items, seconds=seconds or None, ways=ways)
        if snapshot.phase is Phase.SUCCEEDED and snapshot.texts:
            return job_card.texts_card(snapshot.texts, job_id=snapshot.job_id)
        return job_card.job_card(snapshot)

    def _reason(self, preset: Preset) -> Html:
        reason = self._services.catalog.entry(preset.id).reason
        return _notice(JobError(reason)) if reason else Html("")


def _buttons(*, running: bool) -> tuple[Any, Any]:
    return (
        gr.update(value="Add to queue" if running else "Generate"),
        gr.update(interactive=running),
    )


def _notice(error: JobError) -> Html:
    """Why nothing was queued, beside the button that was pressed."""
    return notice(error.message, error.hint, error.details)
