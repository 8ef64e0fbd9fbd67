"""The records of the studio: what is asked, what happens to it, what comes of it.

Everything here is a frozen value. Times are seconds since the epoch (``time.time()``).
"""

from __future__ import annotations

import json
import traceback
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from ..errors import ComfyHeadlessError, GenerationFailedError, InvalidWorkflowError
from ..health import HealthReport
from ..protocol.outputs import Kind, Outputs
from ..protocol.progress import Phase

__all__ = [
    "Job",
    "JobError",
    "JobRequest",
    "JobStatus",
    "Kind",
    "LibraryItem",
    "Phase",
    "QueueView",
    "ServerStatus",
    "Snapshot",
    "StoredFile",
    "make_id",
]


LOCAL_USER_ID: Final = "local"
"""Whose things those of the person at the machine are."""

_NAMESPACE: Final = uuid.UUID("a4f5c3de-3f0b-4c1e-8f57-2c9b7e61d0aa")

TEMPLATES: Final = "templates"
"""Among a job's values: its prompts as they were before wildcards were chosen, by name."""


class JobStatus(StrEnum):
    """Where a job stands in the database. Written before the step it names is taken."""

    WAITING = "waiting"  # here only: may be reordered, and cancelled without asking anybody
    CLAIMED = "claimed"  # has a prompt_id; ComfyUI may have heard of it, or not
    SENT = "sent"  # ComfyUI said yes
    FETCHING = "fetching"  # ComfyUI is done; the files are not all here yet
    UNFETCHED = "unfetched"  # we failed, ComfyUI did not: taken up again on retry or restart
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def active(self) -> bool:
        """Whether something will still happen to the job by itself."""
        return self in ACTIVE

    @property
    def phase(self) -> Phase:
        """What a person is told before any news from the server."""
        return _PHASES[self]


ACTIVE = frozenset({JobStatus.WAITING, JobStatus.CLAIMED, JobStatus.SENT, JobStatus.FETCHING})
_PHASES = {
    JobStatus.WAITING: Phase.QUEUED,
    JobStatus.CLAIMED: Phase.QUEUED,
    JobStatus.SENT: Phase.QUEUED,
    JobStatus.FETCHING: Phase.SAVING,
    JobStatus.UNFETCHED: Phase.FAILED,
    JobStatus.SUCCEEDED: Phase.SUCCEEDED,
    JobStatus.FAILED: Phase.FAILED,
    JobStatus.CANCELLED: Phase.CANCELLED,
    JobStatus.LOST: Phase.LOST,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """What somebody wants made.

    ``values`` are the preset's own names (``prompt``, ``seed``, ``width`` …); a seed that is
    absent, None or -1 is drawn here and stored, so that the job can be repeated. Wildcards in
    prompts are chosen by it (see :func:`expand_values`).
    ``front`` puts it before the owner's other waiting jobs, never before other owners' turns.
    ``replaces`` is the id of a waiting job of the owner whose place this one takes.
    ``key`` is the asker's own name for this request. Asked again with the same one, because an
    answer was lost, the owner gets the job that there is.
    ``graph`` is a ready API-format graph to run as it is; ``preset`` is then only its name.
    ``uploads`` is None where everything may be run. For a visitor it names the files that were
    sent for this job: the graph is then compared with what the preset allows.
    """

    user_id: str
    preset: str
    values: Mapping[str, Any] = field(default_factory=dict)
    front: bool = False
    replaces: str | None = None
    key: str | None = None
    graph: Mapping[str, Any] | None = None
    uploads: frozenset[str] | None = None


def make_id(user_id: str, key: str | None) -> str:
    """For what an owner asks for: with a key always the same, otherwise each time a new one."""
    if key is None:
        return str(uuid.uuid4())
    return str(uuid.uuid5(_NAMESPACE, json.dumps([user_id, key])))


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job did not end well: a sentence, what to do, and the rest behind a fold.

    ``kind`` is the name of the exception class (``OutOfMemoryError``, ``JobLostError`` …).
    """

    message: str
    hint: str = ""
    details: str = ""
    kind: str = ""

    @classmethod
    def of(cls, error: BaseException) -> JobError:
        """The record of ``error``; tracebacks and per-node problems go to ``details``."""
        if not isinstance(error, ComfyHeadlessError):
            return cls(
                message="Something went wrong here, in the app itself.",
                hint="Try again. If that does not help, report it with the details.",
                details="".join(traceback.format_exception(error)),
                kind=type(error).__name__,
            )
        details = ""
        if isinstance(error, GenerationFailedError):
            details = "\n".join(error.traceback)
        elif isinstance(error, InvalidWorkflowError):
            details = "\n".join(str(problem) for problem in error.problems)
        return cls(error.message, error.hint, details, type(error).__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it is stored. ``values`` hold the concrete seed; ``graph`` is what is sent.

    ``rank`` orders the owner's waiting jobs, lowest first; ``work`` is the relative size and
    ``cost_s`` the estimated seconds (see :mod:`..jobs.fair_queue`). ``prompt_id`` is ComfyUI's
    name for it
    and ``outputs`` what ComfyUI said it made.
    """

    id: str
    user_id: str
    preset: str
    values: Mapping[str, Any]
    prompt: str
    seed: int | None
    graph: Mapping[str, Any] = field(repr=False)
    status: JobStatus
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    prompt_id: str | None = None
    server: str | None = None
    cancel_requested: bool = False
    outputs: Outputs | None = None
    error: JobError | None = None
    rank: float = 0.0
    work: float = 1.0
    cost_s: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A result on disk. ``path`` and ``thumbnail`` are relative to the data folder, with ``/``."""

    source: str
    kind: Kind
    filename: str
    media_type: str
    path: str
    thumbnail: str | None
    width: int | None
    height: int | None
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryItem:
    """One result in the library.

    ``path`` holds the bytes exactly as ComfyUI wrote them, under a name of our own;
    ``filename`` is ComfyUI's name, for downloads. ``thumbnail`` is a small WebP, or None where
    there is nothing to see (audio) or it could not be made. ``width`` and ``height`` are pixels.
    """

    id: int
    job_id: str
    user_id: str
    kind: Kind
    filename: str
    media_type: str
    path: Path
    thumbnail: Path | None
    width: int | None
    height: int | None
    size_bytes: int
    created_at: float
    preset: str
    prompt: str
    seed: int | None
    values: Mapping[str, Any]
    starred: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A job at one moment, complete: a follower needs no earlier one.

    ``progress`` is 0–100 for the whole graph and never falls. ``queue_position`` counts from 1
    and is None once the job has its turn; ``queue_size`` is how many wait in all and
    ``queue_own`` how many of these are the owner's. ``others_own`` is how many more unfinished jobs
    the owner has, kept up to date while the job is followed. ``preview`` is the newest picture as
    the server sent it, of MIME type ``preview_type``. ``version`` grows with every change.
    ``error`` says why the job ended badly or, while the phase is ``reconnecting``, what is in the
    way. ``items`` and ``texts`` are complete in the last snapshot, whose phase is terminal.
    """

    job_id: str
    phase: Phase
    progress: float = 0.0
    step: int | None = None
    steps: int | None = None
    node_title: str | None = None
    queue_position: int | None = None
    queue_size: int = 0
    queue_own: int = 0
    others_own: int = 0
    eta_s: float | None = None
    elapsed_s: float = 0.0
    preview: bytes | None = field(default=None, repr=False)
    preview_type: str | None = None
    error: JobError | None = None
    items: tuple[LibraryItem, ...] = ()
    texts: tuple[str, ...] = ()
    version: int = 0

    @property
    def terminal(self) -> bool:
        """Whether this is the last snapshot of the job."""
        return self.phase.is_final


@dataclass(frozen=True, slots=True)
class QueueView:
    """What an owner sees of the queue: own unfinished jobs in the order in which they run.

    ``others`` counts those of everybody else, of which nothing more is told. ``ended`` counts the
    owner's that are over, since the start: one may come and go between two lines.
    """

    jobs: tuple[tuple[Job, Snapshot], ...]
    others: int
    ended: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """What the ComfyUI server answered just now; ``error`` says why it did not.

    ``devices`` and ``stats`` are as in the answer to ``GET /system_stats``; ``running`` and
    ``pending`` count everybody's jobs. ``health`` is the verdict over all looks since the start;
    None without the extra [health].
    """

    online: bool
    url: str
    checked_at: float
    latency_s: float | None = None
    version: str | None = None
    devices: tuple[Mapping[str, Any], ...] = ()
    running: int = 0
    pending: int = 0
    stats: Mapping[str, Any] = field(default_factory=dict)
    error: JobError | None = None
    health: HealthReport | None = None
