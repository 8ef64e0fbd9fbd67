"""Is the server well: does it answer, and does its queue move? ([health])

HTTP 200 is not health: ComfyUI's worker thread can die while its web server goes on answering
(ComfyUI issue 16312). So the verdict compares what two looks at the queue have seen.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

from .client import ComfyClient
from .client.server_check import ServerCheck
from .client.transport.address import parse_address
from .client.transport.circuit_breakers import breaker_for
from .errors import AuthenticationError, CircuitOpenError, ComfyHeadlessError
from .features import require_feature

# Jobs wait and none runs: the worker takes the next one within milliseconds when it lives. Also
# how long a job stands still before what the log says of the worker's death is believed.
IDLE_WORKER_S = 15.0
# One and the same job for that long. Long videos take hours on small cards, so this is a
# suspicion that a person has to judge.
LONG_JOB_S = 3600.0


class HealthVerdict(StrEnum):
    """How a server is."""

    HEALTHY = "healthy"
    BUSY = "busy"
    STUCK = "stuck"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """What is known of a server. Times are seconds since 1970, memory is in bytes."""

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
        """For JSON."""
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


class WorkerWatch:
    """Tells a worker that has died over a job from one that is slow. Pure."""

    def __init__(self) -> None:
        self._seen: tuple[frozenset[str], float] | None = None

    def is_dead(self, running: frozenset[str], *, at: float, says_so: bool) -> bool:
        """Whether ``running`` will never end, at ``at`` seconds.

        ``says_so``: the server's log does. It is believed when nothing has moved for a while
        since it first did; what has taken another job lives, whatever the log says.
        """
        if not says_so or not running:
            self._seen = None
            return False
        if self._seen is None:
            self._seen = running, at
        first, since = self._seen
        return running == first and at - since >= IDLE_WORKER_S


class HealthTracker:
    """Turns looks at one server into reports. Pure: times come with the looks."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._verdict: HealthVerdict | None = None
        self._since = 0.0
        self._failure: ComfyHeadlessError | None = None
        """Of the last look that reached for the server, if it failed."""
        self._last_error: tuple[str, float] | None = None
        self._queue_seen: tuple[frozenset[str], bool] | None = None
        self._queue_since = 0.0
        self._worker = WorkerWatch()

    def observe(self, look: ServerCheck) -> HealthReport:
        """The report after one more look."""
        if isinstance(look.error, CircuitOpenError) and self._failure is not None:
            look = replace(look, error=self._failure)  # what opened it says more
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
        if self._worker.is_dead(running, at=look.at, says_so=look.worker_died):
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
    """A monitor of one server. Ask it again and again: it remembers what it has seen.

    Takes the same arguments as :class:`~comfy_ui.ComfyClient`. Safe to use from one thread.

    Raises:
        MissingFeatureError: the extra [health] is not installed.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        require_feature("health")
        self._client = ComfyClient(*args, **options)
        self._tracker = HealthTracker(self._client.url)

    def check(self) -> HealthReport:
        """Look now. Never raises for a server that is away or ill: the report says so."""
        return self.report(self._client.look())

    def report(self, look: ServerCheck) -> HealthReport:
        """The report after a look that was taken elsewhere, by the app's own client."""
        return with_local_facts(self._tracker.observe(look))

    def close(self) -> None:
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


def with_local_facts(report: HealthReport) -> HealthReport:
    """``report`` with what this process knows itself: the breaker's state and its own memory."""

    import psutil

    breaker = breaker_for(parse_address(report.url).base_url)
    return replace(
        report,
        breaker=breaker.state,
        retry_after_s=breaker.retry_after_s,
        app_memory_bytes=psutil.Process().memory_info().rss,
    )


def check_health(*args: Any, **options: Any) -> HealthReport:
    """One look at a server; takes the arguments of :class:`~comfy_ui.ComfyClient`.

    A queue that stands still shows only to a :class:`ComfyHealth` that looks more than once.

    Raises:
        MissingFeatureError: the extra [health] is not installed.
    """
    with ComfyHealth(*args, **options) as health:
        return health.check()
