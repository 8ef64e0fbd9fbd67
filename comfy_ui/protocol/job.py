"""One job as a state machine: ``advance(state, event, now) -> state``.

The queue, then the history, is the truth; messages make it fast. Both shells feed the same events,
the HTTP one only poll answers, and obey :func:`poll_due` and :func:`cancel_due`. Rules:

* A job ends exactly once. Whatever comes after the end changes nothing.
* ``execution_error`` and ``execution_interrupted`` end it: they carry all there is to know.
* ``execution_success`` alone does not, as files must not be missed: the history is read, unless
  the socket has been there, unbroken, since before the job was queued, and every node at which the
  run ends has told its results. Then nothing is left to learn, and a request is saved.
* ``executing`` with no node means over, not good: the history says how.
* In neither queue nor history, looked for twice, is first doubted for ``GRACE_S``: an entry may
  come late. One that was cancelled before it was seen to run is believed gone sooner: nobody
  wants to wait for that, nor for what it may have produced after all.
* Time alone decides nothing, hence there is no tick: only answers do.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from comfy_ui.errors import (
    GenerationCancelledError,
    GenerationError,
    GenerationFailedError,
    JobLostError,
    OutOfMemoryError,
)

from .answers import Ending, HistoryAnswer, HistoryEntry, QueueAnswer
from .change import change
from .messages import (
    Executed,
    Executing,
    ExecutionCached,
    ExecutionError,
    ExecutionInterrupted,
    ExecutionStart,
    ExecutionSuccess,
    FeatureFlags,
    Logs,
    MalformedMessage,
    Message,
    NodeProgress,
    Notification,
    Preview,
    ProgressState,
    ProgressText,
    Status,
    UnknownMessage,
)
from .outputs import Outputs, collect_outputs
from .plan import plan_graph
from .progress import Phase, Progress, Tracker

GRACE_S = 6.0  # an entry may reach the history up to five seconds late
RECHECK_S = 0.25
RESUBMIT_AFTER_S = 2.0  # a request whose answer was lost may still be on its way to the server
WATCHDOG_S = 10.0
POLL_MIN_S, POLL_MAX_S = 0.003, 0.5
CANCEL_EVERY_S = 1.0


# ---- events, beside the messages and the two answers -----------------------------------------


@dataclass(frozen=True, slots=True)
class Submitted:
    """The job is about to be posted again, its first post having gone astray."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The server answered the post with 200."""


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """Somebody wants it stopped. Stays so until the end is seen."""


@dataclass(frozen=True, slots=True)
class CancelSent:
    """The server was told to stop it, and has answered. It says 200 to anything."""


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """The socket closed, or was given up."""


@dataclass(frozen=True, slots=True)
class ConnectionRegained:
    """A socket is there again. ``listening``: under the clientId with which the job was queued.

    A fresh clientId is the safe choice; the job's messages then go nowhere, and it is polled.
    """

    listening: bool = False


@dataclass(frozen=True, slots=True)
class PollFailed:
    """The server could not be asked, or what it said could not be read."""


Event = (
    Message
    | QueueAnswer
    | HistoryAnswer
    | Submitted
    | Accepted
    | CancelRequested
    | CancelSent
    | ConnectionLost
    | ConnectionRegained
    | PollFailed
)


# ---- the state -------------------------------------------------------------------------------


@dataclass(frozen=True)
class JobState:
    """What is known of a job. Make one with :func:`new_job`, and change it with :func:`advance`.

    ``final`` is None until the one end. Until then ``phase`` is what to show.
    """

    prompt_id: str
    created_at: float
    tracker: Tracker
    accepted: bool = False
    listening: bool = False
    unbroken: bool = False
    connected: bool = True
    running: bool = False
    queue_position: int | None = None
    queue_size: int | None = None
    queue_remaining: int | None = None
    position_is_old: bool = False

    heard_at: float | None = None  # a message of this job, over the socket there is now
    polled_at: float | None = None
    failed_polls: int = 0
    urgent_since: float = 0.0  # the polls get slower from here
    out_of_queue: bool = False
    absent_since: float | None = None
    absences: int = 0

    cancel_requested_at: float | None = None
    cancel_sent_at: float | None = None

    executed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    over_at: float | None = None
    final: Phase | None = None
    final_at: float | None = None
    ending: Ending | None = None
    entry: HistoryEntry | None = None

    @property
    def phase(self) -> Phase:
        if self.final is not None:
            return self.final
        if self.cancel_requested_at is not None:
            return Phase.CANCELLING
        if not self.connected:
            return Phase.RECONNECTING
        return self.tracker.phase if self.running else Phase.QUEUED

    @property
    def needs_queue(self) -> bool:
        """Whether a poll has to read the queue before the history.

        Not when a message said that the job is over, unless the history does not bear that out.
        """
        return self.over_at is None or self.absences > 0

    @property
    def may_resubmit(self) -> bool:
        """The answer to the post was lost, and the server has no trace of the job.

        Posting it again then does not run it twice. True only after ``RESUBMIT_AFTER_S`` of
        looking; nothing is posted by itself.
        """
        return (
            self.final is None
            and not self.accepted
            and self.absences > 1
            and self.polled_at is not None
            and self.absent_since is not None
            and self.polled_at - self.absent_since >= RESUBMIT_AFTER_S
        )

    @property
    def cached(self) -> bool:
        """Every output came from the server's cache: the files are those of an earlier run."""
        outputs = self.tracker.plan.outputs if self.tracker.plan else frozenset()
        return bool(outputs) and outputs <= self.tracker.cached

    def progress(self, now: float) -> Progress:
        """What to show now."""
        tracker, preview = self.tracker, self.tracker.preview
        started_at = tracker.started_at
        end = now if self.final_at is None else self.final_at
        working = self.final is None and self.running
        return Progress(
            prompt_id=self.prompt_id,
            phase=self.phase,
            progress=tracker.value * 100,
            node=tracker.node,
            node_title=tracker.title(tracker.node),
            step=tracker.step,
            steps=tracker.steps,
            queue_position=None if self.running else self.queue_position,
            queue_size=None if self.running else self.queue_size,
            eta=tracker.eta_s(now) if working else None,
            elapsed_s=0.0 if started_at is None else end - started_at,
            preview=preview.image if preview else None,
            preview_type=preview.media_type if preview else None,
        )

    def seconds(self) -> float | None:
        """How long the run took, by the server's clock where it told; None before the end."""
        if self.entry is not None and self.entry.seconds is not None:
            return self.entry.seconds
        if self.final_at is None or self.tracker.started_at is None:
            return None
        return self.final_at - self.tracker.started_at

    def outputs(self, *, include_temp: bool = False) -> Outputs:
        """What the job has produced so far, also when it failed later on."""
        per_node: Mapping[str, Any] = self.executed
        if self.entry is not None:
            per_node = {**self.executed, **self.entry.outputs}
        rank = {
            id_: i for i, id_ in enumerate(self.tracker.plan.classes if self.tracker.plan else ())
        }
        # An inner node such as 2.0.0.1 stands where the node that made it stands.
        order = sorted(
            per_node, key=lambda id_: rank.get(id_, rank.get(id_.partition(".")[0], len(rank)))
        )
        return collect_outputs(per_node, order=order, include_temp=include_temp)

    def verdict(self, *, include_temp: bool = False) -> Outputs | GenerationError | None:
        """The outputs, or the error to raise in their place; None before the end."""
        match self.final:
            case None:
                return None
            case Phase.SUCCEEDED:
                return self.outputs(include_temp=include_temp)
            case Phase.CANCELLED:
                return self._cancelled()
            case Phase.FAILED:
                return self._failed()
        return self._lost()

    def _cancelled(self) -> GenerationCancelledError:
        if self.cancel_requested_at is not None:
            return GenerationCancelledError("The job was cancelled.", prompt_id=self.prompt_id)
        return GenerationCancelledError(
            "The job was interrupted at the server.", prompt_id=self.prompt_id
        )

    def _failed(self) -> GenerationFailedError:
        error = self.ending
        if not isinstance(error, ExecutionError):
            error = ExecutionError(self.prompt_id)
        title = self.tracker.title(error.node_id) or error.node_type
        said = error.exception_message.strip() or error.exception_type
        kind = OutOfMemoryError if is_out_of_memory(error) else GenerationFailedError
        return kind(
            f"{title or 'ComfyUI'}: {said or 'the run failed without a message.'}",
            prompt_id=self.prompt_id,
            node_id=error.node_id,
            node_type=error.node_type,
            node_title=title,
            exception_type=error.exception_type,
            traceback=error.traceback,
        )

    def _lost(self) -> JobLostError:
        if isinstance(self.ending, ExecutionSuccess):
            return JobLostError(
                "ComfyUI finished the job, but no longer says what it produced.",
                prompt_id=self.prompt_id,
                hint="Look into ComfyUI's output folder, or queue it again.",
            )
        if not self.accepted:
            return JobLostError(
                "The server's answer to the job was lost, and it has no trace of it.",
                prompt_id=self.prompt_id,
            )
        return JobLostError(
            "The server no longer knows the job: it was restarted, or the job was deleted there.",
            prompt_id=self.prompt_id,
        )


def new_job(
    prompt_id: str,
    *,
    now: float,
    graph: Mapping[str, Any] | None = None,
    output_nodes: Collection[str] | None = None,
    listening: bool = False,
    accepted: bool = False,
) -> JobState:
    """A job about to be posted, or one that somebody else has posted.

    Args:
        prompt_id: the id it is posted under.
        now: seconds of a clock that never goes back; the same one in all calls.
        graph: what is posted, for titles and the percentage. The queue tells it otherwise.
        output_nodes: ids the run is restricted to (``partial_execution_targets``).
        listening: a socket is open under the clientId that the post carries. Without, and for
            somebody else's job, it is followed by polling.
        accepted: the server is known to have it, or somebody else has posted it.
    """
    plan = None if graph is None else plan_graph(graph, output_nodes=output_nodes)
    return JobState(
        prompt_id=prompt_id,
        created_at=now,
        tracker=Tracker(plan=plan),
        accepted=accepted,
        listening=listening,
        unbroken=listening,
        urgent_since=now,
    )


# ---- the rules -------------------------------------------------------------------------------


def advance(state: JobState, event: Event, now: float) -> JobState:
    """The state after an event. Never raises; returns the same object where nothing changes."""
    if state.final is not None:
        return state
    match event:
        case QueueAnswer():
            return _read_queue(state, event, now)
        case HistoryAnswer():
            return _read_history(state, event, now)
        case PollFailed():
            return change(
                state, polled_at=now, failed_polls=state.failed_polls + 1, connected=False
            )
        case Submitted():
            return _found(change(state, urgent_since=now))
        case Accepted():
            urgent_since = state.urgent_since if state.listening else now
            return _found(change(state, accepted=True, urgent_since=urgent_since))
        case CancelRequested():
            if state.cancel_requested_at is not None:
                return state
            return change(state, cancel_requested_at=now, urgent_since=now)
        case CancelSent():
            urgent_since = state.urgent_since if state.cancel_sent_at is not None else now
            return change(state, cancel_sent_at=now, urgent_since=urgent_since)
        case ConnectionLost():
            return change(state, listening=False, unbroken=False, connected=False, urgent_since=now)
        case ConnectionRegained(listening=listening):
            return change(
                state, listening=listening, connected=True, heard_at=None, urgent_since=now
            )
    return _hear(state, event, now)


def poll_due(state: JobState, now: float) -> float:
    """When to ask the server next, never before ``now``; infinity after the end.

    Ask for the queue first if ``state.needs_queue``, then, if the job is not in it, for its
    history, and give :func:`advance` the answers in that order. Polls begin a few milliseconds
    apart and become slower in proportion to the time that has passed, down to two a second. With a
    socket that carries the job's messages they only guard against silence. A job whose post is
    still under way is not to be asked for.
    """
    if state.final is not None:
        return math.inf
    polled_at = state.polled_at
    if state.failed_polls and polled_at is not None:
        return max(now, polled_at + min(0.25 * 2.0 ** (min(state.failed_polls, 6) - 1), 5.0))
    reconciled = polled_at is not None and polled_at >= state.urgent_since
    if (
        state.listening
        and state.accepted
        and (reconciled or state.unbroken)
        and state.over_at is None
        and state.absent_since is None
        and state.cancel_requested_at is None
    ):
        return max(now, _watchdog_due(state))
    if polled_at is None or not reconciled:
        return now
    pause = 0.2 * (polled_at - state.urgent_since)
    return max(now, polled_at + min(max(pause, POLL_MIN_S), POLL_MAX_S))


def cancel_due(state: JobState) -> float:
    """When to tell the server (again) to stop this job; infinity while nobody wants that.

    An interruption that falls between two checks of the server is forgotten, and a job may move
    from pending to running between the two requests, so it is repeated until the end is seen.
    """
    if state.final is not None or state.cancel_requested_at is None:
        return math.inf
    if state.cancel_sent_at is None:
        return state.cancel_requested_at
    return state.cancel_sent_at + CANCEL_EVERY_S


def is_deaf(state: JobState, now: float) -> bool:
    """The socket that should carry the job's messages has been silent while the job ran.

    Such a socket stays open and silent for ever: open another, under a fresh clientId.
    """
    if not state.listening or state.heard_at is not None:
        return False
    if state.final is not None:
        return state.entry is not None
    started_at = state.tracker.started_at
    if not state.running or started_at is None:
        return False
    return now - max(started_at, state.urgent_since) >= WATCHDOG_S


def is_out_of_memory(error: ExecutionError) -> bool:
    """Whether a node failed for want of memory, by what PyTorch and Python call that."""
    kind, said = error.exception_type or "", error.exception_message.lower()
    return (
        "OutOfMemory" in kind
        or kind.rpartition(".")[2] == "MemoryError"
        or "out of memory" in said
        or "allocation on device" in said
        or "not enough memory" in said
    )


def _watchdog_due(state: JobState) -> float:
    heard_at = state.created_at if state.heard_at is None else state.heard_at
    due = heard_at + WATCHDOG_S
    if state.polled_at is not None:
        due = max(due, state.polled_at + WATCHDOG_S / 5)
    if state.position_is_old and not state.running:
        # Not at once: most jobs start within a second and never need a place in the queue.
        due = min(due, (state.polled_at or state.created_at) + 1.0)
    return due


def _hear(state: JobState, message: Message, now: float) -> JobState:
    match message:
        case Status(queue_remaining=remaining):
            if state.running or remaining == state.queue_remaining:
                return state
            return change(state, queue_remaining=remaining, position_is_old=True)
        case FeatureFlags() | Logs() | Notification() | ProgressText():
            return state
        case UnknownMessage() | MalformedMessage():
            return state
    if message.prompt_id is None:
        # Sent on connecting while a job of this clientId runs, or a preview without metadata. The
        # server runs one job at a time: it is this one's only if this one is known to run.
        if not state.running or state.over_at is not None:
            return state
    elif message.prompt_id != state.prompt_id:
        return state
    if isinstance(message, Executing) and message.node is None:
        return _over(_heard(state, now), now) if message.prompt_id else state
    return _follow(_heard(state, now), message, now)


def _follow(
    state: JobState,
    message: ExecutionStart
    | ExecutionCached
    | Executing
    | NodeProgress
    | ProgressState
    | Executed
    | ExecutionSuccess
    | ExecutionError
    | ExecutionInterrupted
    | Preview,
    now: float,
) -> JobState:
    state = change(state, running=True, tracker=state.tracker.hear(message, now))
    match message:
        case Executed(node=node, output=output):
            state = change(
                state,
                executed={**state.executed, node: output},
            )
            return _settle_success(state, now)
        case ExecutionSuccess():
            return _settle_success(change(_over(state, now), ending=message), now)
        case ExecutionError():
            return _end(state, Phase.FAILED, now, ending=message)
        case ExecutionInterrupted():
            return _end(state, Phase.CANCELLED, now, ending=message)
    return state


def _heard(state: JobState, now: float) -> JobState:
    return change(_found(state), accepted=True, connected=True, heard_at=now)


def _found(state: JobState) -> JobState:
    """There is a trace of the job: whatever looked like an absence was none."""
    if state.absent_since is None and not state.out_of_queue:
        return state
    return change(state, out_of_queue=False, absent_since=None, absences=0)


def _over(state: JobState, now: float) -> JobState:
    return state if state.over_at is not None else change(state, over_at=now, urgent_since=now)


def _settle_success(state: JobState, now: float) -> JobState:
    """End a success without asking, if nothing can have been missed."""
    plan = state.tracker.plan
    if (
        not isinstance(state.ending, ExecutionSuccess)
        or not state.unbroken
        or plan is None
        or not plan.outputs
        or not plan.outputs <= state.executed.keys()
        or not state.executed.keys() <= plan.classes.keys()  # a node expanded: there may be more
    ):
        return state
    return _end(state, Phase.SUCCEEDED, now)


def _read_queue(state: JobState, answer: QueueAnswer, now: float) -> JobState:
    state = change(state, polled_at=now, failed_polls=0, connected=True)
    if answer.place == "absent":
        return change(state, out_of_queue=True)
    state = change(
        _found(_with_graph(state, answer)),
        accepted=True,
        position_is_old=False,
        queue_position=answer.position,
        queue_size=answer.size,
    )
    if answer.place == "pending" or state.running:
        return state
    tracker = state.tracker
    return change(state, running=True, tracker=change(tracker, started_at=now), urgent_since=now)


def _read_history(state: JobState, answer: HistoryAnswer, now: float) -> JobState:
    state = change(state, polled_at=now, failed_polls=0, connected=True)
    entry = answer.entry
    if entry is None:
        if not state.out_of_queue and state.needs_queue:
            return state  # an empty history alone says nothing: the job may be in the queue
        since = now if state.absent_since is None else state.absent_since
        state = change(state, out_of_queue=False, absent_since=since, absences=state.absences + 1)
        return _judge_absence(state, now - since, now)
    state = _with_graph(change(state, accepted=True), entry)
    tracker = change(state.tracker, cached=state.tracker.cached | entry.cached)
    state = change(state, tracker=tracker, entry=entry)
    match entry.ending:
        case ExecutionSuccess():
            return _end(state, Phase.SUCCEEDED, now, ending=entry.ending)
        case ExecutionError():
            return _end(state, Phase.FAILED, now, ending=entry.ending)
    return _end(state, Phase.CANCELLED, now, ending=entry.ending)


def _judge_absence(state: JobState, absent_s: float, now: float) -> JobState:
    cancelling = state.cancel_requested_at is not None
    deleted = state.cancel_sent_at is not None and state.accepted and not state.running
    patience_s = RECHECK_S if deleted and state.over_at is None else GRACE_S
    if state.absences < 2 or absent_s < patience_s:
        return state
    if cancelling and not isinstance(state.ending, ExecutionSuccess):
        return _end(state, Phase.CANCELLED, now)
    return _end(state, Phase.LOST, now)


def _with_graph(state: JobState, told: QueueAnswer | HistoryEntry) -> JobState:
    """Measure by the graph and the outputs that the server itself names, once it does."""
    plan = state.tracker.plan
    if told.graph is None or (plan is not None and (plan.outputs_told or not told.output_nodes)):
        return state
    plan = plan_graph(told.graph, output_nodes=told.output_nodes)
    return change(state, tracker=state.tracker.with_plan(plan))


def _end(
    state: JobState,
    final: Literal[Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED, Phase.LOST],
    now: float,
    *,
    ending: Ending | None = None,
) -> JobState:
    tracker = state.tracker.finish(now) if final is Phase.SUCCEEDED else state.tracker
    return change(state, tracker=tracker, final=final, final_at=now, ending=ending or state.ending)
