"""Placement of jobs on servers.

A job goes to the server that has its nodes and models and is done with it first. How long it takes
on a server is learned (:mod:`..protocol.durations`); before, it is what other servers take, or the
pace of its preset and an assumed time to load a model. :meth:`ServerPool.select` assigns every
waiting job, in fair order, and returns those of the worker that claims. So a server stays idle only
while every waiting job would be done sooner on another.

No I/O and no clock: the queue passes everything in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from statistics import median
from types import MappingProxyType
from typing import Final

from ..protocol.durations import NodeDurations
from ..protocol.graph_cost import GraphCost
from ..protocol.object_info import NodeRegistry
from ..storage.records import Job, Snapshot
from ..workflow.graph import AnyGraph, classes
from ..workflow.model_files import is_model_file, model_files

LOADING_S: Final = 15.0
"""Assumed time to load a model that the server has not in memory."""

_FOREIGN_S: Final = 15.0  # per job that another program queued at the server
_OVERDUE: Final = 0.5  # a job that exceeds its estimate is assumed to take half as long again


@dataclass(frozen=True, slots=True)
class JobRequirements:
    """The node classes and model files that a graph needs."""

    classes: frozenset[str]
    models: frozenset[str]

    @classmethod
    def of(cls, graph: AnyGraph) -> JobRequirements:
        return cls(frozenset(classes(graph)), frozenset(model_files(graph)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOffer:
    """The node classes and model files of a server; None: not known, it may have everything.

    ``foreign`` counts the jobs there that are not from this queue. ``parallel_jobs`` is how many
    the server runs at a time.
    """

    online: bool = True
    classes: frozenset[str] | None = None
    models: frozenset[str] | None = None
    foreign: int = 0
    parallel_jobs: int = 1

    def fits(self, needs: JobRequirements) -> bool:
        """Whether the server has all requirements."""
        return (self.classes is None or self.classes >= needs.classes) and (
            self.models is None or self.models >= needs.models
        )


@dataclass(frozen=True, slots=True)
class JobEstimate:
    """When a job would start, and how long it would run; None: not known yet."""

    starts_in_s: float | None = None
    run_s: float | None = None


class ServerPool:
    """The servers of all workers: what they offer, have loaded and may not run.

    ``expected`` names the workers that will announce themselves and get no job before. Any other
    worker is assumed to be able to run everything. ``durations``: what is learned of each worker's
    server.

    Attributes:
        indifferent_s: a worker does not leave a job to another one that would end it by less than
            this sooner, unless that one would start it sooner. For processes that estimate the same
            server differently, and so may leave a job to each other.
    """

    def __init__(
        self,
        expected: Iterable[str] = (),
        *,
        durations: Mapping[str, NodeDurations] = MappingProxyType({}),
    ) -> None:
        self.indifferent_s = 0.0
        self._durations = durations
        self._estimates: dict[tuple[str, str, bool], float] = {}  # by job, worker, loaded
        self._plans: dict[str, GraphCost] = {}  # by job
        self._offers: dict[str, ServerOffer | None] = dict.fromkeys(expected)
        self._loaded: dict[str, frozenset[str]] = {}  # the models of the last assigned job
        self._excluded: dict[str, set[str]] = {}  # by job: workers that must not run it
        self._avoided: dict[str, set[str]] = {}  # by job: workers that run it only if no other can
        self._needs: dict[str, JobRequirements] = {}  # by job

    def knows(self, worker: str | None) -> bool:
        """Whether a worker is in the pool."""
        return worker in self._offers

    def add(self, worker: str) -> None:
        """Add a worker that has announced nothing."""
        self._offers.setdefault(worker, ServerOffer())

    def update(self, worker: str, offer: ServerOffer) -> bool:
        """Store what a worker announces; False if nothing has changed."""
        changed = self._offers.get(worker) != offer
        self._offers[worker] = offer
        return changed

    def remove(self, worker: str) -> None:
        """Forget a worker that will not come back."""
        self._offers.pop(worker, None)

    def assign(self, worker: str, job: Job) -> None:
        """Record that a worker got a job, whose models its server has loaded from now on."""
        self._loaded[worker] = self._needs_of(job).models or self._loaded.get(worker, frozenset())

    def exclude(self, worker: str, job_id: str) -> None:
        """Never assign a job to this worker again."""
        self._excluded.setdefault(job_id, set()).add(worker)

    def exclude_only(self, workers: Iterable[str], job_id: str) -> None:
        """Never assign a job to these workers, and to any other one again."""
        self._excluded[job_id] = {*workers}

    def allow(self, worker: str, job_id: str) -> None:
        """Undo :meth:`exclude`."""
        self._excluded.get(job_id, set()).discard(worker)

    def avoid(self, worker: str, job_id: str) -> None:
        """Assign a job to this worker only if no other one can run it now."""
        self._avoided.setdefault(job_id, set()).add(worker)

    def forget(self, job_id: str) -> None:
        """Drop what is stored of a finished job."""
        self._avoided.pop(job_id, None)
        self._excluded.pop(job_id, None)
        self._needs.pop(job_id, None)
        self._plans.pop(job_id, None)
        for key in [key for key in self._estimates if key[0] == job_id]:
            del self._estimates[key]

    def is_offline(self, worker: str) -> bool:
        """Whether a worker has announced that its server does not answer."""
        offer = self._offers.get(worker)
        return offer is not None and not offer.online

    def online(self) -> dict[str, bool]:
        """Return of each worker whether its server gets jobs."""
        return {name: offer is not None and offer.online for name, offer in self._offers.items()}

    def has_alternative(self, worker: str, job: Job) -> bool:
        """Whether another server is online and can run the job."""
        needs = self._needs_of(job)
        return any(
            name != worker and offer is not None and offer.online and offer.fits(needs)
            for name, offer in self._offers.items()
            if name not in self._excluded.get(job.id, ())
        )

    def select(
        self, worker: str, queue: Iterable[Job], busy_s: Mapping[str, float], limit: int
    ) -> list[Job]:
        """Return up to ``limit`` jobs of the queue, in its order, that ``worker`` gets now.

        ``busy_s``: the seconds that each worker's jobs will still take.
        """
        self.add(worker)
        assigned = self._assignments(queue, busy_s, asking=worker)
        return [*islice((job for job, name, _, _ in assigned if name == worker), limit)]

    def left(
        self, worker: str, queue: Iterable[Job], busy_s: Mapping[str, float], limit: int
    ) -> dict[str, tuple[str, float]]:
        """Return which of the first jobs of the queue ``worker`` leaves to others.

        By job id: the other worker, and in how many seconds it is expected to start the job.
        """
        first = islice(self._assignments(queue, busy_s, asking=worker), limit)
        return {job.id: (name, start_s) for job, name, start_s, _ in first if name != worker}

    def estimates(
        self, queue: Iterable[Job], busy_s: Mapping[str, float]
    ) -> dict[str, JobEstimate]:
        """Estimate each job of the queue that a server can run, by job id."""
        return {
            job.id: JobEstimate(start_s, cost_s)
            for job, _, start_s, cost_s in self._assignments(queue, busy_s)
        }

    def estimate(
        self, job_id: str, queue: Iterable[Job], busy_s: Mapping[str, float]
    ) -> JobEstimate:
        """Estimate one job of the queue. Its duration is None unless its server has learned it."""
        for job, worker, start_s, cost_s in self._assignments(queue, busy_s):
            if job.id == job_id:
                learned = any(key[:2] == (job_id, worker) for key in self._estimates)
                return JobEstimate(start_s, cost_s if learned else None)
        return JobEstimate()

    def cost_s(self, worker: str, job: Job, *, loaded: bool = True) -> float:
        """Return the estimated seconds that a job takes on a worker's server.

        A server of which nothing is learned is assumed to be as fast as the others: the pace of
        the preset may be far from all of them, and the server would get no job or every job.

        ``loaded``: the server has the job's models in memory.
        """
        seconds = self._learned_s(worker, job, loaded=loaded)
        if seconds is None:
            seconds = self.learned_s(job, loaded=loaded)
        return job.cost_s + (0.0 if loaded else LOADING_S) if seconds is None else seconds

    def learned_s(self, job: Job, *, loaded: bool = True) -> float | None:
        """Return the median of the seconds that a job takes on the servers; None: not learned."""
        learned = (self._learned_s(name, job, loaded=loaded) for name in self._durations)
        return median(known) if (known := [s for s in learned if s is not None]) else None

    def _learned_s(self, worker: str, job: Job, *, loaded: bool) -> float | None:
        """Return the seconds of a job by the learned durations of a server; None: not learned."""
        key = (job.id, worker, loaded)
        if key in self._estimates:
            return self._estimates[key]
        durations = self._durations.get(worker)
        if durations is None or not len(durations):
            return None
        if job.id not in self._plans:
            self._plans[job.id] = GraphCost(job.graph)
        seconds = durations.seconds(self._plans[job.id], loaded=loaded)
        if seconds is not None:
            self._estimates[key] = seconds
        return seconds

    def _assignments(
        self, queue: Iterable[Job], busy_s: Mapping[str, float], *, asking: str | None = None
    ) -> Iterator[tuple[Job, str, float, float]]:
        """Yield the jobs of the queue, in order: job, worker, start and duration in seconds.

        ``asking``: the worker that wants a job, see :attr:`indifferent_s`.
        """
        parallel = {name: o.parallel_jobs if o else 1 for name, o in self._offers.items()}
        free_at_s = {
            name: (busy_s.get(name, 0.0) + (offer.foreign * _FOREIGN_S if offer else 0.0))
            / parallel[name]
            for name, offer in self._offers.items()
        }
        loaded = dict(self._loaded)
        for job in queue:
            needs = self._needs_of(job)
            ends_s = {
                name: free_at_s[name]
                + self.cost_s(name, job, loaded=needs.models <= loaded.get(name, frozenset()))
                for name in self._candidates(job, needs)
            }
            if not ends_s:
                continue
            chosen = min(ends_s, key=ends_s.__getitem__)
            if (
                asking in ends_s
                and free_at_s[asking] <= free_at_s[chosen]
                and ends_s[asking] - ends_s[chosen] < self.indifferent_s
            ):
                chosen = asking
            yield job, chosen, free_at_s[chosen], ends_s[chosen] - free_at_s[chosen]
            free_at_s[chosen] += (ends_s[chosen] - free_at_s[chosen]) / parallel[chosen]
            loaded[chosen] = needs.models or loaded.get(chosen, frozenset())

    def _candidates(self, job: Job, needs: JobRequirements) -> list[str]:
        """Return the workers that may run the job.

        Offline servers count only if no other server can run it: the job then waits for them. A
        job that no server can run goes to any, once all are announced, for the server's own error.
        """
        excluded = self._excluded.get(job.id, ())
        offers = {n: o for n, o in self._offers.items() if o is not None and n not in excluded}
        able = [name for name, offer in offers.items() if offer.fits(needs)]
        online = [name for name in able if offers[name].online]
        if avoided := self._avoided.get(job.id):
            online = [name for name in online if name not in avoided] or online
        incomplete = None in self._offers.values()
        return online or able or ([] if incomplete else [*offers])

    def _needs_of(self, job: Job) -> JobRequirements:
        if job.id not in self._needs:
            self._needs[job.id] = JobRequirements.of(job.graph)
        return self._needs[job.id]


def remaining_s(job: Job, snapshot: Snapshot | None, now: float, *, cost_s: float) -> float:
    """Return the seconds that a job of ``cost_s`` at a server will probably still take."""
    if snapshot is not None and snapshot.eta_s is not None:
        return snapshot.eta_s
    if job.started_at is None:
        return cost_s
    elapsed = max(0.0, now - job.started_at)
    return max(cost_s - elapsed, elapsed * _OVERDUE)


def offer_of(registry: NodeRegistry) -> ServerOffer:
    """Return what a server offers according to its object_info. Takes some ten milliseconds."""
    choices = (
        choice
        for spec in registry.values()
        for declared in spec.inputs.values()
        for choice in declared.choices or ()
    )
    return ServerOffer(
        classes=frozenset(registry),
        models=frozenset(choice for choice in choices if is_model_file(choice)),
    )
