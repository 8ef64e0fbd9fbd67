"""The interface between the job service, which submits and follows jobs, and the workers.

:class:`.local_queue.LocalQueue` implements :class:`JobQueue` in this process, and
:class:`~comfy_ui.scale.shared_queue.postgres_job_queue.PostgresJobQueue` in a database, for workers
on many hosts. So no live object passes through here, and every wait has a timeout. Each
implementation has to pass ``tests/jobs/test_queue_contract.py``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal, Protocol, TypeAlias

from ..errors import ValidationError
from ..protocol.durations import NodeDurations
from ..protocol.outputs import Outputs
from ..protocol.progress import Phase, Progress
from ..storage.job_store import JobStore
from ..storage.records import (
    Job,
    JobError,
    JobStatus,
    QueueCounts,
    QueueFigures,
    QueueView,
    Snapshot,
    StoredFile,
)
from .placement import JobEstimate, ServerOffer

ReturnReason = Literal["unheard", "refused", "unreachable", "lost", "died", "withdrawn"]
"""Why a worker returns a job: its server never received it, refused it, may still have it but has
been unreachable for long, lost it while it only waited there, died while it may have run it, or
gave it back on request.
"""


class Handover(StrEnum):
    """How a worker gets a job."""

    NEW = "new"
    """It waited until now."""
    RESUMED = "resumed"
    """The worker's server may have it already, by its ``prompt_id``."""
    INHERITED = "inherited"
    """It was at a server that is no longer connected, or whose address has changed."""


@dataclass(frozen=True, kw_only=True)
class JobReport:
    """Changes of a job that a worker reports; fields that are None have not changed.

    A report with a ``status`` is stored before ``publish`` returns, except for SENT with the known
    ``prompt_id``, which is stored soon: a restart looks for a claimed job at its server, too. One
    without a status only reaches the followers. ``text`` says what the worker does after ComfyUI.
    ``outputs`` come with FETCHING, ``files`` with the status that ends the job.
    """

    job_id: str
    status: JobStatus | None = None
    prompt_id: str | None = None
    phase: Phase | None = None
    progress: Progress | None = None
    text: str | None = None
    outputs: Outputs | None = None
    files: Sequence[StoredFile] = ()
    error: JobError | None = None


class KeyJobsError(ValidationError):
    """An API key has as many unfinished jobs as it may have."""

    wait_s: Final = 10.0

    def __init__(self, count: int) -> None:
        super().__init__(
            f"This API key may have {count} jobs at a time.", hint="Try again when one has ended."
        )


class JobQueue(Protocol):
    """Unfinished jobs, between the job service and the workers."""

    # Job service

    async def submit(
        self, job: Job, *, front: bool, replaces: str | None = None, max_of_key: int | None = None
    ) -> Job:
        """Store a waiting job and return it with its rank and estimated cost.

        A job that is stored already is returned as it is. The new job takes the place of the
        job ``replaces``, which is deleted, belongs to its group, and keeps its webhook unless it
        brings one. Jobs of the user that stand ready at a server are taken back if they are
        replaced, or if the new one goes before them.

        Raises:
            KeyJobsError: the API key of the job has ``max_of_key`` unfinished jobs already.
            ValidationError: the user has too many waiting jobs, or ``replaces`` has started.
            StorageError: the job could not be stored; it is not queued.
        """

    def hold_claims(self) -> int:
        """Let no waiting job start until this queue closes; return how many jobs servers have."""

    async def set_paused(self, user_id: str, *, paused: bool) -> None:
        """Pause or resume the queue of a user, or of all users if ``user_id`` is ``EVERYONE``.

        Running jobs continue. Jobs that stand ready at a server are taken back.
        """

    async def set_group_paused(self, group_id: str, *, paused: bool) -> None:
        """Pause or resume a group of jobs, as :meth:`set_paused` does a queue."""

    async def cancel(self, job_id: str, user_id: str) -> bool:
        """Request the end of a job; False if it has ended or the user has no such job."""

    async def reorder(self, job_ids: Collection[str], user_id: str, *, before: str | None) -> bool:
        """Move waiting jobs before another of the user's, or to the end if ``before`` is None.

        The jobs keep their order. Jobs count as waiting until ComfyUI starts them; one that stands
        ready at a server is taken back first. Returns False if all of them, or ``before``, have
        started.
        """

    async def retry_fetch(self, job_id: str, user_id: str) -> bool:
        """Download the files of an UNFETCHED job again; False if its status is another."""

    async def can_run_elsewhere(self, job_id: str, user_id: str) -> bool:
        """Whether a job's files are missing, its server is offline, and another could run it.

        The queue never does so on its own, because the first server still has the files.
        """

    async def active(self, user_id: str) -> list[Job]:
        """Return the user's unfinished jobs, in the order in which they run."""

    async def unsaved(self, user_id: str) -> list[Job]:
        """Return the user's ended jobs that could not be stored as such yet, newest first."""

    async def estimate(self, job: Job) -> JobEstimate:
        """Estimate when a job that is not submitted yet would start, and how long it would run."""

    async def counts(self) -> QueueCounts:
        """Count the unfinished jobs of all users."""

    def figures(self) -> QueueFigures:
        """Return the figures of the queue, as far as this process knows it."""

    def is_running(self) -> bool:
        """Whether the queue is open, and knows what other processes have changed lately."""

    def on_end(self, listener: Callable[[Job], None]) -> None:
        """Call ``listener`` with each job whose end this process stores. It must not raise.

        Of all processes, one stores the end of a job.
        """

    async def snapshot(self, job_id: str, user_id: str) -> Snapshot | None:
        """Return the current snapshot of a job, or None if the user has no such job."""

    def follow(self, job_id: str, user_id: str) -> AsyncGenerator[Snapshot, None]:
        """Yield snapshots, newest only and the first at once, until the terminal one.

        Yields nothing if the user has no such job.
        """

    def follow_queue(self, user_id: str) -> AsyncGenerator[QueueView, None]:
        """Yield all unfinished jobs of the user at each change, the first view at once.

        At most a few views a second, newest only; ends when the queue closes.
        """

    async def job_added(self, user_id: str) -> None:
        """Tell the user's followers that a finished job was stored which was never queued."""

    # Worker

    async def announce(self, worker: str, offer: ServerOffer) -> None:
        """Update what the worker's server offers. Workers call it at each change."""

    async def claim(self, worker: str, *, limit: int) -> list[tuple[Job, Handover]]:
        """Claim up to ``limit`` waiting jobs, fair between users, each with a new ``prompt_id``.

        Returns only jobs that this worker's server can run and that would not be done sooner at
        another server. Jobs to resume come first, beyond the limit. Returns at once, even with
        no jobs.
        """

    async def return_job(self, worker: str, job_id: str, reason: ReturnReason) -> bool:
        """Let a job wait again, as its user's next.

        A job that its server has lost, or has given back, may run there again. For the other
        reasons, another worker has to run it; False if none can. Otherwise the job would run twice:
        a server that is merely cut off may still run it, so :meth:`copies` names its copy, and the
        worker gets the job again only when that copy is gone.

        "died", and "unreachable" for a job that has started, count as a death of the server. False
        if it is the last that a job may cause.
        """

    async def copies(self, worker: str) -> list[str]:
        """Return the ``prompt_id`` of each job that moved on while the server was unreachable.

        The worker has to cancel them at its server.
        """

    async def copy_deleted(self, worker: str, prompt_id: str) -> None:
        """Forget such a copy: the server does not have it any more."""

    async def heartbeat(self, worker: str) -> frozenset[str]:
        """Record that the worker lives; return those of its jobs that are to be cancelled.

        A queue that many workers share hands the jobs of a silent worker to another.
        """

    async def withdrawals(self, worker: str) -> frozenset[str]:
        """Return those of the worker's jobs that are to be taken back unless they have started.

        The worker removes each from its server's queue, then returns it as "withdrawn".
        """

    async def publish(self, worker: str, report: JobReport) -> None:
        """Store and publish a report. Reports of finished or unknown jobs are ignored."""

    async def wait_for_work(self, worker: str, *, timeout_s: float) -> None:
        """Return when ``claim`` or ``heartbeat`` may have news, or after the timeout."""


OpenQueue: TypeAlias = Callable[
    [JobStore, Path, int, Mapping[str, NodeDurations]], AbstractAsyncContextManager[JobQueue]
]
"""Opens a queue over a store, for the folder that the paths of results are relative to.

The number limits the waiting jobs of a user. The mapping is what is learned of the servers here.
"""
