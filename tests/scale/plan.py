"""What :mod:`.kill_workers` does, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import quantiles

from tests.scale.queue_cost import QueueCost


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What happens. One of the ``users`` submits as many jobs as all others together.

    Args:
        replicas: this many real apps behind nginx, for a page of each user over HTTP. 0: job
            services in one process.
        apps: without ``replicas``, this many job services share the jobs: each gets an equal part
            of the submissions, and another one than that which got a job follows it.
        s3: 1 for files in an S3 server, and a data folder for each host.
        stop_database_s: for how long PostgreSQL is away, each of the ``restarts``.
        replica_kills: how often an app is killed, and started again.
        s3_stops: how often the S3 server is killed; it is away for ``stop_s3_s``.
        learn_s: with ``replicas``, how long the apps have to read what workers have learned of the
            first jobs: they do so once a minute, and until then their jobs have other costs.
        quiet_jobs: jobs at the end, one after the other, to measure their times.
        cost_jobs: jobs at the end, to measure their costs in the queue itself.
    """

    jobs: int = 200
    replicas: int = 0
    apps: int = 1
    s3: int = 0
    users: int = 10
    workers: int = 2
    job_s: float = 0.05
    kill_every_s: float = 2.0
    restarts: int = 1
    stop_database_s: float = 1.0
    replica_kills: int = 0
    s3_stops: int = 0
    stop_s3_s: float = 10.0
    learn_s: float = 66.0
    quiet_jobs: int = 20
    cost_jobs: int = 200
    within_s: float = 600.0
    seed: int = 0

    def user_ids(self) -> list[str]:
        """The users; the first one submits half of the jobs."""
        return ["flood", *(f"user{number}" for number in range(1, self.users))]

    def user_of(self, number: int) -> str:
        """The user of a job."""
        flood, *others = self.user_ids()
        return others[number // 2 % len(others)] if number % 2 else flood


@dataclass(kw_only=True)
class Account:
    """What came of it.

    Attributes:
        jobs: how many were submitted.
        dispatch_s: from the submission of a job to its start at an idle server.
        page_s: from the stored end of such a job to the page.
        resumed_s: from the death of an app to the next event of each page that it served.
        refusals: what pages were shown while jobs could not be submitted.
        missing_files: results in the library whose files the S3 server does not have.
    """

    jobs: int = 0
    succeeded: int = 0
    published_twice: int = 0
    missing_files: int = 0
    runs: int = 0
    kills: int = 0
    restarts: int = 0
    replica_kills: int = 0
    s3_stops: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    shares: Sequence[int] = ()
    dispatch_s: Sequence[float] = ()
    page_s: Sequence[float] = ()
    resumed_s: Sequence[float] = ()
    refusals: Counter[str] = field(default_factory=Counter)
    costs: dict[str, QueueCost] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
    errors: Sequence[str] = ()

    @property
    def fine(self) -> bool:
        """Whether each job was published once."""
        return self.succeeded == self.jobs and not self.published_twice and not self.missing_files

    def __str__(self) -> str:
        rows = [
            ("jobs", self.jobs),
            ("lost", self.jobs - self.succeeded),
            ("published twice", self.published_twice),
            ("results without a file", self.missing_files),
            ("runs beyond one per job", self.runs - self.jobs),
            ("workers killed", self.kills),
            ("restarts of PostgreSQL", self.restarts),
            ("apps killed", self.replica_kills),
            ("times that S3 was away", self.s3_stops),
            ("seconds", f"{self.wall_s:.0f}"),
            ("jobs a second", f"{self.jobs / self.wall_s:.1f}"),
            ("CPU seconds of all processes", f"{self.cpu_s:.0f}"),
            ("fairness (Jain)", f"{_fairness(self.shares):.3f} of {[*self.shares]}"),
            ("dispatch, p50 / p95", _percentiles(self.dispatch_s)),
            ("event to page, p50 / p95", _percentiles(self.page_s)),
            ("pages follow again, p50 / p95", _percentiles(self.resumed_s)),
            *((f"a job in the queue, {name}", cost) for name, cost in self.costs.items()),
            ("ends", dict(self.statuses)),
            *((f"pages were shown {count} times", text) for text, count in self.refusals.items()),
            *(("error", error) for error in self.errors),
        ]
        return "\n".join(f"| {name} | {value} |" for name, value in rows)


def shares(order: Sequence[str]) -> list[int]:
    """Return how many jobs of each user had started when the first user had none left."""
    remaining, served = Counter(order), Counter[str]()
    for user in order:
        served[user] += 1
        remaining[user] -= 1
        if not remaining[user]:
            break
    return [served[user] for user in remaining]


def _fairness(served: Sequence[int]) -> float:
    """Return Jain's index; 1 if nothing was shared."""
    squares = len(served) * sum(share**2 for share in served)
    return sum(served) ** 2 / squares if squares else 1.0


def _percentiles(seconds: Sequence[float]) -> str:
    if not seconds:
        return "-"
    cuts = quantiles(seconds if len(seconds) > 1 else [*seconds] * 2, n=20, method="inclusive")
    return f"{cuts[9] * 1000:.0f} / {cuts[18] * 1000:.0f} ms of {len(seconds)}"
