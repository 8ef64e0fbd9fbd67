"""Spans and metrics: in the SDK's memory exporters, and over OTLP to a socket."""

from __future__ import annotations

import asyncio
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from comfy_ui import telemetry
from comfy_ui.client import Result
from comfy_ui.demo import DemoServer, Faults
from comfy_ui.errors import GenerationFailedError
from tests.client.support import (
    EMPTY_QUEUE,
    Request,
    ScriptedServer,
    history_of,
    image_graph,
    open_client,
    response,
    saved,
)
from tests.client.test_both_clients import sleeper, until_running
from tests.faults.proxy import FaultProxy

BOTH = pytest.mark.parametrize("kind", ["sync", "async"])
SECRETS = ("sk-secret", "a secret cat", "secret_name")


class TelemetryRecords:
    """The spans and metrics recorded since the test began."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        trace.set_tracer_provider(tracers)
        metrics.set_meter_provider(MeterProvider(metric_readers=[self.reader]))

    def spans(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.spans(name)
        return span

    def all_text(self) -> str:
        return "".join(span.to_json() for span in self.exporter.get_finished_spans())

    def metrics(self, name: str) -> list[Any]:
        data = self.reader.get_metrics_data()
        return [
            metric
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
        ]

    def metric(self, name: str, port: int, **labels: str) -> Any:
        """The value for that server; for a histogram, its count."""
        for metric in self.metrics(name):
            for point in metric.data.data_points:
                attributes = dict(point.attributes)
                if attributes["server.port"] == port and all(
                    attributes[f"comfyui.{key}"] == value for key, value in labels.items()
                ):
                    return point.value if hasattr(point, "value") else point.count
        return None


@pytest.fixture(scope="module")
def module_records() -> Iterator[TelemetryRecords]:
    records = TelemetryRecords()
    yield records
    records.exporter.shutdown()  # the providers stay and drop everything


@pytest.fixture
def records(module_records: TelemetryRecords) -> TelemetryRecords:
    module_records.exporter.clear()
    return module_records


def events(span: ReadableSpan) -> list[str]:
    return [event.name for event in span.events]


def secret_graph() -> dict[str, Any]:
    graph = image_graph(prefix="secret_name")
    graph["2"]["_meta"]["title"] = "a secret cat"
    return graph


@BOTH
async def test_telemetry_job_has_submit_wait_and_fetch_spans(
    kind: str, engine: DemoServer, records: TelemetryRecords, tmp_path: Any
) -> None:
    async with open_client(kind, engine.url, token="sk-secret") as client:
        result: Result[Any] = await client.run(secret_graph())
        await saved(result, tmp_path)
    submit, wait, fetch = (records.one(f"comfyui.{name}") for name in ("submit", "wait", "fetch"))
    for span in (submit, wait, fetch):
        assert span.attributes["server.port"] == engine.port
        assert span.status.is_unset
        assert span.attributes["comfyui.prompt_id"] == result.prompt_id
    assert wait.attributes["comfyui.outcome"] == "succeeded"
    assert wait.context.trace_id == submit.context.trace_id
    assert fetch.attributes["comfyui.bytes"] > 50
    assert events(wait)[0] == "queued"
    assert records.metric("comfyui.jobs", engine.port, outcome="succeeded") == 1
    assert records.metric("comfyui.phase.duration", engine.port, phase="queued") == 1
    (metric,) = records.metrics("comfyui.phase.duration")
    assert metric.unit == "s"
    assert {point.explicit_bounds[:3] for point in metric.data.data_points} == {(0.1, 0.25, 0.5)}
    assert [secret for secret in SECRETS if secret in records.all_text()] == []


async def test_telemetry_wait_span_has_an_event_for_each_stage(
    engine: DemoServer, records: TelemetryRecords
) -> None:
    async with open_client("async", engine.url) as client:
        await client.generate_image("a lake", preset="sd15", steps=2)
    wait = records.one("comfyui.wait")
    names = events(wait)
    for name in ("queued", "started", "node.start", "node.end", "preview.first"):
        assert name in names
    started = [e.attributes["comfyui.class_type"] for e in wait.events if e.name == "node.start"]
    ended = [e.attributes["comfyui.class_type"] for e in wait.events if e.name == "node.end"]
    assert "KSampler" in started
    assert sorted(started) == sorted(ended)
    times = [event.timestamp for event in wait.events]
    assert times == sorted(times)
    assert wait.start_time <= times[0]


@BOTH
async def test_telemetry_wait_span_counts_cached_nodes(
    kind: str, engine: DemoServer, records: TelemetryRecords
) -> None:
    async with open_client(kind, engine.url) as client:
        await client.run(image_graph(3))
        records.exporter.clear()
        await client.run(image_graph(3))
    cached = [event for event in records.one("comfyui.wait").events if event.name == "cached"]
    assert sum(event.attributes["comfyui.nodes"] for event in cached) == 2


@BOTH
async def test_telemetry_failed_job_records_the_error_class_without_text(
    kind: str, engine: DemoServer, records: TelemetryRecords
) -> None:
    engine.faults = Faults(error_at="SaveImage")
    async with open_client(kind, engine.url) as client:
        with pytest.raises(GenerationFailedError) as caught:
            await client.run(secret_graph())
    wait = records.one("comfyui.wait")
    assert wait.attributes["error.type"] == "GenerationFailedError"
    assert wait.attributes["comfyui.outcome"] == "failed"
    assert not wait.status.is_ok
    assert not wait.status.is_unset
    assert records.metric("comfyui.jobs", engine.port, outcome="failed") == 1
    assert caught.value.message not in records.all_text()
    assert [secret for secret in SECRETS if secret in records.all_text()] == []


@BOTH
async def test_telemetry_lost_connection_records_retry_and_reconnect(
    kind: str, engine: DemoServer, records: TelemetryRecords
) -> None:
    engine.faults = Faults(test_nodes=True)
    async with FaultProxy(engine.url) as proxy, open_client(kind, proxy.url, timeout=5) as client:
        prompt_id = await client.queue_prompt(sleeper(1.5))
        waiting = asyncio.create_task(client.wait_for_completion(prompt_id))
        await until_running(client, prompt_id)
        await proxy.refuse_for(0.5)
        assert (await waiting).images
        names = events(records.one("comfyui.wait"))
        assert {"retry", "reconnect"} <= set(names)
        if kind == "async":
            async with asyncio.timeout(20):  # polls may end a job before the socket is back
                while not records.metric("comfyui.reconnects", proxy._port):
                    await client.run(image_graph(7))


@BOTH
async def test_telemetry_streams_and_batches_record_wait_spans(
    kind: str, engine: DemoServer, records: TelemetryRecords
) -> None:
    # An earlier engine may have had the same port.
    before = records.metric("comfyui.jobs", engine.port, outcome="succeeded") or 0
    async with open_client(kind, engine.url) as client:
        await client.run_batch([image_graph(n) for n in range(3)], concurrency=2)
        assert len(records.spans("comfyui.wait")) == len(records.spans("comfyui.submit")) == 3
        assert records.metric("comfyui.jobs", engine.port, outcome="succeeded") == before + 3
        if kind == "async":
            async for _ in client.stream(image_graph(9)):
                break
            assert "error.type" not in records.spans("comfyui.wait")[-1].attributes


async def test_telemetry_two_waits_count_one_job(
    engine: DemoServer, records: TelemetryRecords
) -> None:
    engine.faults = Faults(test_nodes=True)
    before = records.metric("comfyui.jobs", engine.port, outcome="succeeded") or 0
    async with open_client("async", engine.url) as client:
        prompt_id = await client.queue_prompt(sleeper(0.3))
        await asyncio.gather(*(client.wait_for_completion(prompt_id) for _ in range(2)))
    assert len(records.spans("comfyui.wait")) == 2
    assert records.metric("comfyui.jobs", engine.port, outcome="succeeded") == before + 1


@BOTH
async def test_telemetry_records_the_queue_depth(
    kind: str, engine: DemoServer, records: TelemetryRecords
) -> None:
    engine.faults = Faults(test_nodes=True)
    async with open_client(kind, engine.url) as client:
        running = await client.queue_prompt(sleeper(30))
        await client.queue_prompt(image_graph())
        await until_running(client, running)
        await client.cancel(running)
        await client.wait_for_completion(await client.queue_prompt(image_graph(2)))
    assert records.metric("comfyui.queue.depth", engine.port) is not None


@BOTH
async def test_telemetry_requests_carry_the_traceparent_of_their_span(
    kind: str, records: TelemetryRecords
) -> None:
    def handler(request: Request) -> bytes:
        if request.path.startswith("/ws"):
            return response(status=404)
        if request.path == "/queue":
            return response(EMPTY_QUEUE)
        if request.path.startswith("/history/"):
            return response(history_of(request.path.rpartition("/")[2]))
        if request.path.startswith("/view"):
            return response(b"bytes")
        return response({"prompt_id": "x", "number": 1, "node_errors": {}})

    with ScriptedServer(handler) as server:
        async with open_client(kind, server.url) as client:
            with trace.get_tracer("test").start_as_current_span("mine") as mine:
                result = await client.run(image_graph(), timeout=10)
                await client.download(result.files[0])
    spans = {
        f"{span.context.span_id:016x}": span.name for span in records.exporter.get_finished_spans()
    }
    trace_id = f"{mine.get_span_context().trace_id:032x}"
    sent = {r.path.partition("?")[0]: r.headers.get("traceparent", "") for r in server.requests}
    for path, name in (("/prompt", "comfyui.submit"), ("/view", "comfyui.fetch")):
        _, sent_trace, sent_span, _ = sent[path].split("-")
        assert sent_trace == trace_id
        assert spans[sent_span] == name


@BOTH
async def test_record_prompts_exports_the_workflow_without_api_keys(
    kind: str, engine: DemoServer, records: TelemetryRecords
) -> None:
    telemetry.record_prompts()
    try:
        async with open_client(kind, engine.url, token="sk-secret") as client:
            extra = {"api_key_comfy_org": "sk-secret"}
            await client.queue_prompt(secret_graph(), extra_data=extra)
    finally:
        telemetry.record_prompts(on=False)
    workflow = records.one("comfyui.submit").attributes["comfyui.workflow"]
    assert json.loads(workflow) == secret_graph()
    assert "sk-secret" not in records.all_text()


def test_client_without_telemetry_imports_no_opentelemetry(engine: DemoServer) -> None:
    code = (
        "import sys; from comfy_ui.client import ComfyClient\n"
        "from tests.client.support import image_graph\n"
        f"with ComfyClient(url={engine.url!r}) as client: client.run(image_graph())\n"
        "print(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# -- over the wire


class Receiver:
    """An OTLP/HTTP receiver on a socket."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.metrics: set[str] = set()
        self.services: set[str] = set()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.receive(self.path, body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def receive(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                self._add_service(resource)
                for scope in resource.scope_spans:
                    self.spans += scope.spans
        elif path == "/v1/metrics":
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self._add_service(resource)
                for scope in resource.scope_metrics:
                    self.metrics |= {metric.name for metric in scope.metrics}

    def _add_service(self, resource: Any) -> None:
        self.services |= {
            attribute.value.string_value
            for attribute in resource.resource.attributes
            if attribute.key == "service.name"
        }


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    new_receiver = Receiver()
    thread = threading.Thread(target=new_receiver.server.serve_forever, daemon=True)
    thread.start()
    yield new_receiver
    new_receiver.server.shutdown()
    new_receiver.server.server_close()
    thread.join()


def run_cli(engine: DemoServer, tmp_path: Any, **environment: str) -> subprocess.CompletedProcess:
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(secret_graph()))
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "comfy_ui", "run", str(path), "-o", str(tmp_path)],
        env={**os.environ, "COMFYUI_URL": engine.url, **environment},
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.parametrize("service", ["", "my-service"])
def test_cli_exports_to_the_endpoint_of_the_environment(
    engine: DemoServer, receiver: Receiver, tmp_path: Any, service: str
) -> None:
    named = {"OTEL_SERVICE_NAME": service} if service else {}
    run_cli(engine, tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, **named)
    assert {span.name for span in receiver.spans} == {
        "comfyui.submit",
        "comfyui.wait",
        "comfyui.fetch",
    }
    assert {"comfyui.jobs", "comfyui.phase.duration"} <= receiver.metrics
    assert receiver.services == {service or "comfy-ui"}
    assert [secret for secret in SECRETS if secret in str(receiver.spans)] == []


def test_cli_exports_traces_only_if_metrics_are_disabled(
    engine: DemoServer, receiver: Receiver, tmp_path: Any
) -> None:
    run_cli(
        engine,
        tmp_path,
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{receiver.url}/v1/traces",
        OTEL_METRICS_EXPORTER="none",
        COMFY_UI_TRACE_PROMPTS="1",
    )
    assert receiver.metrics == set()
    assert "a secret cat" in str(receiver.spans)


@pytest.mark.slow
def test_cli_offline_receiver_does_not_fail_the_job(engine: DemoServer, tmp_path: Any) -> None:
    offline = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    run_cli(engine, tmp_path, OTEL_EXPORTER_OTLP_TIMEOUT="1", **offline)
    assert list(tmp_path.glob("*.png"))


def test_heed_environment_without_extra_logs_the_install_hint(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(telemetry, "check_feature", lambda _: False)
    telemetry.heed_environment()
    assert caplog.text == ""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    telemetry.heed_environment()
    assert "comfy-ui[observability]" in caplog.text


def test_setup_existing_providers_are_kept(records: TelemetryRecords) -> None:
    before = trace.get_tracer_provider(), metrics.get_meter_provider()
    telemetry.setup()
    assert (trace.get_tracer_provider(), metrics.get_meter_provider()) == before
