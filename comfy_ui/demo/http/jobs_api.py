"""``/api/jobs``: queue and history as newer cores present them, with an atomic cancel."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from ..engine import Engine, is_canonical_uuid
from ..engine_queue import HistoryRecord, QueueItem

STATES = ("pending", "in_progress", "completed", "failed", "cancelled")
SORTS = ("created_at", "execution_duration")


def job_routes(engine: Engine) -> list[web.RouteDef]:
    """Return the four routes, under ``/api`` only."""

    async def list_jobs(request: web.Request) -> web.Response:
        try:
            jobs_filter = _JobFilter.read(request.query)
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        jobs = jobs_filter.of(_jobs(engine))
        page = jobs[jobs_filter.offset :]
        if jobs_filter.limit is not None:
            page = page[: jobs_filter.limit]
        return web.json_response(
            {
                "jobs": [_without(job, "outputs", "execution_status", "workflow") for job in page],
                "pagination": {
                    "offset": jobs_filter.offset,
                    "limit": jobs_filter.limit,
                    "total": len(jobs),
                    "has_more": jobs_filter.offset + len(page) < len(jobs),
                },
            }
        )

    async def get_job(request: web.Request) -> web.Response:
        job_id = request.match_info["job_id"]
        for job in _jobs(engine):
            if job["id"] == job_id:
                return web.json_response(job)
        return web.json_response({"error": "Job not found"}, status=404)

    async def cancel(request: web.Request) -> web.Response:
        return web.json_response({"cancelled": engine.queue.cancel(request.match_info["job_id"])})

    async def cancel_many(request: web.Request) -> web.Response:
        try:
            body = await request.json()
            job_ids = body["job_ids"]
        except (ValueError, TypeError, KeyError):
            return web.json_response({"error": "job_ids is required"}, status=400)
        if not isinstance(job_ids, list) or not all(is_canonical_uuid(job) for job in job_ids):
            return web.json_response({"error": "job_ids must be a list of UUIDs"}, status=400)
        outcomes = [engine.queue.cancel(job) for job in job_ids]
        return web.json_response({"cancelled": any(outcomes)})

    return [
        web.route(method, prefix + path, handler)
        for prefix in ("/api", "/api/api")
        for method, path, handler in (
            ("GET", "/jobs", list_jobs),
            ("POST", "/jobs/cancel", cancel_many),
            ("GET", "/jobs/{job_id}", get_job),
            ("POST", "/jobs/{job_id}/cancel", cancel),
        )
    ]


class _JobFilter:
    """Filter, order and page of a request for jobs."""

    def __init__(
        self, states: set[str], sort_by: str, *, descending: bool, limit: int | None, offset: int
    ) -> None:
        self._states = states
        self._sort_by = sort_by
        self._descending = descending
        self.limit = limit
        self.offset = offset

    @classmethod
    def read(cls, query: Mapping[str, str]) -> _JobFilter:
        states = {word.strip() for word in query.get("status", "").split(",") if word.strip()}
        if unknown := states - set(STATES):
            raise ValueError(f"Invalid status value(s): {', '.join(sorted(unknown))}")
        sort_by = query.get("sort_by", "created_at")
        if sort_by not in SORTS:
            raise ValueError(f"sort_by must be one of: {', '.join(SORTS)}")
        order = query.get("sort_order", "desc")
        if order not in ("asc", "desc"):
            raise ValueError("sort_order must be 'asc' or 'desc'")
        try:
            limit = int(query["limit"]) if "limit" in query else None
            offset = int(query.get("offset", "0"))
        except ValueError:
            raise ValueError("limit and offset must be integers") from None
        if limit is not None and limit < 1:
            raise ValueError("limit must be positive")
        return cls(states, sort_by, descending=order == "desc", limit=limit, offset=max(0, offset))

    def of(self, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        matching = [job for job in jobs if not self._states or job["status"] in self._states]

        def key(job: dict[str, Any]) -> float:
            if self._sort_by == "execution_duration":
                return float(job.get("execution_end_time", 0) - job.get("execution_start_time", 0))
            return float(job.get("create_time") or 0)

        return sorted(matching, key=key, reverse=self._descending)


def _jobs(engine: Engine) -> list[dict[str, Any]]:
    # The queue first, then the history: a job that moves between them is then in one of them.
    running, pending = engine.queue.snapshot()
    current = engine.queue.running()
    jobs = [
        *(_job(item, "pending") for item in pending),
        *(_job(i, "in_progress", start=current.started_ms if current else None) for i in running),
    ]
    job_ids = {job["id"] for job in jobs}
    if not engine.faults.history_evicted:
        for prompt_id, entry in engine.queue.history(time.monotonic()).items():
            if prompt_id not in job_ids:
                jobs.append(_finished(entry))
    return jobs


def _job(item: QueueItem, status: str, *, start: int | None = None) -> dict[str, Any]:
    number, prompt_id, prompt, extra_data, _ = item
    extra = extra_data if isinstance(extra_data, dict) else {}
    workflow = (extra.get("extra_pnginfo") or {}).get("workflow") or {}
    job = {
        "id": prompt_id,
        "status": status,
        "priority": number,
        "create_time": extra.get("create_time"),
        "execution_start_time": start,
        "outputs_count": 0,
        "workflow_id": workflow.get("id") if isinstance(workflow, dict) else None,
        "workflow": {"prompt": prompt, "extra_data": extra},
    }
    return {key: value for key, value in job.items() if value is not None}


def _finished(entry: HistoryRecord) -> dict[str, Any]:
    if entry.status["completed"]:
        status = "completed"
    else:
        status = "cancelled" if entry.interrupted else "failed"
    files = [
        {**item, "nodeId": node_id, "mediaType": kind}
        for node_id, ui in entry.outputs.items()
        for kind, items in ui.items()
        for item in items
        if isinstance(item, dict)
    ]
    job = _job(entry.item, status, start=entry.started_ms)
    job |= {
        "execution_end_time": entry.ended_ms,
        "outputs_count": len(files),
        "outputs": entry.outputs,
        "execution_status": entry.status,
    }
    if files:
        job["preview_output"] = files[0]
    for name, data in entry.status["messages"]:
        if name == "execution_error":
            job["execution_error"] = data
    return job


def _without(job: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in job.items() if key not in names}
