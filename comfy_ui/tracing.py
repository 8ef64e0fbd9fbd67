"""OpenTelemetry spans and metrics ([observability]).

Off costs nothing: whoever wants telemetry has imported OpenTelemetry before the first job runs,
either ``opentelemetry-instrument`` or :func:`setup`, so a look into ``sys.modules`` decides.
Spans of one job: ``comfyui.submit``, ``comfyui.wait`` (with an event per stage) and
``comfyui.fetch``. Prompts and file names are not recorded unless asked.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any, Protocol

from .features import require_feature

Attributes = Mapping[str, str | int | float | bool]


class Span(Protocol):
    """The part of an OpenTelemetry span that is used here."""

    def add_event(self, name: str, attributes: Attributes | None = None) -> None: ...
    def set_attribute(self, key: str, value: str | float | bool) -> None: ...


class _NoSpan:
    def add_event(self, name: str, attributes: Attributes | None = None) -> None: ...
    def set_attribute(self, key: str, value: str | float | bool) -> None: ...


NO_SPAN: Span = _NoSpan()


def _on() -> bool:
    return "opentelemetry.trace" in sys.modules


@contextmanager
def span(name: str, attributes: Attributes | None = None) -> Iterator[Span]:
    """A span around a block; an exception that leaves the block is recorded by its class only.

    An error's text may quote a prompt or an address, so it stays out.
    """
    if not _on():
        yield NO_SPAN
        return
    from opentelemetry import trace

    tracer = trace.get_tracer("comfy_ui")
    with tracer.start_as_current_span(
        name,
        attributes=dict(attributes or {}),
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield current
        except BaseException as error:
            current.set_attribute("error.type", type(error).__name__)
            if isinstance(error, Exception):
                current.set_status(trace.StatusCode.ERROR)
            raise


def inject(headers: MutableMapping[str, str]) -> None:
    """Add the W3C trace context of the current span to outgoing HTTP headers."""
    if _on():
        from opentelemetry import propagate

        propagate.inject(headers)


class Meters:
    """The metrics of this package. Instruments are made when the first value comes."""

    def __init__(self) -> None:
        self._instruments: dict[str, Any] = {}

    def _instrument(self, kind: str, name: str, unit: str, description: str) -> Any:
        if name not in self._instruments:
            from opentelemetry import metrics

            make = getattr(metrics.get_meter("comfy_ui"), f"create_{kind}")
            self._instruments[name] = make(name, unit=unit, description=description)
        return self._instruments[name]

    def job_ended(self, outcome: str) -> None:
        """Count a job by its end: succeeded, failed, cancelled, lost."""
        if _on():
            self._instrument("counter", "comfyui.jobs", "{job}", "Jobs by how they ended").add(
                1, {"outcome": outcome}
            )

    def phase_took(self, phase: str, seconds: float) -> None:
        """Record how long a job stayed in one phase, in seconds."""
        if _on():
            self._instrument("histogram", "comfyui.phase", "s", "Seconds by phase").record(
                seconds, {"phase": phase}
            )

    def reconnected(self) -> None:
        """Count a WebSocket that had to be opened again."""
        if _on():
            self._instrument("counter", "comfyui.reconnects", "{reconnect}", "Reconnects").add(1)

    def queue_depth(self, jobs: int) -> None:
        """Record how many jobs the server has, running and pending."""
        if _on():
            self._instrument("gauge", "comfyui.queue", "{job}", "Jobs at the server").set(jobs)


meters = Meters()


def setup(*, service_name: str = "comfy-ui") -> None:
    """Export traces and metrics over OTLP/HTTP, as the standard ``OTEL_*`` variables say.

    Programs that set up OpenTelemetry themselves do not need this.

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

    resource = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", service_name)})
    tracers = TracerProvider(resource=resource)
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(tracers)
    metrics.set_meter_provider(
        MeterProvider(
            resource=resource,
            metric_readers=[PeriodicExportingMetricReader(OTLPMetricExporter())],
        )
    )
