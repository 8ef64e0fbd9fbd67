"""The stage on Create: the running job's card as it changes, or the last job's end.

The page draws it from the routes here. A Gradio generator could do this, but it would hold a slot
for running events per viewer, take a millisecond per preview, and buffer without bound what a slow
browser has not read. Here a slow reader gets the newest card and skips the rest.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ....errors import ComfyHeadlessError, ValidationError
from ....storage.records import Job, JobError, Phase, Snapshot
from ...auth.access import Access
from ...components import job_card, preset_form
from ...components.html import Html
from ...components.templates import error_notice
from ...components.thumbnails import gallery
from ...http.handlers import PRIVATE, asked, body, events, guarded
from ...services import Services
from .one_press import one_press_titles
from .reuse_settings import ways_on

__all__ = ["LivePreview", "StageState"]

T = TypeVar("T")
_CACHED_CARDS: Final = 64
_RESULTS: Final = 24
_OVER: Final = "event: over\ndata:\n\n"


class StageState(BaseModel):
    """The content of the stage and below it. None: no change."""

    job: str = ""
    """The unfinished job to follow; empty if none of the user's jobs is unfinished."""
    card: str | None = None
    results: str | None = None
    notice: str | None = None
    opened: str | None = None
    """The card of the result that the user has opened; empty if there is none any more."""
    stopped: bool = False
    """The job that the page followed was stopped; the card is an earlier job's."""


class _StoppedJob(BaseModel):
    job: str


class LivePreview:
    """Draws the stage of each user."""

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access
        self._cards: OrderedDict[str, tuple[int, str]] = OrderedDict()
        self._stopped: OrderedDict[str, Snapshot] = OrderedDict()  # with their previews

    def routes(self) -> list[Route]:
        """The routes, for ``app_kwargs`` of Gradio's ``launch``."""
        return [
            Route("/stage", guarded(self._stage)),
            Route("/stage/events", guarded(self._events)),
            Route("/stage/keep", guarded(self._keep, writes=True), methods=["POST"]),
        ]

    async def _stage(self, request: Request) -> Response:
        user_id = self._access.require("see_own", request)
        query = request.query_params
        state = await self.state(
            user_id,
            shown=query.get("shown", ""),
            ended=query.get("ended", ""),
            item_id=_item_id(query.get("item")),
        )
        if opened := query.get("opened", ""):
            state.opened = await self._opened_card(
                opened, user_id, _item_id(query.get("opened_item"))
            )
        return JSONResponse(state.model_dump(), headers=PRIVATE)

    async def state(
        self, user_id: str, *, shown: str = "", ended: str = "", item_id: int = 0
    ) -> StageState:
        """The stage and the newest results.

        Args:
            user_id: the user of the stage.
            shown: the job whose card the page follows already.
            ended: the job that the page followed until now, so that it shows how that job ended
                even if the job was canceled.
            item_id: which of a finished job's results to enlarge, or after its deletion the next
                one; 0 for all of them as a grid.
        """
        try:
            jobs = await self._services.jobs.active(user_id)
            if not jobs:
                await self._services.jobs.wait_for_sheets(user_id)
                state = await self._last_state(user_id, ended, item_id)
            else:
                state = StageState(
                    job=jobs[0].id,
                    card=None if jobs[0].id == shown else await self.card(jobs[0]),
                    notice=await self._failure(ended, user_id) if ended else None,
                )
            items = await self._services.library.results(user_id, limit=_RESULTS + 1)
            state.results = gallery(items[:_RESULTS], more=len(items) > _RESULTS)
            return state
        except ComfyHeadlessError as error:  # a full disk, or the server was just changed
            return StageState(card=job_card.error_card(JobError.of(error)))

    async def _opened_card(self, job_id: str, user_id: str, item_id: int) -> Html:
        """The results of a finished job; empty if all are deleted."""
        try:
            job = await self._services.jobs.job(job_id, user_id)
            snapshot = await self._services.jobs.snapshot(job_id, user_id)
        except ComfyHeadlessError:
            return Html("")
        return self._finished_card(snapshot, job, item_id) if snapshot.items else Html("")

    async def card(self, job: Job) -> Html:
        """The current card of an unfinished job."""
        snapshot = await self._services.jobs.snapshot(job.id, job.user_id)
        return job_card.job_card(snapshot, ratio=self._ratio(job))

    async def _failure(self, job_id: str, user_id: str) -> Html | None:
        """The notice of a failed job, when the next job is already on the stage."""
        try:
            error = (await self._services.jobs.snapshot(job_id, user_id)).error
        except ComfyHeadlessError:
            return None
        return error_notice(error) if error else None

    async def _last_state(self, user_id: str, ended: str, item_id: int) -> StageState:
        """The stage without a running job: how the newest job ended.

        Of a stopped job only the page that followed it, as ``ended``, shows the last preview.
        Without a preview the last results stay.
        """
        stopped, ratio, last = None, None, None
        for job in await self._services.jobs.recent(user_id, limit=_RESULTS):
            snapshot = await self._services.jobs.snapshot(job.id, user_id)
            if job.id == ended and snapshot.phase is Phase.CANCELLED:
                stopped, ratio = self._stopped.get(ended, snapshot), self._ratio(job)
                continue
            failed = snapshot.error is not None and stopped is None
            if snapshot.items or snapshot.texts or failed or job.id == ended:
                last = self._finished_card(snapshot, job, item_id)
                break
        if stopped is not None and (stopped.preview or last is None):
            has_results = last is not None
            return StageState(card=job_card.job_card(stopped, ratio=ratio, has_results=has_results))
        if last is None:
            prompts = self._services.catalog.entry(None).preset.sample_prompts
            return StageState(card=job_card.empty_card(prompts))
        return StageState(card=last, stopped=stopped is not None)

    def _finished_card(self, snapshot: Snapshot, job: Job, item_id: int) -> Html:
        if snapshot.phase in {Phase.SUCCEEDED, Phase.CANCELLED} and snapshot.items:
            seconds = (
                job.finished_at - job.started_at
                if job.finished_at and job.started_at
                else snapshot.elapsed_s
            )
            items = snapshot.items  # with descending ids
            index = next((n for n, item in enumerate(items) if item.id <= item_id), None)
            if index is None and len(items) > 1:
                return job_card.batch_card(
                    items,
                    seconds=seconds or None,
                    one_press=one_press_titles(items[0], self._services.catalog),
                )
            index = index or 0
            return job_card.result_card(
                items,
                index=index,
                seconds=seconds or None,
                ways=ways_on(items[index], self._services.catalog),
                one_press=one_press_titles(items[index], self._services.catalog),
            )
        if snapshot.phase is Phase.SUCCEEDED and snapshot.texts:
            return job_card.texts_card(snapshot.texts, job_id=snapshot.job_id)
        return job_card.job_card(snapshot)

    async def _keep(self, request: Request) -> Response:
        """Store the preview of a stopped job as a result; respond with its id."""
        user_id = await self._access.admit("run", request)
        asked_job = asked(_StoppedJob, await body(request))
        job = await self._services.jobs.job(asked_job.job, user_id)
        stopped = self._stopped.get(job.id)
        if stopped is None or stopped.preview is None:
            raise ValidationError("This preview is no longer available.")
        item = await self._services.jobs.keep_preview(
            job.id, user_id, stopped.preview, stopped.preview_type or ""
        )
        return JSONResponse({"item": item.id}, headers=PRIVATE)

    async def _events(self, request: Request) -> Response:
        user_id = self._access.require("see_own", request)
        job = await self._services.jobs.job(request.query_params.get("job", ""), user_id)
        return events(request, self.news(job))

    async def news(self, job: Job) -> AsyncGenerator[str, None]:
        """Server-sent events: the card at once and at each change, then "over".

        "Over" comes when the job has ended, and when the servers are being replaced: the page
        then requests ``/stage`` again.
        """
        ratio = self._ratio(job)
        async with aclosing(self._services.jobs.follow(job.id, job.user_id)) as snapshots:
            async for snapshot in snapshots:
                if snapshot.terminal:
                    if snapshot.phase is Phase.CANCELLED and snapshot.preview:
                        _put(self._stopped, snapshot.job_id, snapshot)
                    break
                yield self._event(snapshot, ratio)
        self._cards.pop(job.id, None)
        yield _OVER

    def _event(self, snapshot: Snapshot, ratio: float | None) -> str:
        """The card as an event, drawn once for all viewers of the job."""
        version, event = self._cards.get(snapshot.job_id, (None, ""))
        if version != snapshot.version:
            event = f"data: {json.dumps(job_card.job_card(snapshot, ratio=ratio))}\n\n"
            _put(self._cards, snapshot.job_id, (snapshot.version, event))
        return event

    def _ratio(self, job: Job) -> float | None:
        preset = self._services.catalog.find(job.preset)
        return preset_form.ratio(preset, job.values) if preset else None


def _item_id(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0


def _put(cache: OrderedDict[str, T], key: str, value: T) -> None:
    """Store a value and drop the oldest one of a full cache."""
    cache[key] = value
    if len(cache) > _CACHED_CARDS:
        cache.popitem(last=False)
