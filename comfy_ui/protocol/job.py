"""One job as a state machine: ``advance(state, event, now) -> state``.

The queue, then the history, decides; messages make it fast. Both clients feed the same events (the
sync one only poll answers) and obey :func:`poll_due` and :func:`cancel_due`. Rules:

* A job ends exactly once. Events after the end change nothing.
* ``execution_error`` and ``execution_interrupted`` end it: they are complete.
* ``execution_success`` alone does not, because no file may be missed: the history is read, unless
  the socket has been open without a break since before the job was queued and every output node has
  reported its results. That saves a request.
* ``executing`` without a node means that the job is over; the history says how it ended.
* A job in neither queue nor history is lost only after two polls and ``GRACE_S``: its entry may
  come late. A job that was cancelled before it was seen running counts as gone sooner.
* A server that takes connections and sends nothing is busy, as while it loads a model for minutes.
  That changes nothing that is shown.
* Time alone changes nothing, so there is no tick event: only answers do.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from ._replace import fast_replace
from .graph_cost import GraphCost
from .job_state import (
    CancelRequested,
    CancelSent,
    ConnectionLost,
    ConnectionRegained,
    Event,
    JobState,
    PollFailed,
    PostAccepted,
    Resubmitted,
    Run,
    new_job,
)
from .messages import (
    Executed,
    Executing,
    ExecutionCached,
    ExecutionError,
    ExecutionInterrupted,
    ExecutionSuccess,
    FeatureFlags,
    JobMessage,
    Logs,
    MalformedMessage,
    Message,
    Notification,
    PreviewFrame,
    QueueStatus,
    UnknownMessage,
)
from .polling import cancel_due, is_deaf, poll_due
from .progress import Phase
from .queue_and_history import Ending, HistoryAnswer, HistoryEntry, QueueAnswer

__all__ = [
    "CancelRequested",
    "CancelSent",
    "ConnectionLost",
    "ConnectionRegained",
    "Event",
    "JobState",
    "PollFailed",
    "PostAccepted",
    "Resubmitted",
    "Run",
    "advance",
    "cancel_due",
    "is_deaf",
    "new_job",
    "poll_due",
]

GRACE_S = 6.0  # an entry may reach the history up to five seconds late
RECHECK_S = 0.25
_SENDER = "SaveImageWebsocket"


def advance(state: JobState, event: Event, now: float) -> JobState:
    """The state after an event. Never raises; returns the same object if nothing changes."""
    if state.final is not None:
        return state
    match event:
        case QueueAnswer():
            return _read_queue(state, event, now)
        case HistoryAnswer():
            return _read_history(state, event, now)
        case PollFailed(silent=silent):
            return fast_replace(
                state,
                polled_at=now,
                failed_polls=state.failed_polls + 1,
                connected=silent and state.connected,
            )
        case Resubmitted():
            return _present(fast_replace(state, urgent_since=now))
        case PostAccepted():
            return _present(fast_replace(state, accepted=True, urgent_since=now))
        case CancelRequested():
            if state.cancel_requested_at is not None:
                return state
            return fast_replace(state, cancel_requested_at=now, urgent_since=now)
        case CancelSent():
            urgent_since = state.urgent_since if state.cancel_sent_at is not None else now
            return fast_replace(state, cancel_sent_at=now, urgent_since=urgent_since)
        case ConnectionLost(silent=silent):
            return fast_replace(
                state,
                listening=False,
                unbroken=False,
                connected=silent and state.connected,
                urgent_since=now,
            )
        case ConnectionRegained(listening=listening):
            return fast_replace(
                state,
                listening=listening,
                connected=True,
                heard_at=None,
                failed_polls=0,
                urgent_since=now,
            )
    return _read_message(state, event, now)


def _read_message(state: JobState, message: Message, now: float) -> JobState:
    match message:
        case QueueStatus(queue_remaining=remaining):
            if state.running or remaining == state.queue_remaining:
                return state
            return fast_replace(state, queue_remaining=remaining, position_is_old=True)
        case FeatureFlags() | Logs() | Notification():
            return state
        case UnknownMessage() | MalformedMessage():
            return state
    if message.prompt_id is None:
        # A preview or text without metadata, or the node reported on connecting. The server runs
        # one job at a time, so it belongs to this one while it runs. It is shown but proves
        # nothing: previews of jobs without a clientId go to every socket.
        if not state.running or state.over_at is not None:
            return state
        state = fast_replace(state, run=Run(state.tracker.hear(message, now)))
        return _receive(state, message) if isinstance(message, PreviewFrame) else state
    if message.prompt_id != state.prompt_id:
        return state
    if isinstance(message, Executing) and message.node is None:
        return _over(
            fast_replace(_present(state), accepted=True, connected=True, heard_at=now), now
        )
    return _read_own_message(_present(state), message, now)


def _read_own_message(state: JobState, message: JobMessage, now: float) -> JobState:
    if isinstance(message, PreviewFrame):
        run = Run(state.tracker.hear(message, now))  # the newest one counts, and they are large
    else:
        run = state.run.later(message, now)
    state = fast_replace(
        state,
        accepted=True,
        connected=True,
        heard_at=now,
        running=True,
        started_at=now if state.started_at is None else state.started_at,
        run=run,
    )
    match message:
        case ExecutionCached(nodes=nodes):
            return fast_replace(state, from_cache=state.from_cache.union(nodes))
        case Executed(node=node, output=output):
            executed = {**state.executed, node: output}
            return _settle_success(fast_replace(state, executed=executed), now)
        case ExecutionSuccess():
            return _settle_success(fast_replace(_over(state, now), ending=message), now)
        case ExecutionError():
            return _end(state, Phase.FAILED, now, ending=message)
        case ExecutionInterrupted():
            return _end(state, Phase.CANCELLED, now, ending=message)
        case PreviewFrame():
            return _receive(state, message)
    return state


def _receive(state: JobState, message: PreviewFrame) -> JobState:
    """Keep an image that ``SaveImageWebsocket`` sends as a result: the server has no copy."""
    plan, node = state.plan, message.node or state.tracker.node or ""
    if plan is None or plan.classes.get(node) != _SENDER or message.media_type != "image/png":
        return state
    return fast_replace(
        state, sent={**state.sent, node: (*state.sent.get(node, ()), message.image)}
    )


def _present(state: JobState) -> JobState:
    """The server has a trace of the job, so earlier signs of absence were wrong."""
    if state.absent_since is None and not state.out_of_queue:
        return state
    return fast_replace(state, out_of_queue=False, absent_since=None, absences=0)


def _over(state: JobState, now: float) -> JobState:
    return (
        state if state.over_at is not None else fast_replace(state, over_at=now, urgent_since=now)
    )


def _settle_success(state: JobState, now: float) -> JobState:
    """End a success without a poll if no message can have been missed."""
    plan = state.plan
    if (
        not isinstance(state.ending, ExecutionSuccess)
        or not state.unbroken
        or plan is None
        or not plan.outputs
        or not plan.outputs <= state.executed.keys()
        # A node that expanded may have more files.
        or not state.executed.keys() <= plan.classes.keys()
    ):
        return state
    return _end(state, Phase.SUCCEEDED, now)


def _read_queue(state: JobState, answer: QueueAnswer, now: float) -> JobState:
    state = fast_replace(state, polled_at=now, failed_polls=0, connected=True)
    if answer.place == "absent":
        return fast_replace(state, out_of_queue=True)
    state = fast_replace(
        _present(_with_graph(state, answer)),
        accepted=True,
        position_is_old=False,
        queue_position=answer.position,
        queue_size=answer.size,
    )
    if answer.place == "pending" or state.running:
        return state
    return fast_replace(
        state,
        running=True,
        started_at=now,
        run=Run(state.tracker.start(now)),
        urgent_since=now,
    )


def _read_history(state: JobState, answer: HistoryAnswer, now: float) -> JobState:
    state = fast_replace(state, polled_at=now, failed_polls=0, connected=True)
    entry = answer.entry
    if entry is None:
        if not state.out_of_queue and state.needs_queue:
            return state  # an empty history proves nothing: the job may be in the queue
        since = now if state.absent_since is None else state.absent_since
        state = fast_replace(
            state, out_of_queue=False, absent_since=since, absences=state.absences + 1
        )
        return _judge_absence(state, now - since, now)
    state = _with_graph(fast_replace(state, accepted=True), entry)
    tracker = fast_replace(state.tracker, cached=state.tracker.cached | entry.cached)
    # Clients keep jobs that are over, so the graph, which may be large, is dropped.
    state = fast_replace(
        state,
        run=Run(tracker),
        from_cache=state.from_cache | entry.cached,
        entry=replace(entry, graph=None),
    )
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
    if absent_s < patience_s:  # the first poll is at 0 s, so there were at least two
        return state
    if cancelling and not isinstance(state.ending, ExecutionSuccess):
        return _end(state, Phase.CANCELLED, now)
    return _end(state, Phase.LOST, now)


def _with_graph(state: JobState, answer: QueueAnswer | HistoryEntry) -> JobState:
    """Measure by the graph and the output nodes that the server reports, once it does."""
    plan = state.plan
    if answer.graph is None or (
        plan is not None and (plan.outputs_reported or not answer.output_nodes)
    ):
        return state
    # One's own graph is the same one, and stays in memory in any case.
    graph = answer.graph if plan is None else plan.graph
    plan = GraphCost(graph, output_nodes=answer.output_nodes)
    return fast_replace(state, run=Run(state.tracker.with_plan(plan)))


def _end(
    state: JobState,
    final: Literal[Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED, Phase.LOST],
    now: float,
    *,
    ending: Ending | None = None,
) -> JobState:
    return fast_replace(
        state,
        run=state.run.later(None, now),
        final=final,
        final_at=now,
        ending=ending or state.ending,
    )
