"""Carry the client's requests to a server with the Comfy API v2. No I/O: a flow becomes another."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar
from urllib.parse import quote

from ...errors import (
    CircuitOpenError,
    ComfyHeadlessError,
    ComfyUIConnectionError,
    ComfyUIOfflineError,
    ServerRejectedError,
)
from ..operations import Fetch, Flow, Pause, Step
from ..submission import PARTNER_KEY
from ..transport.request import ApiRequest, ApiResponse, as_list, json_body, rejection
from ..transport.server_address import ServerAddress
from .event_streams import EventStreams
from .server_api import LiveFeed, OnChange, OnMessage, Send
from .v2_contract import (
    TERMINAL,
    asset_folder,
    asset_id_of,
    history_of,
    queue_of,
    refusal_of,
    seconds_until,
    with_asset_references,
)

T = TypeVar("T")

_LARGE: Final = 64 * 2**20
_MAX_LISTED: Final = 100  # the contract's limit
_MAX_OPEN: Final = 200
_MAX_POSTS: Final = 3
_POST_AGAIN_S: Final = 1.0
_EXPIRES_SOON_S: Final = 30.0
_GONE: Final = frozenset({403, 404, 410})  # the answers of storages for a link that has expired
_UNFINISHED: Final = "queued,running,canceling"
_FINISHED: Final = "succeeded,failed,canceled"


@dataclass(frozen=True, slots=True)
class _AssetUrl:
    url: str
    expires_at: float


class V2Api:
    """The Comfy API v2 of one server.

    ``confirmed``: the server is known to speak it; else it is asked before the first request, and
    requests go unchanged to one that does not.
    """

    def __init__(self, server: ServerAddress, *, confirmed: bool) -> None:
        self._server = server
        self._confirmed: bool | None = confirmed or None
        self._open_jobs: dict[str, None] = {}  # unfinished when they were seen last
        self._unqueued: set[str] = set()  # ComfyUI's history has no jobs that never began
        self._urls: dict[str, _AssetUrl] = {}

    def open_feed(self, send: Send, *, on_message: OnMessage, on_change: OnChange) -> LiveFeed:  # noqa: ARG002
        """The event streams of the jobs, one for each."""
        return EventStreams(send, on_message, enabled=lambda: self._confirmed is True)

    def carry(self, flow: Flow[T]) -> Flow[T]:
        """The flow with the requests of v2."""
        if self._confirmed is None:
            self._confirmed = yield from self._probe()
        if not self._confirmed:
            return (yield from flow)
        try:
            step = next(flow)
            while True:
                try:
                    outcome = yield from self._carried(step)
                except ComfyHeadlessError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(outcome)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            flow.close()

    def _probe(self) -> Flow[bool]:
        """Whether the server lists jobs as v2 does.

        Raises:
            AuthenticationError, ComfyUIConnectionError: there is no usable answer yet.
        """
        answer: ApiResponse = yield _get("/jobs", limit="1")
        body = _object(answer)
        if isinstance(body.get("jobs"), list) or "code" in _error(body):
            return True
        error = rejection(answer)
        if isinstance(error, ComfyUIConnectionError):
            raise error
        return False

    def _carried(self, step: Step) -> Flow[Any]:
        match step:
            case Fetch(call, receiver) if call.path == "/view":
                return (yield from self._view(call, lambda request: Fetch(request, receiver)))
            case Fetch() | ApiRequest():
                return (
                    yield from self._answer(step if isinstance(step, ApiRequest) else step.call)
                )
        return (yield step)

    def _answer(self, call: ApiRequest[Any]) -> Flow[ApiResponse]:
        method, parts = call.method, call.path.strip("/").split("/")
        match method, parts:
            case "POST", ["prompt"]:
                return (yield from self._submit(call))
            case "GET", ["prompt"]:
                listed = yield from self._unfinished()
                return _said({"exec_info": {"queue_remaining": len(listed)}}, call)
            case "GET", ["system_stats"]:
                yield from self._jobs(limit="1")  # whether it answers
                return _said({"system": {}, "devices": []}, call)
            case "GET", ["queue"]:
                return _said(queue_of((yield from self._unfinished())), call)
            case "GET", ["history"]:
                limit = min(int(call.query.get("max_items", _MAX_LISTED)), _MAX_LISTED)
                jobs = yield from self._jobs(status=_FINISHED, limit=str(limit))
                entries = {str(job["id"]): history_of(job) for job in reversed(jobs)}
                return _said({i: entry for i, entry in entries.items() if entry}, call)
            case "GET", ["history", prompt_id]:
                job = yield from self._job(prompt_id)
                entry = None
                if job is not None and prompt_id not in self._unqueued:
                    entry = history_of(job)
                return _said({prompt_id: entry} if entry is not None else {}, call)
            case "POST", ["api", "jobs", prompt_id, "cancel"]:
                yield from self._cancel(prompt_id)
                return _said({"cancelled": True}, call)
            case "POST", ["queue"]:
                for prompt_id in _ids(call):
                    job = yield from self._job(prompt_id)
                    if job is not None and job.get("status") == "queued":
                        yield from self._cancel(prompt_id)
                        self._unqueued.add(prompt_id)
                return _said({}, call)
            case "POST", ["interrupt"]:
                yield from self._cancel(str(json.loads(call.body or b"{}").get("prompt_id")))
                return _said({}, call)
            case "POST", ["history"]:  # its jobs expire on their own
                return _said({}, call)
            case "POST", ["upload", "image"]:
                return (yield from self._upload(call))
            case (("GET" | "HEAD"), ["view"]):
                if method == "HEAD":
                    found = yield from self._asset(_asset_id(call))
                    return _said({}, call, status=200 if found is not None else 404)
                return (yield from self._view(call, lambda request: request))
        raise ServerRejectedError(
            f"The Comfy API v2 has no {call.where}.",
            status=501,
            hint="This needs a ComfyUI, or the address of its own API.",
        )

    # -- jobs

    def _submit(self, call: ApiRequest[Any]) -> Flow[ApiResponse]:
        """Post a job. Its key makes repetition safe: the server refuses the same key twice."""
        body = json.loads(call.body or b"{}")
        graph = body["prompt"]
        partner_key = (body.get("extra_data") or {}).get(PARTNER_KEY)
        sent = {"workflow": with_asset_references(graph)}
        if partner_key:
            sent["extra_data"] = {PARTNER_KEY: partner_key}  # the contract takes no other
        request: ApiRequest[Any] = replace(
            call,
            path="/jobs",
            body=json_body(sent),
            headers={**call.headers, "idempotency-key": str(body["prompt_id"])},
            parse=_whole,
        )
        answer = yield from _posted(request)
        found = _object(answer)
        if answer.status < 300 and found.get("id"):
            self._see(found)
            return _said({"prompt_id": str(found["id"]), "number": 0, "node_errors": {}}, call)
        code = str(_error(found).get("code"))
        if code == "idempotency_key_reuse":
            raise ComfyUIConnectionError(
                "The server has received this job before, and did not say under which id.",
                hint="Look for it in the list of jobs there before you run it again.",
                retryable=False,
            )
        if answer.status in (400, 422):
            return _said(refusal_of(found, graph), call, status=400)
        return replace(answer, where=call.where)

    def _unfinished(self) -> Flow[list[Mapping[str, Any]]]:
        """The unfinished jobs that the server lists, and those of this client that it does not."""
        jobs = yield from self._jobs(status=_UNFINISHED, limit=str(_MAX_LISTED))
        listed = {str(job["id"]) for job in jobs}
        for prompt_id in [*self._open_jobs]:
            if prompt_id not in listed:
                job = yield from self._job(prompt_id)
                if job is not None and job.get("status") not in TERMINAL:
                    jobs.append(job)
        return jobs

    def _jobs(self, **query: str) -> Flow[list[Mapping[str, Any]]]:
        answer = yield from _checked(_get("/jobs", **query))
        jobs = as_list(_object(answer).get("jobs"))
        return [job for job in jobs if isinstance(job, dict) and job.get("id")]

    def _job(self, prompt_id: str) -> Flow[Mapping[str, Any] | None]:
        answer = yield from _checked(_get(f"/jobs/{quote(prompt_id, safe='')}"), accepts=(404,))
        if answer.status == 404:
            self._open_jobs.pop(prompt_id, None)
            return None
        job = _object(answer)
        self._see(job)
        return job

    def _see(self, job: Mapping[str, Any]) -> None:
        self._open_jobs.pop(prompt_id := str(job.get("id")), None)
        if job.get("status") not in TERMINAL:
            self._open_jobs[prompt_id] = None
            while len(self._open_jobs) > _MAX_OPEN:
                del self._open_jobs[next(iter(self._open_jobs))]

    def _cancel(self, prompt_id: str) -> Flow[None]:
        path = f"/jobs/{quote(prompt_id, safe='')}/cancel"
        request: ApiRequest[Any] = ApiRequest(method="POST", path=path, parse=_whole, body=b"{}")
        yield from _checked(request, accepts=(404, 409))  # it is unknown, or has ended

    # -- assets

    def _upload(self, call: ApiRequest[Any]) -> Flow[ApiResponse]:
        if call.file is None:
            raise ValueError("an upload has a file")
        filename = call.file.filename
        request = replace(
            call,
            path="/assets",
            file=replace(call.file, field="file"),
            fields={"file_path": filename, "content_type": call.file.content_type},
            parse=_whole,
        )
        answer: ApiResponse = yield request
        asset = _object(answer)
        if answer.status >= 300 or not asset.get("id"):
            return replace(answer, where=call.where)
        self._remember_url(asset)
        folder = asset_folder(str(asset["id"]))
        return _said({"name": filename, "subfolder": folder, "type": "input"}, call)

    def _asset(self, asset_id: str | None) -> Flow[_AssetUrl | None]:
        """Where an asset can be fetched now; None if the server does not have it."""
        if asset_id is None:
            return None
        path = f"/assets/{quote(asset_id, safe='')}"
        answer = yield from _checked(_get(path), accepts=(404,))
        return None if answer.status == 404 else self._remember_url(_object(answer))

    def _remember_url(self, asset: Mapping[str, Any]) -> _AssetUrl:
        valid_s = seconds_until(asset.get("url_expires_at"), time.time())
        url = _AssetUrl(str(asset.get("url", "")), time.time() + valid_s)
        self._urls[str(asset.get("id"))] = url
        while len(self._urls) > _MAX_OPEN:
            del self._urls[next(iter(self._urls))]
        return url

    def _view(
        self, call: ApiRequest[Any], step: Callable[[ApiRequest[Any]], Step]
    ) -> Flow[ApiResponse]:
        """Fetch an asset from its link; ask for another link once if it has expired."""
        asset_id = _asset_id(call)
        known = self._urls.get(asset_id or "")
        fresh = known is None or known.expires_at - time.time() < _EXPIRES_SOON_S
        while True:
            found = (yield from self._asset(asset_id)) if fresh else known
            if found is None:
                return _said({}, call, status=404)
            request = replace(call, path=f"/assets/{asset_id}/content", query={}, url=found.url)
            answer: ApiResponse = yield step(request)
            if fresh or answer.status not in _GONE:
                return replace(answer, where=call.where)
            fresh = True


def _posted(request: ApiRequest[Any]) -> Flow[ApiResponse]:
    """Send a request again that was not answered; it carries a key that makes this safe."""
    for posts_left in reversed(range(_MAX_POSTS)):
        try:
            answer: ApiResponse = yield request
        except (ComfyUIOfflineError, CircuitOpenError):
            raise
        except ComfyUIConnectionError as error:
            if not posts_left or not error.retryable:
                raise
        else:
            return answer
        yield Pause(_POST_AGAIN_S)
    raise AssertionError("the last post returns or raises")


def _checked(request: ApiRequest[Any], *, accepts: tuple[int, ...] = ()) -> Flow[ApiResponse]:
    """The answer to a request. Raises the error for its status."""
    answer: ApiResponse = yield request
    if answer.status not in accepts and (error := rejection(answer)):
        raise error
    return answer


def _get(path: str, **query: str) -> ApiRequest[Any]:
    return ApiRequest(method="GET", path=path, query=query, parse=_whole, max_bytes=_LARGE)


def _whole(answer: ApiResponse) -> ApiResponse:
    return answer


def _said(body: Mapping[str, Any], call: ApiRequest[Any], *, status: int = 200) -> ApiResponse:
    """An answer as ComfyUI would have sent it."""
    return ApiResponse(status, {"content-type": "application/json"}, json_body(body), call.where)


def _object(answer: ApiResponse) -> dict[str, Any]:
    """The JSON object of an answer; empty if it is something else."""
    try:
        body = json.loads(answer.content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _error(body: Mapping[str, Any]) -> Mapping[str, Any]:
    error = body.get("error")
    return error if isinstance(error, dict) else {}


def _asset_id(call: ApiRequest[Any]) -> str | None:
    return asset_id_of(call.query.get("subfolder", ""))


def _ids(call: ApiRequest[Any]) -> Iterator[str]:
    yield from map(str, as_list(json.loads(call.body or b"{}").get("delete")))
