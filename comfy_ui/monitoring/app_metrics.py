"""Figures for Prometheus: the queue, ended jobs, open pages, the event loop and database pools.

Every label has few values: users and prompts never appear, a preset that does not come with the
app is "custom", and an error of another program is "other". Which process counts what is in
``docs/use/monitoring.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from .. import errors
from ..features import require_feature
from ..storage.records import Job, JobStatus, QueueFigures

if TYPE_CHECKING:
    from prometheus_client.core import Metric

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS: Final = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 10800)
_LAG_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_OTHER: Final = "other"
_CUSTOM: Final = "custom"
_POOL_GAUGES: Final = {"pool_size": "open", "pool_available": "idle"}


class AppMetrics:
    """The figures of one process, as text.

    Args:
        presets: the ids of the presets that come with the app.
        queue: returns the figures of the queue, without waiting.
        pools: returns the statistics of each pool of database connections by its name.
        pages: returns the number of open pages.

    Raises:
        MissingFeatureError: the extra [observability] is not installed.
    """

    def __init__(
        self,
        *,
        presets: Collection[str],
        queue: Callable[[], QueueFigures] | None = None,
        pools: Callable[[], Mapping[str, Mapping[str, float]]] = dict,
        pages: Callable[[], int] | None = None,
    ) -> None:
        require_feature("observability")
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self._registry = CollectorRegistry()
        self._presets = frozenset(presets)
        self._queue = queue
        self._pools = pools
        self._ended = Counter(
            "comfy_ui_jobs_ended",
            "Jobs whose end this process has stored, by outcome",
            ("server", "preset", "outcome"),
            registry=self._registry,
        )
        self._failed = Counter(
            "comfy_ui_job_failures",
            "Jobs that ended without success, by the kind of the error",
            ("server", "kind"),
            registry=self._registry,
        )
        self._waited = Histogram(
            "comfy_ui_job_wait_seconds",
            "From the submission of a job to its start at ComfyUI",
            ("server",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._ran = Histogram(
            "comfy_ui_job_run_seconds",
            "From the start of a job at ComfyUI to its stored end, of jobs that succeeded",
            ("server", "preset"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        lag = Histogram(
            "comfy_ui_event_loop_lag_seconds",
            "How much later than asked the event loop runs a task",
            buckets=_LAG_S,
            registry=self._registry,
        )
        self.observe_lag: Callable[[float], None] = lag.observe
        if pages is not None:
            gauge = Gauge("comfy_ui_pages_open", "Open pages", registry=self._registry)
            gauge.set_function(pages)
        self._registry.register(self)

    def job_ended(self, job: Job) -> None:
        """Count a job that has ended."""
        server = job.server or ""
        preset = job.preset if job.preset in self._presets else _CUSTOM
        self._ended.labels(server, preset, job.status.value).inc()
        if job.status is not JobStatus.SUCCEEDED and job.error is not None:
            self._failed.labels(server, _kind(job.error.kind)).inc()
        if job.started_at is None:
            return
        self._waited.labels(server).observe(max(0.0, job.started_at - job.created_at))
        if job.status is JobStatus.SUCCEEDED and job.finished_at is not None:
            run_s = max(0.0, job.finished_at - job.started_at)
            self._ran.labels(server, preset).observe(run_s)

    def text(self) -> bytes:
        """Return the figures in Prometheus' text format."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)

    def names(self) -> frozenset[str]:
        """Return the names that queries may use: those of the samples, in all variants."""
        names = set()
        for metric in self._registry.collect():
            suffixes = {
                "counter": ("_total",),
                "histogram": ("_bucket", "_count", "_sum"),
            }.get(metric.type, ("",))
            names |= {metric.name + suffix for suffix in suffixes}
        return frozenset(names)

    def collect(self) -> Iterable[Metric]:
        """Yield what is asked for only when the figures are read."""
        if self._queue is not None:
            yield from _queue_metrics(self._queue())
        yield from _pool_metrics(self._pools())


def _queue_metrics(figures: QueueFigures) -> Iterable[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    jobs = GaugeMetricFamily("comfy_ui_queue_jobs", "Unfinished jobs", labels=("state", "server"))
    for (state, server), count in {("waiting", ""): 0, **figures.jobs}.items():
        jobs.add_metric((state, server), count)
    yield jobs
    yield GaugeMetricFamily(
        "comfy_ui_queue_oldest_seconds",
        "Age of the waiting job that was submitted first; 0 if none waits",
        value=figures.oldest_s,
    )
    online = GaugeMetricFamily(
        "comfy_ui_server_online", "Whether a server gets jobs", labels=("server",)
    )
    for server, is_online in figures.servers.items():
        online.add_metric((server,), is_online)
    yield online


def _pool_metrics(pools: Mapping[str, Mapping[str, float]]) -> Iterable[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    connections = GaugeMetricFamily(
        "comfy_ui_database_connections", "Connections of a pool", labels=("pool", "state")
    )
    waiting = GaugeMetricFamily(
        "comfy_ui_database_waiting", "Calls that wait for a connection", labels=("pool",)
    )
    waited = CounterMetricFamily(
        "comfy_ui_database_wait_seconds", "Seconds that calls have waited", labels=("pool",)
    )
    lost = CounterMetricFamily(
        "comfy_ui_database_connections_lost", "Connections that broke", labels=("pool",)
    )
    for name, stats in pools.items():
        for key, state in _POOL_GAUGES.items():
            connections.add_metric((name, state), stats.get(key, 0))
        waiting.add_metric((name,), stats.get("requests_waiting", 0))
        waited.add_metric((name,), stats.get("requests_wait_ms", 0) / 1000)
        lost.add_metric((name,), stats.get("connections_lost", 0))
    yield from (connections, waiting, waited, lost)


def _kind(name: str) -> str:
    """Return the name of one of the errors of this package, or "other"."""
    return name if name.endswith("Error") and hasattr(errors, name) else _OTHER
