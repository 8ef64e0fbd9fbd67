"""The spans of jobs as a tree, in the SDK's memory exporter."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

_WORK: dict[str, Any] = {
    "comfyui.queue": {},
    "comfyui.job": {"comfyui.submit": {}, "comfyui.wait": {}, "comfyui.fetch": {}},
}
TREE: dict[str, Any] = {"web request": {"comfyui.request": _WORK}}
"""The spans of a job with one file."""


class JobTraces:
    """The spans that ended since the start."""

    def __init__(self, exporter: InMemorySpanExporter, provider: TracerProvider) -> None:
        self._exporter = exporter
        self._tracer = provider.get_tracer("tests")

    def request(self) -> AbstractContextManager[Any]:
        """Be the span of an HTTP request, as an instrumented server records it."""
        return self._tracer.start_as_current_span("web request")

    def clear(self) -> None:
        self._exporter.clear()

    def attributes(self, name: str) -> Mapping[str, Any]:
        (span,) = (s for s in self._exporter.get_finished_spans() if s.name == name)
        return dict(span.attributes or {})

    async def tree(self) -> dict[str, Any]:
        """Return the names as a tree, as soon as the worker's span has ended, of one trace."""
        async with asyncio.timeout(30):
            while "comfyui.job" not in {  # noqa: ASYNC110 -- perhaps of another event loop
                s.name for s in self._exporter.get_finished_spans()
            }:
                await asyncio.sleep(0.01)
        spans = self._exporter.get_finished_spans()
        assert len({span.context.trace_id for span in spans if span.context}) == 1
        roots = {id_ for span in spans if (id_ := _parent(span)) not in {*map(_id, spans)}}
        assert len(roots) == 1
        return _children(spans, roots.pop())


def _id(span: ReadableSpan) -> int | None:
    return span.context.span_id if span.context else None


def _parent(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def _children(spans: Any, parent: int | None) -> dict[str, Any]:
    return {span.name: _children(spans, _id(span)) for span in spans if _parent(span) == parent}


@pytest.fixture
def job_traces(monkeypatch: pytest.MonkeyPatch) -> Iterator[JobTraces]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    # The provider can be set once in a process, and other tests set it.
    monkeypatch.setattr(trace, "get_tracer", lambda *args, **_: provider.get_tracer(args[0]))
    yield JobTraces(exporter, provider)
    provider.shutdown()
