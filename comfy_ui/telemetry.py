"""OpenTelemetry spans and metrics ([observability]).

Free of cost while off: telemetry is on if OpenTelemetry was imported before the first job, by
``opentelemetry-instrument`` or :func:`setup_telemetry`, so ``sys.modules`` decides. Prompts are
recorded only after :func:`record_prompts`; secrets and file names never are.

The recorded spans and events are in ``client/tracking/job_telemetry.py``.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

from .features import check_feature, get_install_hint, require_feature

logger = logging.getLogger(__name__)

Attributes = Mapping[str, str | int | float | bool]


class Span(Protocol):
    """The part of OpenTelemetry's span that this package uses."""

    def add_event(
        self, name: str, attributes: Attributes | None = None, timestamp: int | None = None
    ) -> None: ...
    def set_attribute(self, key: str, value: str | float | bool) -> None: ...
    def get_span_context(self) -> Any: ...


class _NoSpan:
    def add_event(
        self, name: str, attributes: Attributes | None = None, timestamp: int | None = None
    ) -> None: ...
    def set_attribute(self, key: str, value: str | float | bool) -> None: ...
    def get_span_context(self) -> Any: ...


NO_SPAN: Span = _NoSpan()
_OFF = nullcontext(NO_SPAN)

# OpenTelemetry's own boundaries are made for milliseconds.
_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)

_prompts = False


def is_on() -> bool:
    """Whether OpenTelemetry is loaded."""
    return "opentelemetry.trace" in sys.modules


def record_prompts(*, on: bool = True) -> None:
    """Set whether the spans of this process contain whole workflows with their prompts."""
    global _prompts  # noqa: PLW0603 -- like the providers of OpenTelemetry, one for the process
    _prompts = on


def records_prompts() -> bool:
    """Whether spans contain whole workflows."""
    return _prompts


def span(
    name: str,
    attributes: Attributes | None = None,
    *,
    current: bool = True,
    after: Any = None,
    traceparent: str | None = None,
    start_ns: int | None = None,
) -> AbstractContextManager[Span]:
    """Record a span around a block. An exception that leaves the block is recorded by class only.

    Its message may quote a prompt or an address, so it is left out.

    Args:
        name: the span's name.
        attributes: attributes known at the start.
        current: whether the span becomes the parent of spans and calls inside. False for blocks in
            a generator that may be left in another context than it was entered in.
        after: the context of an earlier span that this one continues: they share a trace even
            without a common parent.
        traceparent: the span's parent, perhaps in another process, as :func:`traceparent` returned
            it there.
        start_ns: when the span began, in nanoseconds since 1970; None: now.
    """
    if not is_on():
        return _OFF
    return _recorded(
        name,
        attributes,
        current=current,
        after=after,
        traceparent=traceparent,
        start_ns=start_ns,
    )


@contextmanager
def _recorded(
    name: str,
    attributes: Attributes | None,
    *,
    current: bool,
    after: Any,
    traceparent: str | None,
    start_ns: int | None,
) -> Iterator[Span]:
    from opentelemetry import trace

    parent = None
    if after is not None and not trace.get_current_span().get_span_context().is_valid:
        parent = trace.set_span_in_context(trace.NonRecordingSpan(after))
    if traceparent is not None:
        parent = _propagator().extract({"traceparent": traceparent})
    opened = trace.get_tracer("comfy_ui").start_span(
        name,
        parent,
        kind=trace.SpanKind.CLIENT,
        attributes=dict(attributes or {}),
        start_time=start_ns,
    )
    try:
        if current:
            with trace.use_span(opened, record_exception=False, set_status_on_exception=False):
                yield opened
        else:
            yield opened
    except GeneratorExit:  # the reader of a stream stopped early
        raise
    except BaseException as error:
        opened.set_attribute("error.type", type(error).__name__)
        if isinstance(error, Exception):
            opened.set_status(trace.StatusCode.ERROR)
        raise
    finally:
        opened.end()


def traceparent() -> str | None:
    """Return the context of the current span as W3C text, for :func:`span` in another process."""
    if not is_on():
        return None
    carrier: dict[str, str] = {}
    _propagator().inject(carrier)
    return carrier.get("traceparent")


def _propagator() -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator()


def inject(headers: MutableMapping[str, str]) -> None:
    """Add the W3C trace context of the current span to outgoing HTTP headers."""
    if is_on():
        from opentelemetry import propagate

        propagate.inject(headers)


class Meters:
    """The metrics of this package; each instrument is created on its first value.

    ``server`` has the attributes that identify a server.
    """

    def __init__(self) -> None:
        self._instruments: dict[str, Any] = {}

    def job_ended(self, outcome: str, server: Attributes) -> None:
        """Count a job by its end: succeeded, failed, cancelled, lost."""
        if is_on():
            self._instrument("counter", "comfyui.jobs", "{job}", "Jobs by how they ended").add(
                1, {**server, "comfyui.outcome": outcome}
            )

    def phase_took(self, phase: str, seconds: float, server: Attributes) -> None:
        """Record how long a job stayed in one phase, in seconds."""
        if is_on():
            self._instrument(
                "histogram",
                "comfyui.phase.duration",
                "s",
                "Seconds of jobs by phase",
                explicit_bucket_boundaries_advisory=_SECONDS,
            ).record(seconds, {**server, "comfyui.phase": phase})

    def reconnected(self, server: Attributes) -> None:
        """Count a WebSocket that had to be opened again."""
        if is_on():
            self._instrument(
                "counter", "comfyui.reconnects", "{reconnect}", "Sockets opened again"
            ).add(1, server)

    def queue_depth(self, jobs: int, server: Attributes) -> None:
        """Record how many jobs the server has, running and pending."""
        if is_on():
            self._instrument("gauge", "comfyui.queue.depth", "{job}", "Jobs at the server").set(
                jobs, server
            )

    def _instrument(self, kind: str, name: str, unit: str, description: str, **options: Any) -> Any:
        if name not in self._instruments:
            from opentelemetry import metrics

            make = getattr(metrics.get_meter("comfy_ui"), f"create_{kind}")
            self._instruments[name] = make(name, unit=unit, description=description, **options)
        return self._instruments[name]


meters = Meters()


def heed_environment(*, prompts: bool = False) -> None:
    """Call :func:`setup_telemetry` if the environment names an OTLP receiver.

    ``comfy-ui`` does so on start.

    Args:
        prompts: see :func:`record_prompts`.
    """
    record_prompts(on=prompts)
    receivers = [f"OTEL_EXPORTER_OTLP_{kind}ENDPOINT" for kind in ("", "TRACES_", "METRICS_")]
    if not any(os.environ.get(name) for name in receivers):
        return
    if check_feature("observability"):
        setup_telemetry()
    else:
        hint = get_install_hint("observability")
        logger.warning("OTEL_* names a receiver, but telemetry is not installed: %s", hint)


def setup_telemetry(*, service_name: str = "comfy-ui") -> None:
    """Export traces and metrics over OTLP/HTTP, configured by the standard ``OTEL_*`` variables.

    Existing providers, of ``opentelemetry-instrument`` for example, are kept.

    Args:
        service_name: the name if OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES set none.

    Raises:
        MissingFeatureError: the extra [observability] is not installed.
    """
    require_feature("observability")
    from opentelemetry import metrics, trace
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create()
    if str(resource.attributes["service.name"]).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": service_name}))
    if _exported("TRACES") and isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        tracers = TracerProvider(resource=resource)
        tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(tracers)
    if _exported("METRICS") and not isinstance(metrics.get_meter_provider(), MeterProvider):
        readers = [PeriodicExportingMetricReader(OTLPMetricExporter())]
        metrics.set_meter_provider(MeterProvider(resource=resource, metric_readers=readers))


setup = setup_telemetry
"""The same function under its earlier name."""


def _exported(signal: str) -> bool:
    """Whether a signal is exported; the standard's value ``none`` turns it off."""
    return os.environ.get(f"OTEL_{signal}_EXPORTER", "").strip().lower() != "none"
