"""A stand-in for servers with the Comfy API v2, made from its published contract, with faults.

Its jobs draw no pictures: each saving node of a graph yields the same small PNG after a few steps.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web
from PIL import Image

__all__ = ["CloudFaults", "DemoCloud"]

_BASE: Final = "/api/v2"
_TERMINAL: Final = frozenset({"succeeded", "failed", "canceled", "expired"})
_STEPS: Final = 4
_PREVIEW_EVERY: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudFaults:
    """Deliberate failures, all off by default; ``cloud.faults = CloudFaults(...)`` changes them."""

    no_credits: bool = False
    """``POST /jobs`` answers 402."""
    max_jobs: int | None = None
    """``POST /jobs`` answers 429 with ``Retry-After`` while so many jobs are unfinished."""
    no_streams: bool = False
    """There are no event streams: 501."""
    streams_full: bool = False
    """Event streams answer 429 with ``Retry-After``."""
    streams_break: bool = False
    """A stream ends after its first event; a new one replays nothing."""
    lost_answers: int = 0
    """So many posts are accepted and not answered."""
    fails: bool = False
    """Jobs fail in their first node."""


@dataclass(slots=True)
class _CloudJob:
    id: str
    workflow: dict[str, Any]
    created_at: datetime
    status: str = "queued"
    started_at: datetime | None = None
    completed_at: datetime | None = None
    progress: dict[str, Any] | None = None
    outputs: list[dict[str, Any]] = field(default_factory=list)
    error: dict[str, Any] | None = None
    listeners: set[asyncio.Queue[tuple[str, dict[str, Any]]]] = field(default_factory=set)

    def push(self, event: str, data: dict[str, Any]) -> None:
        for listener in self.listeners:
            listener.put_nowait((event, data))

    def change(self, status: str) -> None:
        self.status = status
        self.push("status", {"status": status})


class DemoCloud:
    """The server; an async context manager.

    Args:
        key: the API key that it requires.
        step_s: seconds that each of the few steps of a node takes.
        faults: what goes wrong.

    Attributes:
        posts: the bodies of all jobs that were accepted.
        keys_elsewhere: credentials that arrived with links, which need none.
    """

    def __init__(
        self, *, key: str = "", step_s: float = 0.01, faults: CloudFaults | None = None
    ) -> None:
        self.faults = faults or CloudFaults()
        self.posts: list[dict[str, Any]] = []
        self.keys_elsewhere: list[str] = []
        self._key = key
        self._step_s = step_s
        self._jobs: dict[str, _CloudJob] = {}
        self._assets: dict[str, tuple[bytes, str]] = {}
        self._idempotency_keys: set[str] = set()
        self._links: dict[str, str] = {}  # by signature
        self._tasks: set[asyncio.Task[None]] = set()
        self._runners: list[web.AppRunner] = []
        self._storage_url = ""
        self.url = ""
        """The base of the API, once it runs."""

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._authorize], client_max_size=2**26)
        app.router.add_post(f"{_BASE}/jobs", self._submit)
        app.router.add_get(f"{_BASE}/jobs", self._list)
        app.router.add_get(f"{_BASE}/jobs/{{id}}", self._get_job)
        app.router.add_post(f"{_BASE}/jobs/{{id}}/cancel", self._cancel)
        app.router.add_get(f"{_BASE}/jobs/{{id}}/events", self._events)
        app.router.add_post(f"{_BASE}/assets", self._upload)
        app.router.add_get(f"{_BASE}/assets/{{id}}", self._get_asset)
        storage = web.Application()
        storage.router.add_get("/{signature}/{name}", self._stored)
        self.url = f"{await self._serve(app)}{_BASE}"
        self._storage_url = await self._serve(storage)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for runner in self._runners:
            await runner.cleanup()

    async def _serve(self, app: web.Application) -> str:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self._runners.append(runner)
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    @web.middleware
    async def _authorize(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self._key and request.headers.get("authorization") != f"Bearer {self._key}":
            return _refusal(401, "unauthorized", "Missing or unknown API key.")
        response: web.StreamResponse = await handler(request)
        return response

    # -- jobs

    async def _submit(self, request: web.Request) -> web.Response:
        body = await request.json()
        faults = self.faults
        if faults.no_credits:
            return _refusal(402, "insufficient_credits", "Your balance is 0 credits.")
        unfinished = [job for job in self._jobs.values() if job.status not in _TERMINAL]
        if faults.max_jobs is not None and len(unfinished) >= faults.max_jobs:
            text = f"Your plan runs {faults.max_jobs} jobs at a time."
            return _refusal(429, "queue_full", text, retry_after_s=1)
        key = request.headers.get("idempotency-key", "")
        if key in self._idempotency_keys:
            return _refusal(422, "idempotency_key_reuse", "This key has been used.")
        workflow = body.get("workflow")
        if not isinstance(workflow, dict) or "nodes" in workflow:
            return _refusal(422, "workflow_format_ui", "Export the workflow in API format.")
        if problem := self._problem(workflow):
            return problem
        if set(body.get("extra_data") or {}) - {"api_key_comfy_org"}:
            return _refusal(400, "invalid_request", "'extra_data' has an unknown field.")
        self._idempotency_keys |= {key} if key else set()
        self.posts.append(body)
        job = _CloudJob(str(uuid.uuid4()), workflow, datetime.now(UTC))
        self._jobs[job.id] = job
        task = asyncio.create_task(self._run(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if len(self.posts) <= faults.lost_answers:
            if request.transport is not None:
                request.transport.close()
            return web.Response()
        return web.json_response(self._public(job), status=201)

    def _problem(self, workflow: dict[str, Any]) -> web.Response | None:
        for node, content in workflow.items():
            for name, value in content.get("inputs", {}).items():
                if value is None:
                    details = {"node_errors": {node: [{"field": name, "reason": "missing_input"}]}}
                    text = f"Node {node}: required input '{name}' is not connected"
                    return _refusal(422, "invalid_workflow", text, details=details)
                is_asset = isinstance(value, dict) and value.get("__type") == "core/ASSET"
                if is_asset and value["info"]["id"] not in self._assets:
                    return _refusal(422, "missing_asset", "An asset cannot be resolved.")
        return None

    async def _run(self, job: _CloudJob) -> None:
        await asyncio.sleep(self._step_s)
        if job.status in _TERMINAL:
            return None
        job.started_at = datetime.now(UTC)
        job.change("running")
        for done, (node, content) in enumerate(job.workflow.items()):
            for step in range(1, _STEPS + 1):
                await asyncio.sleep(self._step_s)
                if job.status == "canceling":
                    return self._end(job, "canceled")
                if self.faults.fails:
                    job.error = {
                        "code": "node_execution_error",
                        "message": "This node fails because a test requested it.",
                        "node_id": node,
                        "class_type": content["class_type"],
                        "traceback": None,
                    }
                    return self._end(job, "failed")
                job.progress = {
                    "value": (done + step / _STEPS) / len(job.workflow),
                    "nodes_done": done,
                    "nodes_total": len(job.workflow),
                    "current_node": node,
                    "step": step,
                    "steps": _STEPS,
                }
                job.push("progress", job.progress)
                if step % _PREVIEW_EVERY == 0:
                    data = base64.b64encode(_picture("JPEG")).decode()
                    preview = {"node_id": node, "content_type": "image/jpeg", "data_base64": data}
                    job.push("preview", preview)
            if content["class_type"].startswith("Save"):
                self._save(job, node)
        return self._end(job, "succeeded")

    def _save(self, job: _CloudJob, node: str) -> None:
        name = f"cloud_{len(job.outputs) + 1:05}_.png"
        asset_id = self._store(_picture("PNG"), name)
        asset = self._asset(asset_id)
        del asset["file_path"]
        output = {**asset, "node_id": node, "name": name, "type": "image"}
        job.outputs.append(output)
        job.push("output", output)

    def _end(self, job: _CloudJob, status: str) -> None:
        job.completed_at = datetime.now(UTC)
        job.change(status)

    async def _list(self, request: web.Request) -> web.Response:
        states = {*filter(None, request.query.get("status", "").split(","))}
        jobs = [job for job in self._jobs.values() if not states or job.status in states]
        limit = int(request.query.get("limit", "50"))
        return web.json_response({"jobs": [self._public(job) for job in reversed(jobs)][:limit]})

    async def _get_job(self, request: web.Request) -> web.Response:
        job = self._jobs.get(request.match_info["id"])
        return web.json_response(self._public(job)) if job else _unknown()

    async def _cancel(self, request: web.Request) -> web.Response:
        job = self._jobs.get(request.match_info["id"])
        if job is None:
            return _unknown()
        if job.status == "queued":
            self._end(job, "canceled")
        elif job.status == "running":
            job.change("canceling")
        return web.json_response(self._public(job))

    def _public(self, job: _CloudJob) -> dict[str, Any]:
        queued = [each.id for each in self._jobs.values() if each.status == "queued"]
        times = {name: getattr(job, name) for name in ("created_at", "started_at", "completed_at")}
        return {
            "id": job.id,
            "status": job.status,
            **{name: time.isoformat() if time else None for name, time in times.items()},
            "expires_at": (job.created_at + timedelta(days=1)).isoformat(),
            "queue_position": queued.index(job.id) + 1 if job.id in queued else None,
            "progress": job.progress,
            "outputs": job.outputs,
            "error": job.error,
            "urls": {
                "self": f"{self.url}/jobs/{job.id}",
                "events": f"{self.url}/jobs/{job.id}/events",
                "cancel": f"{self.url}/jobs/{job.id}/cancel",
            },
        }

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """The events from now on, after the state; nothing is replayed."""
        job = self._jobs.get(request.match_info["id"])
        if job is None:
            return _unknown()
        if self.faults.no_streams:
            return _refusal(501, "not_implemented", "There are no event streams here.")
        if self.faults.streams_full:
            return _refusal(429, "too_many_streams", "Poll instead.", retry_after_s=1)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        events: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()
        job.listeners.add(events)
        events.put_nowait(("status", {"status": job.status}))
        try:
            while True:
                event, data = await events.get()
                await response.write(f"event: {event}\ndata: {json.dumps(data)}\n\n".encode())
                if self.faults.streams_break or data.get("status") in _TERMINAL:
                    return response
        finally:
            job.listeners.discard(events)

    # -- assets

    def _store(self, content: bytes, name: str) -> str:
        asset_id = str(uuid.uuid4())
        self._assets[asset_id] = content, name
        return asset_id

    def _asset(self, asset_id: str) -> dict[str, Any]:
        content, name = self._assets[asset_id]
        signature = uuid.uuid4().hex
        self._links[signature] = asset_id
        now = datetime.now(UTC)
        return {
            "id": asset_id,
            "hash": None,
            "size_bytes": len(content),
            "content_type": "image/png",
            "file_path": name,
            "created_at": now.isoformat(),
            "url": f"{self._storage_url}/{signature}/{name}",
            "url_expires_at": (now + timedelta(minutes=5)).isoformat(),
        }

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        file, path = form.get("file"), form.get("file_path")
        if not isinstance(file, web.FileField) or not isinstance(path, str):
            return _refusal(422, "invalid_request", "Missing 'file' or 'file_path'.")
        asset_id = self._store(file.file.read(), path)
        return web.json_response({**self._asset(asset_id), "created_new": True}, status=201)

    async def _get_asset(self, request: web.Request) -> web.Response:
        asset_id = request.match_info["id"]
        return web.json_response(self._asset(asset_id)) if asset_id in self._assets else _unknown()

    async def _stored(self, request: web.Request) -> web.Response:
        """The storage, another server, whose links are signed and need no key."""
        self.keys_elsewhere += [
            v for n, v in request.headers.items() if n.lower() == "authorization"
        ]
        signature = request.match_info["signature"]
        if signature not in self._links:
            return web.Response(status=403, text="<Error>Request has expired</Error>")
        content, _ = self._assets[self._links[signature]]
        return web.Response(body=content, content_type="image/png")

    def expire_links(self) -> None:
        """Let all links expire, whatever the times in them say."""
        self._links.clear()


def _picture(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (40, 120, 90)).save(buffer, kind)
    return buffer.getvalue()


def _refusal(
    status: int,
    code: str,
    message: str,
    *,
    details: dict[str, Any] | None = None,
    retry_after_s: int | None = None,
) -> web.Response:
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    body = {"error": {"code": code, "message": message, "details": details}}
    return web.json_response(body, status=status, headers=headers)


def _unknown() -> web.Response:
    return _refusal(404, "not_found", "There is no such thing.")
