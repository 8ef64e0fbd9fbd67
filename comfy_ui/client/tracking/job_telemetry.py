"""OpenTelemetry spans and metrics of a client's jobs; free of cost while telemetry is off.

Spans: ``comfyui.submit`` (the post, until the server has the job), ``comfyui.wait`` (until the end,
with an event for each stage) and ``comfyui.fetch`` (one file). Their parent is the current span; if
there is none, wait continues the trace of its submit.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from weakref import WeakKeyDictionary

from ... import telemetry
from ...protocol.job import JobState
from ...telemetry import Attributes, Span, meters
from ..transport.address import Address
from .tracked_job import TrackedJob

_KEPT_EVENTS = 200


class Telemetry:
    """The spans and metrics of one client."""

    def __init__(self, address: Address) -> None:
        self._server: Attributes = {"server.address": address.host, "server.port": address.port}
        self._histories: WeakKeyDictionary[TrackedJob, _StageHistory] = WeakKeyDictionary()

    def submitting(self, job: TrackedJob, graph: Mapping[str, Any]) -> AbstractContextManager[None]:
        """Record the post of a job."""
        return self._submitting(job, graph) if telemetry.is_on() else nullcontext()

    def waiting(self, job: TrackedJob) -> AbstractContextManager[None]:
        """Record the wait for a job's end, with the error that it raises."""
        return self._waiting(job) if telemetry.is_on() else nullcontext()

    @contextmanager
    def _submitting(self, job: TrackedJob, graph: Mapping[str, Any]) -> Iterator[None]:
        with telemetry.span("comfyui.submit", self._of(job)) as span:
            self._history(job).begun = span.get_span_context()
            span.set_attribute("comfyui.nodes", len(graph))
            if telemetry.records_prompts():
                span.set_attribute("comfyui.workflow", json.dumps(graph))
            yield

    @contextmanager
    def _waiting(self, job: TrackedJob) -> Iterator[None]:
        history = self._history(job)
        began_ns = history.pending[0][2] if history.pending else None
        with telemetry.span(
            "comfyui.wait", self._of(job), current=False, after=history.begun, start_ns=began_ns
        ) as span:
            try:
                with history.recorded_on(span):
                    yield
            finally:
                span.set_attribute("comfyui.outcome", str(job.state.final or "unfinished"))

    def fetching(self, prompt_id: str | None) -> AbstractContextManager[Span]:
        """Record the transfer of one file of a job."""
        job = {} if prompt_id is None else {"comfyui.prompt_id": prompt_id}
        return telemetry.span("comfyui.fetch", {**self._server, **job})

    def reconnected(self) -> None:
        """Count a socket that was opened again."""
        meters.reconnected(self._server)

    def queue_depth(self, jobs: int) -> None:
        """Record how many jobs the server has."""
        meters.queue_depth(jobs, self._server)

    def _of(self, job: TrackedJob) -> Attributes:
        return {**self._server, "comfyui.prompt_id": job.prompt_id}

    def _history(self, job: TrackedJob) -> _StageHistory:
        if job not in self._histories:
            self._histories[job] = _StageHistory(self._server, job.state.created_at)
            job.observers.append(self._histories[job])
        return self._histories[job]


class _StageHistory:
    """The stages of one job: counted once, and recorded on the span of every wait for it."""

    def __init__(self, server: Attributes, now: float) -> None:
        self.begun: Any = None
        """The context of its submit span."""
        self.pending: deque[tuple[str, Attributes, int]] = deque(maxlen=_KEPT_EVENTS)
        self._server = server
        self._since = now
        self._spans: list[Span] = []

    @contextmanager
    def recorded_on(self, span: Span) -> Iterator[None]:
        while self.pending:
            span.add_event(*self.pending.popleft())
        self._spans.append(span)
        try:
            yield
        finally:
            self._spans.remove(span)

    def __call__(self, before: JobState, after: JobState, now: float) -> None:
        for name, attributes in _stages(before, after):
            event = (name, attributes, time.time_ns())
            if not self._spans:
                self.pending.append(event)
            for span in self._spans:
                span.add_event(*event)
        if after.phase is not before.phase:
            meters.phase_took(before.phase, now - self._since, self._server)
            self._since = now
        if after.final is not None:
            meters.job_ended(after.final, self._server)


def _stages(before: JobState, after: JobState) -> Iterator[tuple[str, Attributes]]:
    """The stages between two states of a job, with ids and classes of nodes, but no titles."""
    was, now = before.tracker, after.tracker
    if after.accepted and not before.accepted:
        yield "queued", {}
    if after.queue_position is not None and after.queue_position != before.queue_position:
        yield "place", {"comfyui.position": after.queue_position}
    if after.failed_polls > before.failed_polls:
        yield "retry", {"comfyui.failures": after.failed_polls}
    if after.connected and not before.connected:
        yield "reconnect", {}
    if after.running and not before.running:
        yield "started", {}
    if len(now.cached) > len(was.cached):
        yield "cached", {"comfyui.nodes": len(now.cached) - len(was.cached)}
    if was.node is not None and (now.node != was.node or after.final is not None):
        yield "node.end", _node(before, was.node)
    if now.node is not None and now.node != was.node:
        yield "node.start", _node(after, now.node)
    if now.preview is not None and was.preview is None:
        yield "preview.first", {}


def _node(state: JobState, node: str) -> Attributes:
    plan = state.plan
    return {
        "comfyui.node": node,
        "comfyui.class_type": plan.classes.get(node, "") if plan else "",
    }
