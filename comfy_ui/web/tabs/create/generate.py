"""Turn a press of Generate into queued jobs.

``assets/js/generate.js`` posts each press with the form as it was at that moment, one after the
other. Gradio events are not used: two events of a page can overtake each other, and they read the
form a moment after the press.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ....errors import ComfyHeadlessError, UnknownLoraError, ValidationError
from ....storage.records import JobError, JobRequest, JobStatus, LibraryItem
from ....workflow.fields.field_types import MODEL_ROLES
from ....workflow.grid_axes import ParamAxis, array_axes, file_axes, first_files
from ....workflow.prepare import value_notices
from ....workflow.presets.schema import Preset
from ...auth.access import Access
from ...components import preset_form
from ...components.html import Html, el, rough_duration
from ...components.job_card import starts_in
from ...components.templates import error_notice
from ...http.handlers import PRIVATE, body, guarded
from ...http.upload_routes import UploadRoutes
from ...preset_catalog import CatalogEntry
from ...services import Services
from .form_state import FormState
from .generate_menu import series
from .grid_request import grid

__all__ = ["GenerateHandler", "GenerateResponse"]

_SOON_S: Final = 5.0
_COSTS: Final = "Costs credits"
_COSTS_TOO_MUCH: Final = "Costs credits, which you may not spend"


class GenerateResponse(BaseModel):
    """The response to a press of Generate, for the page to draw."""

    job: str = ""
    """The last job that was queued, or the grid; empty if there is none."""
    shown: str = ""
    """The unfinished job that the stage shows now: the page follows it."""
    notice: str = ""
    """The error that ended queueing, else the values that were rounded, as HTML."""
    lora: str = ""
    """The LoRA that the error is about, as the form or the prompt names it."""
    editing: str = ""
    """The waiting job that the press was to replace, if the error prevented it."""


class EstimateResponse(BaseModel):
    """What a press would cost and take, and when it would start, for the page to draw."""

    texts: list[str] = []
    """Empty if nothing is known."""
    changes: bool = False
    """Whether the start comes nearer with time, so that the page asks again."""


class GenerateHandler:
    """Answers a press of Generate."""

    def __init__(self, services: Services, access: Access, uploads: UploadRoutes) -> None:
        self._services = services
        self._access = access
        self._uploads = uploads

    def routes(self) -> list[Route]:
        """The routes, for ``app_kwargs`` of Gradio's ``launch``."""
        return [
            Route("/create/press", guarded(self._press, writes=True), methods=["POST"]),
            Route("/create/estimate", guarded(self._estimate, writes=True), methods=["POST"]),
        ]

    async def _press(self, request: Request) -> Response:
        """Respond with a :class:`GenerateResponse`. Access and rate limit apply to each job."""
        user_id = self._access.require("see_own", request)
        draft = FormState.parse((await body(request)).decode(errors="replace"))
        response = GenerateResponse()
        try:
            preset = self._services.catalog.chosen(draft.preset).preset
            requests = [draft] if draft.grid else list(series(draft, preset))
            # At the front, each goes before the others.
            for one in reversed(requests) if draft.front else requests:
                if draft.grid or _implied_axes(draft, preset):
                    response.job, cells = await self._grid(one, request)
                    response.notice = await asyncio.to_thread(_notices, preset, cells)
                else:
                    job_request = await self.job_request(one, request)
                    response.job = (await self._services.jobs.submit(job_request)).id
                    response.notice = _notices(preset, [job_request.values])
        except ComfyHeadlessError as error:
            response.notice = error_notice(JobError.of(error))
            response.lora = error.name if isinstance(error, UnknownLoraError) else ""
        jobs = await self._services.jobs.active(user_id)
        if response.job:
            response.shown = jobs[0].id if jobs else ""
        elif draft.replaces in {job.id for job in jobs if job.status is JobStatus.WAITING}:
            response.editing = draft.replaces or ""
        return JSONResponse(response.model_dump(), headers=PRIVATE)

    async def _estimate(self, request: Request) -> Response:
        """Respond with an :class:`EstimateResponse`."""
        user_id = self._access.require("see_own", request)
        draft = FormState.parse((await body(request)).decode(errors="replace"))
        response = EstimateResponse()
        try:
            entry = self._services.catalog.chosen(draft.preset)
            if entry.paid:
                may_spend = self._access.allows("spend", request)
                response.texts.append(_COSTS if may_spend else _COSTS_TOO_MUCH)
            preset = entry.preset
            values = preset_form.job_values(preset, first_files(preset, draft.values))
            prompt_param = preset.by_role("prompt")
            if prompt_param is not None:
                values[prompt_param.id] = "any"
            job_request = JobRequest(user_id=user_id, preset=preset.id, values=values)
            estimate = await self._services.jobs.estimate(job_request)
        except ComfyHeadlessError:  # a press says what is missing
            return JSONResponse(response.model_dump(), headers=PRIVATE)
        if estimate.run_s is not None:
            axes = _implied_axes(draft, preset)
            times = draft.times * math.prod(len(axis.values) for axis in axes)
            response.texts.append(f"About {rough_duration(estimate.run_s * times)}")
        if estimate.starts_in_s is not None and estimate.starts_in_s >= _SOON_S:
            response.texts.append(starts_in(estimate.starts_in_s))
            response.changes = True
        return JSONResponse(response.model_dump(), headers=PRIVATE)

    async def _grid(
        self, draft: FormState, request: Request
    ) -> tuple[str, Sequence[Mapping[str, Any]]]:
        """Queue a grid; return its id and the values of its cells."""
        preset = self._services.catalog.chosen(draft.preset).preset
        first = replace(draft, replaces=None, values=first_files(preset, draft.values))
        template = await self.job_request(first, request)
        files = {axis.name: draft.values[axis.name] for axis in file_axes(preset, draft.values)}
        values = {**template.values, **files}
        cells = await asyncio.to_thread(grid, preset, values, draft.grid)
        requests = [await self._cell(template, preset, cell) for cell in cells.cells]
        queued = await self._services.jobs.submit_grid(
            requests, across=cells.across, down=cells.down
        )
        return queued.id, cells.cells

    async def _cell(
        self, template: JobRequest, preset: Preset, cell: Mapping[str, Any]
    ) -> JobRequest:
        """Return the request for a cell, whose files may differ from those of the template.

        Raises:
            ValidationError: a file is not the user's.
        """
        values = dict(cell)
        files = self._uploads.check(preset, values, template.user_id)
        source = await self._source(preset, values, template.user_id)
        uploads = None if template.uploads is None else files
        return replace(template, values=values, uploads=uploads, source=source)

    async def job_request(self, draft: FormState, request: Request) -> JobRequest:
        """Check a form as a request for a job.

        Raises:
            ValidationError: it cannot run, or the user may not run jobs or asks too often.
        """
        user_id = await self._access.admit("run", request)
        entry = self._services.catalog.chosen(draft.preset)
        values = preset_form.job_values(entry.preset, draft.values)
        if entry.ready is False and not _other_models(entry, values):
            raise ValidationError(entry.reason)
        trusted = self._access.allows("open_workflow", request)
        if entry.opened and not trusted:
            raise ValidationError(
                "Only admins can run this workflow.",
                hint="Choose one of the presets.",
            )
        files = self._uploads.check(entry.preset, values, user_id)
        prompt_param = entry.preset.by_role("prompt")
        if prompt_param is not None:
            if not draft.prompt.strip():
                raise ValidationError("Enter a prompt first.")
            values[prompt_param.id] = draft.prompt.strip()
        return JobRequest(
            user_id=user_id,
            preset=entry.preset.id,
            values=values,
            front=draft.front,
            replaces=draft.replaces,
            key=draft.press,
            uploads=None if trusted else files,
            source=await self._source(entry.preset, values, user_id),
            api_key=self._access.job_key(request),
            may_spend=self._access.allows("spend", request),
        )

    async def _source(
        self, preset: Preset, values: Mapping[str, Any], user_id: str
    ) -> LibraryItem | None:
        """The result that the form's image or video comes from, unless it was deleted since."""
        file = preset.by_role("image") or preset.by_role("video")
        item_id = self._uploads.item(str(values.get(file.id))) if file else None
        if item_id is None:
            return None
        try:
            return await self._services.library.item(item_id, user_id)
        except ValidationError:
            return None


def _implied_axes(draft: FormState, preset: Preset) -> list[ParamAxis]:
    """The axes of the form's own values, which make a grid of a press: files and arrays."""
    prompt = preset.by_role("prompt")
    values = {**draft.values, **({prompt.id: draft.prompt} if prompt else {})}
    return [*file_axes(preset, values), *array_axes(preset, values)]


def _notices(preset: Preset, cells: Iterable[Mapping[str, Any]]) -> Html:
    """Render what the preset changes in the values; empty without any."""
    notices = dict.fromkeys(text for values in cells for text in value_notices(preset, values))
    if not notices:
        return Html("")
    return el("div", [el("p", text) for text in notices], class_="notice good", role="status")


def _other_models(entry: CatalogEntry, values: Mapping[str, Any]) -> bool:
    """Whether only model files are missing and others were chosen; JobService checks all."""
    chosen = any(
        values.get(param.id) not in (None, param.default)
        for param in entry.preset.params
        if param.role in MODEL_ROLES
    )
    return chosen and all(problem.kind == "missing_model" for problem in entry.errors)
