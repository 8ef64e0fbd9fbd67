"""Timeouts of polls and cancellations, on a silent connection and before a deadline."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest

from comfy_ui.client.operations import Asker
from comfy_ui.client.tracking import job_tracking
from comfy_ui.client.tracking.job_telemetry import Telemetry
from comfy_ui.client.tracking.job_tracking import JobTracking
from comfy_ui.client.tracking.tracked_job import TrackedJob
from comfy_ui.client.transport.address import parse_address
from comfy_ui.client.transport.request import ApiRequest
from comfy_ui.errors import ComfyUIOfflineError, GenerationTimeoutError
from comfy_ui.protocol import job as job_rules, job_state
from comfy_ui.protocol.job import CancelRequested, new_job
from comfy_ui.protocol.progress import Phase
from tests.client.support import (
    EMPTY_QUEUE,
    Request,
    ScriptedServer,
    history_of,
    image_graph,
    open_client,
    response,
)

BOTH = pytest.mark.parametrize("kind", ["sync", "async"])
NOW = 1000.0


@contextmanager
def going_silent(path: str, *, times: int) -> Iterator[ScriptedServer]:
    """A server that never answers the first ``times`` requests to ``path``."""
    silent = [threading.Event() for _ in range(times)]
    remaining = iter(silent)

    def handler(request: Request) -> bytes | None:
        if request.path.startswith(path) and (unanswered := next(remaining, None)):
            unanswered.wait(30)
            return None
        if request.path == "/queue" and request.method == "GET":
            return response(EMPTY_QUEUE)
        if request.path.startswith("/history/"):
            return response(history_of(request.path.rpartition("/")[2]))
        if request.path == "/prompt":
            return response({"prompt_id": "x", "number": 1, "node_errors": {}})
        return response(status=404)

    with ScriptedServer(handler) as server:
        try:
            yield server
        finally:
            for unanswered in silent:
                unanswered.set()


@BOTH
@pytest.mark.parametrize("path", ["/queue", "/history/"])
async def test_f7_poll_on_silent_connection_is_retried_on_new_one(
    kind: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_tracking, "POLL_PATIENCE_S", 0.3)
    with going_silent(path, times=1) as server:
        async with open_client(kind, server.url, timeout=300) as client:
            assert (await client.run(image_graph(), timeout=20)).images


@pytest.mark.parametrize("path", ["/queue", "/history/"])
async def test_wait_for_completion_while_server_is_silent_shows_no_reconnect(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_tracking, "POLL_PATIENCE_S", 0.2)
    phases: list[Phase] = []
    with going_silent(path, times=2) as server:
        async with open_client("async", server.url, timeout=300) as client:
            prompt_id = await client.queue_prompt(image_graph())
            await client.wait_for_completion(
                prompt_id, on_progress=lambda progress: phases.append(progress.phase), timeout=20
            )
    assert Phase.RECONNECTING not in phases
    assert phases[-1] is Phase.SUCCEEDED


@BOTH
async def test_wait_for_completion_timeout_holds_on_silent_connection(kind: str) -> None:
    with going_silent("/queue", times=9) as server:
        async with open_client(kind, server.url, timeout=300) as client:
            prompt_id = await client.queue_prompt(image_graph())
            started = time.monotonic()
            with pytest.raises(GenerationTimeoutError):
                await client.wait_for_completion(prompt_id, timeout=0.5)
            assert time.monotonic() - started < 15
            assert not await client.cancel(prompt_id, timeout=0.5)
            assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("timeout_s", "deadline", "patience_s"),
    [
        (300.0, None, 60.0),  # F7: not less, since a server may be loading models
        (20.0, None, 5.0),  # allows for several silent connections in a row
        (2.0, None, 1.0),
        (0.5, None, 0.5),
        (300.0, NOW + 10, 10.0),
        (300.0, NOW - 10, 1.0),  # leaves time for a response
    ],
)
@pytest.mark.parametrize("cancelling", [False, True])
def test_tend_poll_and_cancel_have_own_timeout(
    timeout_s: float, deadline: float | None, patience_s: float, *, cancelling: bool
) -> None:
    asker = Asker(timeout_s=timeout_s, clock=lambda: NOW)
    flows = JobTracking(asker, Telemetry(parse_address("localhost")), is_cloud=False)
    job = TrackedJob(new_job("a", now=NOW, accepted=True))
    if cancelling:
        job.apply(CancelRequested(), NOW)
    call = next(flows.tend([job], deadline=deadline))
    assert isinstance(call, ApiRequest)
    assert call.path == ("/api/jobs/a/cancel" if cancelling else "/queue")
    assert call.timeout_s == patience_s


@BOTH
async def test_has_job_slow_server_waits_for_all_responses(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_state, "RESUBMIT_AFTER_S", 0.5)

    def handler(request: Request) -> bytes | None:
        time.sleep(0.4)
        return response(EMPTY_QUEUE if request.path == "/queue" else {})

    with ScriptedServer(handler) as server:
        async with open_client(kind, server.url) as client:
            started = time.monotonic()
            assert not await client.has_job(str(uuid4()), timeout=1.0)
            assert (
                time.monotonic() - started > 1.0
            )  # longer in total than the timeout of one request


@BOTH
async def test_has_job_unknown_to_server_twice_is_false(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_rules, "GRACE_S", 0.0)  # so that the second poll finds it lost
    with ScriptedServer(lambda r: response(EMPTY_QUEUE if r.path == "/queue" else {})) as server:
        async with open_client(kind, server.url) as client:
            assert not await client.has_job(str(uuid4()))


@BOTH
async def test_has_job_server_unreachable_raises_offline(
    kind: str,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with open_client(kind, f"http://127.0.0.1:{port}") as client:
        with pytest.raises(ComfyUIOfflineError):
            await client.has_job(str(uuid4()), timeout=0.2)
