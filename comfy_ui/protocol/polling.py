"""When a shell has something to do for a job: poll the server, repeat a cancellation, reconnect."""

from __future__ import annotations

import math

from .job_state import JobState

WATCHDOG_S = 10.0
POLL_MIN_S, POLL_MAX_S = 0.003, 0.5
CANCEL_EVERY_S = 1.0


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


def _watchdog_due(state: JobState) -> float:
    heard_at = state.created_at if state.heard_at is None else state.heard_at
    due = heard_at + WATCHDOG_S
    if state.polled_at is not None:
        due = max(due, state.polled_at + WATCHDOG_S / 5)
    if state.position_is_old and not state.running:
        # Not at once: most jobs start within a second and never need a place in the queue.
        due = min(due, (state.polled_at or state.created_at) + 1.0)
    return due
