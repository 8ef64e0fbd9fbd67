"""What pages and workers say to each other about jobs.

:class:`JobQueue` is all that the two sides share. :class:`.local_queue.LocalQueue` keeps it in this
process with SQLite; a server-backed one for many GPU hosts speaks the same words over a network,
so nothing here passes live objects, and every wait has an end.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ..protocol.outputs import Outputs
from ..protocol.progress import Phase, Progress
from ..storage.records import Job, JobError, JobStatus, QueueView, Snapshot, StoredFile
from .placement import ServerOffer

Why = Literal["unheard", "refused", "lost", "unreachable"]
"""Why a worker puts a job back: its server never heard of it; said no; had it and has forgotten
it; has it, for all that is known, and has been out of reach for long.
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """A job for a worker. ``resumed``: it may be at the server already, by its ``prompt_id``.

    ``inherited``: it was at one that is not among the servers any more, or is called otherwise now.
    """

    job: Job
    resumed: bool = False
    inherited: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReport:
    """News of a job from the worker that has it; what is None has not changed.

    With a ``status`` it is written down before ``publish`` returns; without, it only reaches the
    followers. ``outputs`` come with FETCHING, ``files`` with the status that ends the job.
    """

    job_id: str
    status: JobStatus | None = None
    prompt_id: str | None = None
    phase: Phase | None = None
    progress: Progress | None = None
    outputs: Outputs | None = None
    files: Sequence[StoredFile] = ()
    error: JobError | None = None


class JobQueue(Protocol):
    """Jobs between those who ask and those who do."""

    # The page's side

    async def submit(self, job: Job, *, front: bool, replaces: str | None = None) -> Job:
        """Write down a waiting job; gives it back with its rank and estimated cost. One that is
        written down already is left as it is.

        It takes the place of the waiting job ``replaces``, which is forgotten.

        Raises:
            ValidationError: its owner has too many waiting already, or ``replaces`` no longer
                waits.
            StorageError: it could not be written; it is not queued.
        """

    async def cancel(self, job_id: str, user_id: str) -> bool:
        """Ask for its end; False: it is over, or there is no such job of that owner."""

    async def reorder(self, job_id: str, user_id: str, *, before: str | None) -> bool:
        """Move it before another of the owner's waiting jobs, None: to the end."""

    async def refetch(self, job_id: str, user_id: str) -> bool:
        """Let a worker fetch the files of an UNFETCHED job again."""

    async def elsewhere(self, job_id: str, user_id: str) -> bool:
        """Whether only the files of a job are missing, their server is away, and another could
        make them again.

        Nobody does that unasked: the first server has them still.
        """

    async def active(self, user_id: str) -> list[Job]:
        """Unfinished jobs of the owner, in the order in which they run."""

    async def snapshot(self, job_id: str, user_id: str) -> Snapshot | None:
        """The job as it stands; None: there is no such job of that owner."""

    def watch(self, job_id: str, user_id: str) -> AsyncGenerator[Snapshot, None]:
        """Snapshots, newest only, the first at once; ends after the terminal one.

        Empty when there is no such job of that owner.
        """

    def watch_line(self, user_id: str) -> AsyncGenerator[QueueView, None]:
        """All unfinished jobs of the owner at each change, the first at once; goes on until left.

        At most a few a second, newest only.
        """

    async def entered(self, user_id: str) -> None:
        """A finished job of the owner was written down that never stood in the line: tell it."""

    # The worker's side

    async def announce(self, worker: str, offer: ServerOffer) -> None:
        """Tell what the worker's server has and whether it answers; at each change at least."""

    async def claim(self, worker: str, *, limit: int) -> list[Claim]:
        """Up to ``limit`` waiting jobs, fair between owners, each with a new ``prompt_id``.

        Only jobs that this worker's server can run, and that would start no sooner at another.
        Comes with what needs no turn, beyond the limit: jobs that were this worker's before it
        died, and files to be fetched again. Returns at once, also with nothing.
        """

    async def give_back(self, worker: str, job_id: str, why: Why) -> bool:
        """Let another worker have a job, as its owner's next; False: there is none that can.

        A job that a server has is sent to another only when the first has been out of reach for a
        set time, or turns out to have lost it: until then it would run twice. That it ran all the
        same, at a server that is cut off, cannot be known. So its old copy is remembered, for
        :meth:`leftovers`. A worker gets a job back that it has put back only if its server never
        heard of it or its copy there is gone, so a job that brings servers down does so once each.
        """

    async def leftovers(self, worker: str) -> list[str]:
        """The ``prompt_id`` of each copy that this worker's server may still have, to be stopped:
        the job went elsewhere while it was out of reach.
        """

    async def cleared(self, worker: str, prompt_id: str) -> None:
        """Such a copy is gone."""

    async def heartbeat(self, worker: str) -> frozenset[str]:
        """Say that the worker lives; gives those of its jobs that are to be cancelled.

        A queue shared by many workers hands the jobs of a silent one to another.
        """

    async def publish(self, worker: str, report: JobReport) -> None:
        """Tell what happened to a job. A job that is over, or not known, is left as it is."""

    async def wait(self, worker: str, *, timeout_s: float) -> None:
        """Return when ``claim`` or ``heartbeat`` may have something new, or after that time."""
