"""What a client tells OpenTelemetry of its jobs; when that is off, nothing, at no cost.

Spans: ``comfyui.submit`` (the post, until the server has the job), ``comfyui.wait`` (until its end,
with an event for each stage) and ``comfyui.fetch`` (one file). They belong to whatever is current
where they begin; where nothing is, wait at least continues the trace of its submit.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from .. import telemetry
from ..protocol.job import JobState
from ..telemetry import Attributes, Span, meters
from .tracked_job import TrackedJob
from .transport.address import Address

_KEPT_EVENTS = 200


class Telemetry:
    """The spans and metrics of one client."""

    def __init__(self, address: Address) -> None:
        self._server: Attributes = {"server.address": address.host, "server.port": address.port}
        self._stories: WeakKeyDictionary[TrackedJob, _Story] = WeakKeyDictionary()

    @contextmanager
    def submitting(self, job: TrackedJob, graph: Mapping[str, Any]) -> Iterator[None]:
        """Around the post of a job."""
        if not telemetry.is_on():
            yield
            return
        with telemetry.span("comfyui.submit", self._of(job)) as span:
            self._story(job).begun = span.get_span_context()
            span.set_attribute("comfyui.nodes", len(graph))
            if telemetry.records_prompts():
                span.set_attribute("comfyui.workflow", json.dumps(graph))
            yield

    @contextmanager
    def waiting(self, job: TrackedJob) -> Iterator[None]:
        """Around all that looks at a job until its end; an error in which it ended passes here."""
        if not telemetry.is_on():
            yield
            return
        story = self._story(job)
        began_ns = story.untold[0][2] if story.untold else None
        with telemetry.span(
            "comfyui.wait", self._of(job), current=False, after=story.begun, start_ns=began_ns
        ) as span:
            try:
                with story.told_to(span):
                    yield
            finally:
                span.set_attribute("comfyui.outcome", str(job.state.final or "unfinished"))

    def fetching(self) -> AbstractContextManager[Span]:
        """Around the transfer of one file."""
        return telemetry.span("comfyui.fetch", self._server)

    def reconnected(self) -> None:
        meters.reconnected(self._server)

    def queue_depth(self, jobs: int) -> None:
        meters.queue_depth(jobs, self._server)

    def _of(self, job: TrackedJob) -> Attributes:
        return {**self._server, "comfyui.prompt_id": job.prompt_id}

    def _story(self, job: TrackedJob) -> _Story:
        if job not in self._stories:
            self._stories[job] = _Story(self._server, job.state.created_at)
            job.observers.append(self._stories[job])
        return self._stories[job]


class _Story:
    """The stages of one job: counted once, told to all who wait, kept until somebody does."""

    def __init__(self, server: Attributes, now: float) -> None:
        self.begun: Any = None
        """The context of the span of its submit."""
        self.untold: deque[tuple[str, Attributes, int]] = deque(maxlen=_KEPT_EVENTS)
        self._server = server
        self._since = now
        self._spans: list[Span] = []

    @contextmanager
    def told_to(self, span: Span) -> Iterator[None]:
        while self.untold:
            span.add_event(*self.untold.popleft())
        self._spans.append(span)
        try:
            yield
        finally:
            self._spans.remove(span)

    def __call__(self, before: JobState, after: JobState, now: float) -> None:
        for name, attributes in _stages(before, after):
            event = (name, attributes, time.time_ns())
            if not self._spans:
                self.untold.append(event)
            for span in self._spans:
                span.add_event(*event)
        if after.phase is not before.phase:
            meters.phase_took(before.phase, now - self._since, self._server)
            self._since = now
        if after.final is not None:
            meters.job_ended(after.final, self._server)


def _stages(before: JobState, after: JobState) -> Iterator[tuple[str, Attributes]]:
    """What happened between two states of a job. Ids and classes of nodes, but no titles."""
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
    plan = state.tracker.plan
    return {
        "comfyui.node": node,
        "comfyui.class_type": plan.classes.get(node, "") if plan else "",
    }
