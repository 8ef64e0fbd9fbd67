"""The stage while a job runs: its card as it changes, drawn once for all who look on.

A generator of Gradio's would do, at a price: for each page that looks on it holds one of the places
for running events, needs a millisecond for each picture, and keeps without an end what the browser
has not read. Here whoever reads slowly gets the newest and misses the rest.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ....storage.records import Job, Snapshot
from ...auth.access import Access
from ...components import job_card, preset_form
from ...components.html import Html
from ...http.handlers import events, guarded
from ...services import Services

__all__ = ["LivePreview"]

_KEPT: Final = 64
_OVER: Final = "event: over\ndata:\n\n"


class LivePreview:
    """Draws running jobs, each to its owner."""

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access
        self._drawn: OrderedDict[str, tuple[int, str]] = OrderedDict()

    def routes(self) -> list[Route]:
        """The one route, for ``app_kwargs`` of Gradio's ``launch``."""
        return [Route("/stage/events", guarded(self._events))]

    async def card(self, job: Job) -> Html:
        """An unfinished job as it stands now."""
        snapshot = await self._services.jobs.snapshot(job.id, job.user_id)
        return job_card.job_card(snapshot, ratio=self._shape(job))

    async def _events(self, request: Request) -> Response:
        user_id = self._access.require("see_own", request)
        job = await self._services.jobs.job(request.query_params.get("job", ""), user_id)
        return events(request, self.news(job))

    async def news(self, job: Job) -> AsyncGenerator[str, None]:
        """Server-sent events: the card at each change; "over" when the page should ask anew.

        That is at the end of the job, and when the job service is closed.
        """
        shape = self._shape(job)
        async with aclosing(self._services.jobs.follow(job.id, job.user_id)) as snapshots:
            async for snapshot in snapshots:
                if snapshot.terminal:
                    break
                yield self._event(snapshot, shape)
        self._drawn.pop(job.id, None)
        yield _OVER

    def _event(self, snapshot: Snapshot, shape: float | None) -> str:
        """The card as an event. All who look at a job ask for the same one at the same time."""
        known, event = self._drawn.get(snapshot.job_id, (None, ""))
        if known != snapshot.version:
            event = f"data: {json.dumps(job_card.job_card(snapshot, ratio=shape))}\n\n"
            self._drawn[snapshot.job_id] = snapshot.version, event
            if len(self._drawn) > _KEPT:
                self._drawn.popitem(last=False)
        return event

    def _shape(self, job: Job) -> float | None:
        return preset_form.ratio(self._services.catalog.entry(job.preset).preset, job.values)
