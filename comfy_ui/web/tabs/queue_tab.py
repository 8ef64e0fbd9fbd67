"""The Queue tab: a user's running, waiting and finished jobs, pushed as they change.

While the tab is visible, ``assets/js/queue_tab.js`` holds one event stream open. It carries only
the rows that have changed. A group of jobs is one row; its jobs are fetched when it is unfolded.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Annotated

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ...storage.records import EVERYONE, Job, JobGroup, QueueView, Snapshot
from ..auth.access import AccessMode
from ..components.html import Html
from ..components.html_block import html_block
from ..components.queue_rows import frame, group_row, members, now_row, past_row, summary
from ..http.handlers import PRIVATE, Handler, asked, body, events, guarded
from ..tab import PageParts, Tab

__all__ = ["QueueTab"]

_PAST = 20
_MAX_MEMBERS = 500


class _QueueAction(BaseModel):
    """A job or a group of jobs, and for a move the job to put it before; None: to the end.

    ``paused`` is the new state of the queue or group, or with ``everyone`` of the queues of all
    users.
    ``press`` identifies one press of Try again: a repeated request with it has no effect.
    """

    job: Annotated[str, Field(max_length=64)] = ""
    group: Annotated[str, Field(max_length=64)] = ""
    before: Annotated[str | None, Field(max_length=64)] = None
    paused: bool = False
    everyone: bool = False
    press: Annotated[str | None, Field(max_length=64)] = None


class _Members(BaseModel):
    """A group, and how many of its jobs to show."""

    id: Annotated[str, Field(max_length=64)]
    count: Annotated[int, Field(ge=1, le=_MAX_MEMBERS)] = 25


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
            Route("/queue/group", guarded(self._members)),
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
        jobs = self._services.jobs
        sent_rows: dict[str, Html] = {}
        past: list[tuple[Job, Snapshot]] = []
        groups: dict[str, JobGroup] = {}
        active: set[str] = set()
        seen: object = None
        async with aclosing(jobs.follow_queue(user_id)) as views:
            async for view in views:
                ids = {job.id for job, _ in view.jobs}
                ended = active - ids
                active = ids
                state = view.ended, view.paused_groups, {job.group_id for job, _ in view.jobs}
                if ended or state != seen:
                    seen = state
                    past = await self._past(user_id)
                    group_ids = {job.group_id for job, _ in (*view.jobs, *past) if job.group_id}
                    by_id = await jobs.groups.by_id(group_ids, user_id)
                    groups = {key: group for key, group in by_id.items() if group.size > 1}
                now: dict[str, Html] = {}
                for key, pairs in _folded(view, groups).items():
                    if key in groups:
                        now[key] = group_row(groups[key], pairs, catalog)
                    else:
                        now[key] = await self._now_row(*pairs[0])
                over: dict[str, Html] = {}
                for job, snapshot in past:
                    if group := groups.get(job.group_id or ""):
                        over[group.id] = group_row(group, (), catalog, latest=snapshot.items)
                    else:
                        over[job.id] = past_row(job, snapshot, catalog)
                heading = summary(view, may_pause_all=may_pause_all)
                yield _event(heading, len(view.jobs), now, over, sent_rows)
                sent_rows = {**over, **now}

    async def _now_row(self, job: Job, snapshot: Snapshot) -> Html:
        jobs = self._services.jobs
        return now_row(
            job,
            snapshot,
            self._services.catalog,
            cell=jobs.grid_cell(job.id),
            elsewhere=await jobs.can_run_elsewhere(job.id, job.user_id),
        )

    async def _past(self, user_id: str) -> list[tuple[Job, Snapshot]]:
        jobs = await self._services.jobs.recent(user_id, limit=_PAST, folded=True)
        return [(job, await self._services.jobs.snapshot(job.id, user_id)) for job in jobs]

    async def _members(self, request: Request) -> Response:
        user_id = self._access.require("see_own", request)
        shown = asked(_Members, dict(request.query_params))
        service = self._services.jobs
        group_jobs = await service.groups.jobs(shown.id, user_id, limit=shown.count + 1)
        grid = await service.groups.grid(shown.id, user_id)
        rows = []
        for job in group_jobs[: shown.count]:
            snapshot = await service.snapshot(job.id, user_id)
            if snapshot.terminal:
                cell = grid.cell(job.id) if grid else None
                rows.append(past_row(job, snapshot, self._services.catalog, cell=cell))
            else:
                rows.append(await self._now_row(job, snapshot))
        html = members(rows, more=len(group_jobs) > shown.count)
        return HTMLResponse(html, headers=PRIVATE)

    async def _cancel(self, request: Request) -> Response:
        user_id, which = await self._which(request)
        jobs = self._services.jobs
        if which.group:
            return _done(await jobs.groups.cancel(which.group, user_id))
        return _done(await jobs.cancel(which.job, user_id))

    async def _clear(self, request: Request) -> Response:
        user_id, _ = await self._which(request)
        return _done(await self._services.jobs.cancel_all(user_id, waiting_only=True))

    async def _move(self, request: Request) -> Response:
        user_id, which = await self._which(request)
        jobs, before = self._services.jobs, which.before
        if which.group:
            return _done(await jobs.groups.reorder(which.group, user_id, before=before))
        return _done(await jobs.reorder(which.job, user_id, before=before))

    async def _pause(self, request: Request) -> Response:
        user_id, which = await self._which(request)
        if which.everyone:
            self._access.require("pause_all", request)
            user_id = EVERYONE
        elif which.group:
            await self._services.jobs.groups.set_paused(which.group, user_id, paused=which.paused)
            return _done(True)
        await self._services.jobs.set_paused(user_id, paused=which.paused)
        return _done(True)

    async def _retry(self, request: Request) -> Response:
        user_id, which = await self._which(request)
        job = await self._services.jobs.job(which.job, user_id)
        if await self._services.jobs.retry_fetch(job.id, user_id):
            return _done(True)
        again = await self._services.jobs.repeat(
            job.id,
            user_id,
            key=which.press,
            api_key=self._access.job_key(request),
            may_spend=self._access.allows("spend", request),
        )
        return _done(again.id)

    async def _which(self, request: Request) -> tuple[str, _QueueAction]:
        user_id = await self._access.admit("run", request)
        return user_id, asked(_QueueAction, await body(request))


def _folded(
    view: QueueView, groups: Mapping[str, JobGroup]
) -> dict[str, list[tuple[Job, Snapshot]]]:
    """Return the unfinished jobs by group or, if they have none, by their own id; in order."""
    rows: dict[str, list[tuple[Job, Snapshot]]] = {}
    for job, snapshot in view.jobs:
        key = job.group_id if job.group_id in groups else job.id
        rows.setdefault(key or job.id, []).append((job, snapshot))
    return rows


def _event(
    heading: Html,
    count: int,
    now: dict[str, Html],
    over: dict[str, Html],
    sent_rows: dict[str, Html],
) -> str:
    rows = {**over, **now}
    data = {
        "summary": heading,
        "count": count,
        "now": list(now),
        "past": [job_id for job_id in over if job_id not in now],
        "rows": {key: html for key, html in rows.items() if sent_rows.get(key) != html},
    }
    return f"data: {json.dumps(data)}\n\n"


def _done(done: object) -> Response:
    return JSONResponse({"done": done}, headers=PRIVATE)
