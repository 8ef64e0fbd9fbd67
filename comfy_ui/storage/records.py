"""Records of jobs and results: request, job, snapshot, library item, grid.

All are frozen dataclasses. Times are seconds since the epoch (``time.time()``).
"""

from __future__ import annotations

import json
import traceback
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from ..errors import ComfyHeadlessError, GenerationFailedError, InvalidWorkflowError
from ..health import HealthReport
from ..protocol.outputs import Kind, Outputs
from ..protocol.progress import Phase

__all__ = [
    "Absence",
    "Grid",
    "GridAxis",
    "GridCell",
    "ItemQuery",
    "Job",
    "JobError",
    "JobGroup",
    "JobKey",
    "JobRequest",
    "JobStatus",
    "Kind",
    "Label",
    "LabelKind",
    "LibraryItem",
    "Phase",
    "QueueView",
    "ServerStatus",
    "Snapshot",
    "StoredFile",
    "Webhook",
    "WebhookDelivery",
    "WebhookTarget",
    "make_id",
]


EVERYONE: Final = ""
"""Stands for all users where their queues are paused together; no user has this id."""

LOCAL_USER_ID: Final = "local"
"""The user of a page that only this machine can reach."""

PREVIEW_FOLDER: Final = "preview"
"""The :attr:`.OutputFile.type` of a preview that a user keeps as a result."""

_NAMESPACE: Final = uuid.UUID("a4f5c3de-3f0b-4c1e-8f57-2c9b7e61d0aa")

TEMPLATES: Final = "templates"
"""Key in a job's values: the prompts before wildcards were expanded, by param id."""


class JobStatus(StrEnum):
    """The stored status of a job, written before the step that it names."""

    WAITING = "waiting"  # only here: can be reordered, and cancelled at once
    CLAIMED = "claimed"  # has a prompt_id; ComfyUI may or may not have received it
    SENT = "sent"  # ComfyUI has accepted it
    FETCHING = "fetching"  # ComfyUI has finished; some files are not downloaded yet
    UNFETCHED = (
        "unfetched"  # finished at ComfyUI, but a download failed: resumed on retry or restart
    )
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def active(self) -> bool:
        """Whether the job will continue automatically."""
        return self in ACTIVE

    @property
    def phase(self) -> Phase:
        """The phase that users see before the first report."""
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
    """A request for a job.

    ``values`` are values of the preset's params by id (``prompt``, ``seed``, ``width`` …). A seed
    that is missing, None or -1 is chosen and stored, so that the job can be repeated; it also
    chooses the wildcards of prompts (see :func:`expand_values`).
    ``front`` puts the job before the user's other waiting jobs, not before those of other users.
    ``replaces`` is the id of a waiting job of the user whose position this one takes.
    ``key`` is an idempotency key: a request with the key of an existing job returns that job.
    ``graph`` is an API-format graph to run unchanged; ``preset`` is then only its name.
    ``uploads`` is None if any graph may run. Otherwise it names the uploads of this job, and the
    graph is checked against what the preset allows.
    ``source`` is the result that the job works on, its parent. Its prompt and seed are recorded for
    the job if the preset has none, so that an upscaled image is found by its prompt.
    ``extends``: the job's video continues that of ``source``, and is joined to it at the end.
    ``webhook`` hears of the job's end, besides the user's own webhook.
    ``api_key`` is the API key that the request came with.
    ``may_spend``: the user may run partner nodes, which cost credits.
    """

    user_id: str
    preset: str
    values: Mapping[str, Any] = field(default_factory=dict)
    front: bool = False
    replaces: str | None = None
    key: str | None = None
    graph: Mapping[str, Any] | None = None
    uploads: frozenset[str] | None = None
    source: LibraryItem | None = None
    extends: bool = False
    webhook: WebhookTarget | None = None
    api_key: JobKey | None = None
    may_spend: bool = False


def make_id(user_id: str, key: str | None) -> str:
    """Return the id of a user's request: the same for the same key, or a new one without key."""
    if key is None:
        return str(uuid.uuid4())
    return str(uuid.uuid5(_NAMESPACE, json.dumps([user_id, key])))


@dataclass(frozen=True, slots=True)
class JobKey:
    """The API key of a request, and how many unfinished jobs it may have; None: no limit."""

    id: str
    max_jobs: int | None = None


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """An address that hears of the ends of jobs, and the app's own address in these messages."""

    url: str
    base: str


@dataclass(frozen=True, slots=True)
class Webhook:
    """A user's webhook. Another ``secret_version`` is another secret."""

    url: str = ""
    secret_version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookDelivery:
    """A message about the end of a job, or a test if ``job_id`` is empty.

    ``next_at`` is the time of the next attempt, or None if none will follow. ``body``, ``status``
    and ``error`` are those of the last attempt; ``error`` is None if the receiver accepted it.
    """

    id: int
    user_id: str
    job_id: str
    event: str
    url: str
    base: str
    body: str | None
    attempts: int
    created_at: float
    next_at: float | None
    sent_at: float | None
    status: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed: a sentence, a hint, and details.

    ``kind`` is the name of the exception class (``OutOfMemoryError``, ``JobLostError`` …).
    """

    message: str
    hint: str = ""
    details: str = ""
    kind: str = ""

    @classmethod
    def of(cls, error: BaseException) -> JobError:
        """Return the record of an exception; tracebacks and node problems become ``details``."""
        if not isinstance(error, ComfyHeadlessError):
            return cls(
                message="An internal error occurred in the app.",
                hint="Try again. If it happens again, report it with the details.",
                details="".join(traceback.format_exception(error)),
                kind=type(error).__name__,
            )
        details = ""
        if isinstance(error, GenerationFailedError):
            details = "\n".join(error.traceback)
        elif isinstance(error, InvalidWorkflowError):
            details = "\n".join(str(problem) for problem in error.problems)
        return cls(error.message, error.hint, details, type(error).__name__)


@dataclass(frozen=True, kw_only=True)  # no slots: copied often, see fast_replace
class Job:
    """A stored job. ``values`` contain the concrete seed; ``graph`` is what ComfyUI receives.

    ``rank`` orders the user's waiting jobs, lowest first; ``work`` is the relative size and
    ``cost_s`` the estimated seconds (see :mod:`..jobs.fair_queue`). ``prompt_id`` is ComfyUI's id
    of the job, ``server`` the name of its server, and ``outputs`` the files and texts that ComfyUI
    reported. ``server_deaths`` counts the servers that stopped while they ran the job.
    ``parent_id`` is the id of the result that the job works on. ``webhook`` hears of the job's end.
    ``group_id`` is the id of the :class:`JobGroup` that the job belongs to. ``key_id`` is the id of
    the API key that it was submitted with. ``may_spend``: it may run partner nodes. ``traceparent``
    is the span that submitted it, as W3C trace context, if traces are recorded.
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
    server_deaths: int = 0
    outputs: Outputs | None = None
    error: JobError | None = None
    rank: float = 0.0
    work: float = 1.0
    cost_s: float = 1.0
    parent_id: int | None = None
    webhook: WebhookTarget | None = None
    group_id: str | None = None
    key_id: str | None = None
    may_spend: bool = False
    traceparent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A result file on disk, before it becomes a :class:`LibraryItem`.

    ``path`` and ``thumbnail`` are relative to the data folder, with ``/``.
    """

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
    """A result in the library.

    ``path`` is the file exactly as ComfyUI wrote it, named by its digest; ``filename`` is
    ComfyUI's name, for downloads. ``is_preview``: the user kept it from a job that was stopped.
    ``thumbnail`` is a small WebP image, or None for audio and
    unreadable files. ``width`` and ``height`` are in pixels. ``rating`` is 1 to 5 stars, or 0.
    ``parent_id`` is the id of the result that it was made from, and ``group_id`` that of the group
    of its job.
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
    rating: int = 0
    is_preview: bool = False
    deleted_at: float | None = None
    parent_id: int | None = None
    group_id: str | None = None


ItemSort: TypeAlias = Literal["newest", "oldest", "rating", "largest", "preset", "name"]
"""The order of results; of equal ones the newest comes first."""
LabelKind: TypeAlias = Literal["tag", "collection"]


@dataclass(frozen=True, slots=True)
class Label:
    """A tag or a collection of a user. ``size`` counts its results where labels are listed."""

    kind: LabelKind
    name: str
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemQuery:
    """Filters of a page of results and their order; see ``LibraryService.results``.

    ``before`` is the id of the last result of the previous page, and ``before_value`` its
    :func:`sort_value`. ``group_id``: only the results of this group. ``folded``: of each group the
    newest result only.
    """

    user_id: str
    limit: int = 50
    before: int | None = None
    sort: ItemSort = "newest"
    before_value: str | int | None = None
    kind: Kind | None = None
    preset: str | None = None
    text: str = ""
    starred: bool | None = None
    since: float | None = None
    until: float | None = None
    group_id: str | None = None
    folded: bool = False

    @property
    def is_filtered(self) -> bool:
        """Whether there are conditions other than the text."""
        filters = self.kind, self.preset, self.starred, self.since, self.until, self.group_id
        return self.folded or any(value is not None for value in filters)


def sort_value(item: LibraryItem, sort: ItemSort) -> str | int | None:
    """Return what a result is sorted by; None in the order of creation."""
    match sort:
        case "rating":
            return item.rating
        case "largest":
            return item.size_bytes
        case "preset":
            return item.preset
        case "name":
            return item.filename
        case _:
            return None


@dataclass(frozen=True, kw_only=True)  # no slots: copied often, see fast_replace
class Snapshot:
    """The complete state of a job at one moment.

    ``progress`` is 0–100 for the whole graph and never falls. ``queue_position`` counts from 1
    and is None once the job runs; ``queue_size`` is the number of queued jobs of all users and
    ``queue_own`` those of the user. ``others_own`` is the number of the user's other unfinished
    jobs, updated while the job is followed. ``starts_in_s`` and ``run_s`` are the estimated times
    until a queued job starts, and of its run. ``iteration`` of ``iterations`` is the running pass
    of a loop, and ``text`` the line that a node showed last. ``preview`` is the newest preview
    image as the server sent it, of MIME type ``preview_type``. ``version`` grows with every
    change. ``error`` is the reason of a failure or, while the phase is ``reconnecting``, of the
    lost connection.
    ``server_deaths`` and ``group_id`` are those of the job; ``paused``: it waits in a paused queue
    or group. ``items`` and ``texts`` are complete in the last snapshot, whose phase is terminal.
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
    starts_in_s: float | None = None
    run_s: float | None = None
    eta_s: float | None = None
    elapsed_s: float = 0.0
    iteration: int | None = None
    iterations: int | None = None
    text: str | None = None
    preview: bytes | None = field(default=None, repr=False)
    preview_type: str | None = None
    error: JobError | None = None
    server_deaths: int = 0
    group_id: str | None = None
    paused: bool = False
    items: tuple[LibraryItem, ...] = ()
    texts: tuple[str, ...] = ()
    version: int = 0

    @property
    def terminal(self) -> bool:
        """Whether this is the last snapshot of the job."""
        return self.phase.is_final


@dataclass(frozen=True, slots=True)
class QueueView:
    """The queue as a user sees it: the user's unfinished jobs, in the order in which they run.

    ``others`` counts the unfinished jobs of other users. ``ended`` counts the user's finished jobs
    since the start, because a job may start and finish between two views. ``paused``: the user has
    paused this queue; ``all_paused``: an admin has paused the queues of all users.
    ``paused_groups`` are the ids of the paused groups of these jobs.
    """

    jobs: tuple[tuple[Job, Snapshot], ...]
    others: int
    ended: int = 0
    paused: bool = False
    all_paused: bool = False
    paused_groups: frozenset[str] = frozenset()


class QueueCounts(NamedTuple):
    """The unfinished jobs of all users: those that ComfyUI is working on, and the others."""

    running: int
    waiting: int


class QueueFigures(NamedTuple):
    """The unfinished jobs of all users, for metrics.

    ``jobs`` counts them by state and server: waiting (no server), claimed, sent, running, fetching.
    ``oldest_s`` is the age of the waiting job that was submitted first, or 0. ``servers`` says of
    each server whether it gets jobs.
    """

    jobs: Mapping[tuple[str, str], int]
    oldest_s: float
    servers: Mapping[str, bool]


Absence: TypeAlias = Literal["idle", "starting"]
"""Why a server does not answer on purpose: stopped until there is a job, or starting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """The status of a ComfyUI server; ``error`` says why it is offline, unless ``absence`` does.

    ``devices`` and ``stats`` are from ``GET /system_stats``; ``running`` and ``pending`` count the
    jobs of all programs. ``health`` is the verdict over all checks since the start, or None
    without the extra [health].
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
    absence: Absence | None = None
    health: HealthReport | None = None


@dataclass(frozen=True, slots=True)
class GridAxis:
    """One axis of a grid: the parameter that varies and the label of each row or column."""

    label: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GridCell:
    """The position of a job in a grid: its number from 1, the number of cells, and its labels."""

    number: int
    size: int
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Jobs that vary one or two parameters and share a contact sheet.

    ``jobs`` are the ids of the cells, row by row; ``down`` is None for a grid of one row.
    """

    id: str
    user_id: str
    across: GridAxis
    down: GridAxis | None
    jobs: tuple[str, ...]
    created_at: float

    @property
    def title(self) -> str:
        """The labels of the axes: 'Steps / Sampler'."""
        return f"{self.across.label} / {self.down.label}" if self.down else self.across.label

    def cell(self, job_id: str) -> GridCell | None:
        """The cell of a job, or None if the job is not in this grid."""
        if job_id not in self.jobs:
            return None
        row, column = divmod(self.jobs.index(job_id), len(self.across.labels))
        labels = (self.across.labels[column], *((self.down.labels[row],) if self.down else ()))
        return GridCell(self.jobs.index(job_id) + 1, len(self.jobs), labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobGroup:
    """Jobs that were submitted together: the cells of a :class:`Grid`, as one row of the queue.

    ``prompt`` and ``preset`` are those of the first job. ``size`` is the number of cells;
    ``succeeded``, ``failed`` and ``cancelled`` count the jobs that have ended, repeated ones
    included. ``results`` counts the files of the jobs, the contact sheet aside.
    """

    id: str
    title: str
    prompt: str
    preset: str
    size: int
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    results: int = 0
    paused: bool = False
