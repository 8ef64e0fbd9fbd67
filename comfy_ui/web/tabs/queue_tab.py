"""The Queue tab: a user's running, waiting and finished jobs, pushed as they change.

While the tab is visible, ``assets/js/queue_tab.js`` holds one event stream open. It carries only
the rows that have changed.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ...storage.records import EVERYONE, Job, Snapshot
from ..auth.access import AccessMode
from ..components.html import Html
from ..components.html_block import html_block
from ..components.queue_rows import frame, now_row, past_row, summary
from ..http.handlers import PRIVATE, Handler, asked, body, events, guarded
from ..tab import PageParts, Tab

__all__ = ["QueueTab"]

_PAST = 20


class _QueueAction(BaseModel):
    """A job, and for a move the job to put it before; None: to the end.

    ``paused`` is the new state of the queue, or with ``everyone`` of the queues of all users.
    ``press`` identifies one press of Try again: a repeated request with it has no effect.
    """

    job: Annotated[str, Field(max_length=64)] = ""
    before: Annotated[str | None, Field(max_length=64)] = None
    paused: bool = False
    everyone: bool = False
    press: Annotated[str | None, Field(max_length=64)] = None


class QueueTab(Tab):
    """The user's jobs: running, waiting and recent."""

    id = "queue"
    title = "Queue"

    def build(self, _: PageParts, /) -> None:
        """Create the frame, which the page's script fills from the routes."""
        html_block(frame(), elem_id="queue")

    def routes(self) -> list[BaseRoute]:
        """The routes that serve and change the tab's content."""
        changes: dict[str, Handler] = {
            "cancel": self._cancel,
            "clear": self._clear,
            "move": self._move,
            "pause": self._pause,
            "retry": self._retry,
        }
        return [
            Route("/queue/events", guarded(self._events)),
            *(
                Route(f"/queue/{name}", guarded(do, writes=True), methods=["POST"])
                for name, do in changes.items()
            ),
        ]

    async def _events(self, request: Request) -> Response:
        user_id = self._access.require("see_own", request)
        is_local = self._access.mode is AccessMode.LOCAL  # then there are no other users
        may_pause_all = self._access.allows("pause_all", request) and not is_local
        return events(request, self.news(user_id, may_pause_all=may_pause_all))

    async def news(self, user_id: str, *, may_pause_all: bool = False) -> AsyncGenerator[str, None]:
        """Server-sent events: the order of the rows, and the rows that are new or have changed."""
        catalog = self._services.catalog
        sent_rows: dict[str, Html] = {}
        past: list[tuple[Job, Snapshot]] = []
        active: set[str] = set()
        ended = -1
        async with aclosing(self._services.jobs.follow_queue(user_id)) as lines:
            async for line in lines:
                ids = {job.id for job, _ in line.jobs}
                if line.ended != ended or active - ids:  # a job has ended
                    past = await self._past(user_id)
                active, ended = ids, line.ended
                now = {
                    job.id: now_row(
                        job,
                        snapshot,
                        catalog,
                        cell=self._services.jobs.grid_cell(job.id),
                        elsewhere=await self._services.jobs.can_run_elsewhere(job.id, user_id),
                    )
                    for job, snapshot in line.jobs
                }
                over = {job.id: past_row(job, snapshot, catalog) for job, snapshot in past}
                heading = summary(line, may_pause_all=may_pause_all)
                yield _event(heading, now, over, sent_rows)
                sent_rows = {**over, **now}

    async def _past(self, user_id: str) -> list[tuple[Job, Snapshot]]:
        jobs = await self._services.jobs.recent(user_id, limit=_PAST)
        return [(job, await self._services.jobs.snapshot(job.id, user_id)) for job in jobs]

    async def _cancel(self, request: Request) -> Response:
        user_id, which = await self._which(request)
        return _done(await self._services.jobs.cancel(which.job, user_id))

    async def _clear(self, request: Request) -> Response:
        user_id, _ = await self._which(request)
        return _done(await self._services.jobs.cancel_all(user_id, waiting_only=True))

    async def _move(self, request: Request) -> Response:
        user_id, which = await self._which(request)
        return _done(await self._services.jobs.reorder(which.job, user_id, before=which.before))

    async def _pause(self, request: Request) -> Response:
        user_id, which = await self._which(request)
        if which.everyone:
            self._access.require("pause_all", request)
            user_id = EVERYONE
        await self._services.jobs.set_paused(user_id, paused=which.paused)
        return _done(True)

    async def _retry(self, request: Request) -> Response:
        user_id, which = await self._which(request)
        job = await self._services.jobs.job(which.job, user_id)
        if await self._services.jobs.retry_fetch(job.id, user_id):
            return _done(True)
        again = await self._services.jobs.repeat(
            job.id, user_id, key=which.press, api_key=self._access.job_key(request)
        )
        return _done(again.id)

    async def _which(self, request: Request) -> tuple[str, _QueueAction]:
        user_id = self._access.require("run", request)
        return user_id, asked(_QueueAction, await body(request))


def _event(
    heading: Html, now: dict[str, Html], over: dict[str, Html], sent_rows: dict[str, Html]
) -> str:
    rows = {**over, **now}
    data = {
        "summary": heading,
        "now": list(now),
        "past": [job_id for job_id in over if job_id not in now],
        "rows": {key: html for key, html in rows.items() if sent_rows.get(key) != html},
    }
    return f"data: {json.dumps(data)}\n\n"


def _done(done: object) -> Response:
    return JSONResponse({"done": done}, headers=PRIVATE)
