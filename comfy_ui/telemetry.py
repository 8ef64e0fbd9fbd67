"""OpenTelemetry spans and metrics ([observability]).

Off costs nothing: whoever wants telemetry has imported OpenTelemetry before the first job runs,
either ``opentelemetry-instrument`` or :func:`setup`, so a look into ``sys.modules`` decides.
Prompts are not recorded unless asked (:func:`record_prompts`), secrets and file names never.

What is recorded is in ``client/job_telemetry.py``.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any, Protocol

from .features import check_feature, get_install_hint, require_feature

logger = logging.getLogger(__name__)

Attributes = Mapping[str, str | int | float | bool]


class Span(Protocol):
    """The part of an OpenTelemetry span that is used here."""

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

_prompts = False


def is_on() -> bool:
    """Whether somebody may be listening."""
    return "opentelemetry.trace" in sys.modules


def record_prompts(*, on: bool = True) -> None:
    """Put whole workflows, prompts and all, into the spans of this process."""
    global _prompts  # noqa: PLW0603 -- like the providers of OpenTelemetry, one for the process
    _prompts = on


def records_prompts() -> bool:
    return _prompts


@contextmanager
def span(
    name: str,
    attributes: Attributes | None = None,
    *,
    current: bool = True,
    after: Any = None,
    start_ns: int | None = None,
) -> Iterator[Span]:
    """A span around a block. An exception that leaves the block is recorded by its class only.

    An error's text may quote a prompt or an address, so it stays out.

    Args:
        name: of the span.
        attributes: known from the beginning.
        current: whether the spans and calls inside belong to it. Not for blocks in a generator
            that is left in another context than it was entered in.
        after: the context of an earlier span, of which this one is the sequel: they share a trace
            even where nothing around them does.
        start_ns: when it began, if not now; since 1970.
    """
    if not is_on():
        yield NO_SPAN
        return
    from opentelemetry import trace

    parent = None
    if after is not None and not trace.get_current_span().get_span_context().is_valid:
        parent = trace.set_span_in_context(trace.NonRecordingSpan(after))
    begun = trace.get_tracer("comfy_ui").start_span(
        name,
        parent,
        kind=trace.SpanKind.CLIENT,
        attributes=dict(attributes or {}),
        start_time=start_ns,
    )
    try:
        if current:
            with trace.use_span(begun, record_exception=False, set_status_on_exception=False):
                yield begun
        else:
            yield begun
    except GeneratorExit:  # the reader of a stream has seen enough
        raise
    except BaseException as error:
        begun.set_attribute("error.type", type(error).__name__)
        if isinstance(error, Exception):
            begun.set_status(trace.StatusCode.ERROR)
        raise
    finally:
        begun.end()


def inject(headers: MutableMapping[str, str]) -> None:
    """Add the W3C trace context of the current span to outgoing HTTP headers."""
    if is_on():
        from opentelemetry import propagate

        propagate.inject(headers)


class Meters:
    """The metrics of this package. Instruments are made when the first value comes.

    ``server`` are the attributes that tell one server from another.
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
                "histogram", "comfyui.phase.duration", "s", "Seconds of jobs by phase"
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

    def _instrument(self, kind: str, name: str, unit: str, description: str) -> Any:
        if name not in self._instruments:
            from opentelemetry import metrics

            make = getattr(metrics.get_meter("comfy_ui"), f"create_{kind}")
            self._instruments[name] = make(name, unit=unit, description=description)
        return self._instruments[name]


meters = Meters()


def heed_environment(*, prompts: bool = False) -> None:
    """What ``comfy-ui`` does on start: :func:`setup` where the environment names a receiver.

    Args:
        prompts: see :func:`record_prompts`.
    """
    record_prompts(on=prompts)
    receivers = [f"OTEL_EXPORTER_OTLP_{kind}ENDPOINT" for kind in ("", "TRACES_", "METRICS_")]
    if not any(os.environ.get(name) for name in receivers):
        return
    if check_feature("observability"):
        setup()
    else:
        hint = get_install_hint("observability")
        logger.warning("OTEL_* names a receiver, but nothing is sent. To send: %s", hint)


def setup(*, service_name: str = "comfy-ui") -> None:
    """Export traces and metrics over OTLP/HTTP, as the standard ``OTEL_*`` variables say.

    What is set up already, by ``opentelemetry-instrument`` for instance, is left alone.

    Args:
        service_name: unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES gives one.

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


def _exported(signal: str) -> bool:
    """``none`` is the standard's word for a signal that nobody wants."""
    return os.environ.get(f"OTEL_{signal}_EXPORTER", "").strip().lower() != "none"
