"""Health of a server: whether it answers and its queue moves ([health]).

HTTP 200 is not health: ComfyUI's worker thread can die while its web server keeps answering
(ComfyUI issue 16312). So the verdict compares the queue between two checks.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

from .client import ComfyClient
from .client.server_check import ServerCheck
from .client.transport.circuit_breakers import CircuitBreaker
from .errors import AuthenticationError, CircuitOpenError, ComfyHeadlessError
from .features import require_feature

# Jobs wait and none runs: a live worker takes the next one within milliseconds. This is also how
# long a job must stand still before a log that reports the worker's death is believed.
IDLE_WORKER_S = 15.0
# The same job for this long. Long videos take hours on small GPUs, so the verdict is only a guess.
LONG_JOB_S = 3600.0


class HealthVerdict(StrEnum):
    """The state of a server."""

    HEALTHY = "healthy"
    BUSY = "busy"
    STUCK = "stuck"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """The health of a server. Times are seconds since 1970, memory is in bytes."""

    url: str
    verdict: HealthVerdict
    advice: str
    since: float
    checked_at: float
    latency_s: float | None = None
    comfyui_version: str = ""
    devices: tuple[dict[str, Any], ...] = ()
    ram_free_bytes: int | None = None
    running: int = 0
    pending: int = 0
    breaker: str = "closed"
    retry_after_s: float = 0.0
    last_error: str = ""
    last_error_at: float | None = None
    app_memory_bytes: int | None = None

    @property
    def ok(self) -> bool:
        """Whether a job sent now can be expected to run."""
        return self.verdict in (HealthVerdict.HEALTHY, HealthVerdict.BUSY)

    def to_dict(self) -> dict[str, Any]:
        """The report as a dict that json can write."""
        return {**asdict(self), "ok": self.ok}

    def __str__(self) -> str:
        lines = [f"{self.url}: {self.verdict}"]
        if self.comfyui_version:
            lines.append(f"ComfyUI {self.comfyui_version}")
        if self.latency_s is not None:
            lines.append(f"answers in {self.latency_s * 1000:.0f} ms")
        for device in self.devices:
            free, total = device["vram_free_bytes"], device["vram_total_bytes"]
            lines.append(f"{device['name']}: {free / 2**30:.1f} of {total / 2**30:.1f} GiB free")
        if self.ok or self.verdict is HealthVerdict.STUCK:
            lines.append(f"queue: {self.running} running, {self.pending} waiting")
        if self.breaker != "closed":
            lines.append(f"circuit {self.breaker}, next try in {self.retry_after_s:.0f} s")
        if self.last_error:
            lines.append(f"last error: {self.last_error}")
        if self.advice:
            lines.append(self.advice)
        return "\n  ".join(lines)


class WorkerDeathDetector:
    """Distinguishes a dead worker from a slow one. Pure."""

    def __init__(self) -> None:
        self._seen: tuple[frozenset[str], float] | None = None

    def is_dead(self, running: frozenset[str], *, at: float, log_says_so: bool) -> bool:
        """Whether the running jobs will never end.

        Args:
            running: prompt_ids of the running jobs.
            at: the time of the check, in seconds.
            log_says_so: whether the log reports the worker's death. It is believed only if the
                jobs do not change for ``IDLE_WORKER_S``: a worker that takes another job is alive.
        """
        if not log_says_so or not running:
            self._seen = None
            return False
        if self._seen is None:
            self._seen = running, at
        first, since = self._seen
        return running == first and at - since >= IDLE_WORKER_S


class HealthTracker:
    """Turns checks of one server into reports. Pure: the checks carry their times."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._verdict: HealthVerdict | None = None
        self._since = 0.0
        self._failure: ComfyHeadlessError | None = None
        """The error of the last check that was sent, if it failed."""
        self._last_error: tuple[str, float] | None = None
        self._queue_seen: tuple[frozenset[str], bool] | None = None
        self._queue_since = 0.0
        self._worker = WorkerDeathDetector()

    def observe(self, look: ServerCheck) -> HealthReport:
        """The report after one more check."""
        if isinstance(look.error, CircuitOpenError) and self._failure is not None:
            look = replace(look, error=self._failure)  # the error that opened the circuit says more
        elif look.error is not None:
            self._failure, self._last_error = look.error, (look.error.message, look.at)
        else:
            self._failure = None
        verdict, advice = self._judge(look)
        if verdict is not self._verdict:
            self._verdict, self._since = verdict, look.at
        stats, queue = look.stats, look.queue
        return HealthReport(
            url=self._url,
            verdict=verdict,
            advice=advice,
            since=self._since,
            checked_at=look.at,
            latency_s=look.latency_s,
            comfyui_version=stats.comfyui_version if stats else "",
            devices=tuple(asdict(device) for device in stats.devices) if stats else (),
            ram_free_bytes=stats.ram_free_bytes if stats else None,
            running=len(queue.running) if queue else 0,
            pending=len(queue.pending) if queue else 0,
            last_error=self._last_error[0] if self._last_error else "",
            last_error_at=self._last_error[1] if self._last_error else None,
        )

    def _judge(self, look: ServerCheck) -> tuple[HealthVerdict, str]:
        if look.error is not None or look.queue is None:
            self._queue_seen = None
            refused = isinstance(look.error, AuthenticationError)
            hint = look.error.hint if look.error else ""
            return (HealthVerdict.REFUSED if refused else HealthVerdict.UNREACHABLE), hint
        running, waits = frozenset(look.queue.running), bool(look.queue.pending)
        if (running, waits) != self._queue_seen:
            self._queue_seen, self._queue_since = (running, waits), look.at
        still_s = look.at - self._queue_since
        if self._worker.is_dead(running, at=look.at, log_says_so=look.worker_died):
            return HealthVerdict.STUCK, (
                "ComfyUI's worker has died over a job: its log says so, and nothing moves. "
                "Restart ComfyUI."
            )
        if waits and not running and still_s >= IDLE_WORKER_S:
            return HealthVerdict.STUCK, (
                f"Jobs have been waiting for {still_s:.0f} s and none runs: "
                "ComfyUI's worker has died. Restart ComfyUI."
            )
        if running and still_s >= LONG_JOB_S:
            return HealthVerdict.STUCK, (
                f"The same job has been running for {still_s / 60:.0f} minutes. "
                "If it is not meant to take that long, restart ComfyUI."
            )
        return (HealthVerdict.BUSY if running or waits else HealthVerdict.HEALTHY), ""


class ComfyHealth:
    """A monitor of one server. Call :meth:`check` repeatedly: it compares with earlier checks.

    Takes the arguments of :class:`~comfy_ui.ComfyClient`. For use from one thread.

    Raises:
        MissingFeatureError: the extra [health] is not installed.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        require_feature("health")
        self._client = ComfyClient(*args, **options)
        self._tracker = HealthTracker(self._client.url)

    def check(self) -> HealthReport:
        """Check the server now. A server that is offline or unhealthy raises nothing."""
        return self.report(self._client.look())

    def report(self, look: ServerCheck) -> HealthReport:
        """The report after a check by another client."""
        return with_local_facts(self._tracker.observe(look), self._client.breaker)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()


def with_local_facts(report: HealthReport, breaker: CircuitBreaker | None) -> HealthReport:
    """Add the state of the circuit breaker and the memory of this process to a report."""

    import psutil

    if breaker is not None:
        report = replace(report, breaker=breaker.state, retry_after_s=breaker.retry_after_s)
    return replace(
        report,
        app_memory_bytes=psutil.Process().memory_info().rss,
    )


def check_health(*args: Any, **options: Any) -> HealthReport:
    """Check a server once; takes the arguments of :class:`~comfy_ui.ComfyClient`.

    Only a :class:`ComfyHealth` that checks repeatedly can see that a queue does not move.

    Raises:
        MissingFeatureError: the extra [health] is not installed.
    """
    with ComfyHealth(*args, **options) as health:
        return health.check()
