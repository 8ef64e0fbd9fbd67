"""Which of several servers gets which job: what is known of them, and the choice.

A job goes to a server that has its nodes and models, the one with the shortest expected wait;
loading a model counts as waiting. The line is walked in its fair order, each job is put where it
would start first, and a worker that asks gets those of its jobs that it has room for. So a server
stays idle only while what waits is better off with another.

Plain memory without a clock and without sockets: the queue tells it everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from ..protocol.object_info import NodeRegistry
from ..storage.records import Job, Snapshot
from ..workflow.graph import AnyGraph, classes
from ..workflow.model_files import is_model_file, model_files

LOADING_S: Final = 15.0
"""What it counts to load a model that another server has in its memory."""

_FOREIGN_S: Final = 15.0  # a job that somebody else gave to the server
_OVERDUE: Final = 0.5  # a job that takes longer than estimated goes on for half of that


@dataclass(frozen=True, slots=True)
class JobRequirements:
    """What a graph asks of a server: node classes, and files with weights."""

    classes: frozenset[str]
    models: frozenset[str]

    @classmethod
    def of(cls, graph: AnyGraph) -> JobRequirements:
        return cls(frozenset(classes(graph)), frozenset(model_files(graph)))

    def loading_s(self, loaded: frozenset[str]) -> float:
        """What it counts to load what is not among ``loaded``."""
        return 0.0 if self.models <= loaded else LOADING_S


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOffer:
    """What a worker tells of its server. None: not known, it may have everything.

    ``foreign`` counts the jobs there that are not from this queue.
    """

    online: bool = True
    classes: frozenset[str] | None = None
    models: frozenset[str] | None = None
    foreign: int = 0

    def fits(self, needs: JobRequirements) -> bool:
        """Whether the server has all of that."""
        return (self.classes is None or self.classes >= needs.classes) and (
            self.models is None or self.models >= needs.models
        )


class ServerPool:
    """The workers and what each is good for.

    ``expected`` names those that will tell of themselves; nothing is given to one before. Any
    other is taken for able to do everything.
    """

    def __init__(self, expected: Iterable[str] = ()) -> None:
        self._offers: dict[str, ServerOffer | None] = dict.fromkeys(expected)
        self._loaded: dict[str, frozenset[str]] = {}  # the models of the last job given
        self._left: dict[str, set[str]] = {}  # by job: the workers that are not to have it
        self._needs: dict[str, JobRequirements] = {}  # by job

    def knows(self, worker: str | None) -> bool:
        return worker in self._offers

    def meet(self, worker: str) -> None:
        """A worker asks for jobs."""
        self._offers.setdefault(worker, ServerOffer())

    def hear(self, worker: str, offer: ServerOffer) -> bool:
        """Take in what a worker tells; False: that was known."""
        news = self._offers.get(worker) != offer
        self._offers[worker] = offer
        return news

    def give(self, worker: str, job: Job) -> None:
        """A worker got a job; its models are in that server's memory from now on."""
        self._loaded[worker] = self._needs_of(job).models or self._loaded.get(worker, frozenset())

    def bar(self, worker: str, job_id: str) -> None:
        """A worker is not to have this job again."""
        self._left.setdefault(job_id, set()).add(worker)

    def unbar(self, worker: str, job_id: str) -> None:
        self._left.get(job_id, set()).discard(worker)

    def forget(self, job_id: str) -> None:
        """The job is over."""
        self._left.pop(job_id, None)
        self._needs.pop(job_id, None)

    def is_away(self, worker: str) -> bool:
        """Whether a worker has told that its server does not answer."""
        offer = self._offers.get(worker)
        return offer is not None and not offer.online

    def another(self, worker: str, job: Job) -> bool:
        """Whether some other server is up and can run the job now."""
        needs = self._needs_of(job)
        return any(
            name != worker and offer is not None and offer.online and offer.fits(needs)
            for name, offer in self._offers.items()
            if name not in self._left.get(job.id, ())
        )

    def share(
        self, worker: str, line: Iterable[Job], busy_s: Mapping[str, float], limit: int
    ) -> list[Job]:
        """The jobs of the line, in its order, that ``worker`` is to have now.

        ``busy_s``: how long each worker still has to do, in seconds.
        """
        self.meet(worker)
        taken: list[Job] = []
        until = {
            name: busy_s.get(name, 0.0) + (offer.foreign * _FOREIGN_S if offer else 0.0)
            for name, offer in self._offers.items()
        }
        loaded = dict(self._loaded)
        for job in line:
            if len(taken) >= limit:
                break
            needs = self._needs_of(job)
            starts = {
                name: until[name] + needs.loading_s(loaded.get(name, frozenset()))
                for name in self._pool(job, needs)
            }
            if not starts:
                continue
            chosen = min(starts, key=starts.__getitem__)
            until[chosen] = starts[chosen] + job.cost_s
            loaded[chosen] = needs.models or loaded.get(chosen, frozenset())
            if chosen == worker:
                taken.append(job)
        return taken

    def _pool(self, job: Job, needs: JobRequirements) -> list[str]:
        """The workers that the job may go to.

        Those that are away count only where no other can run it: the job then waits for them,
        and says so. What no server can run goes to any, once all have told: its refusal says more.
        """
        left = self._left.get(job.id, ())
        offers = {n: o for n, o in self._offers.items() if o is not None and n not in left}
        able = [name for name, offer in offers.items() if offer.fits(needs)]
        up = [name for name in able if offers[name].online]
        unsure = None in self._offers.values()
        return up or able or ([] if unsure else [*offers])

    def _needs_of(self, job: Job) -> JobRequirements:
        if job.id not in self._needs:
            self._needs[job.id] = JobRequirements.of(job.graph)
        return self._needs[job.id]


def remaining_s(job: Job, snapshot: Snapshot | None, now: float) -> float:
    """How long a job that a server has will still take, in seconds."""
    if snapshot is not None and snapshot.eta_s is not None:
        return snapshot.eta_s
    if job.started_at is None:
        return job.cost_s
    elapsed = max(0.0, now - job.started_at)
    return max(job.cost_s - elapsed, elapsed * _OVERDUE)


def offer_of(library: NodeRegistry) -> ServerOffer:
    """What a server offers, by its node list. Reads all of it: some ten milliseconds."""
    choices = (
        choice
        for spec in library.values()
        for declared in spec.inputs.values()
        for choice in declared.choices or ()
    )
    return ServerOffer(
        classes=frozenset(library),
        models=frozenset(choice for choice in choices if is_model_file(choice)),
    )
