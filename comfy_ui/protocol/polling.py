"""When a client has to poll the server for a job, repeat a cancellation, or reconnect."""

from __future__ import annotations

import math

from .job_state import JobState
from .retry import Backoff

WATCHDOG_S = 10.0
POLL_MIN_S, POLL_MAX_S = 0.003, 0.5
CANCEL_EVERY_S = 1.0
_RETRY = Backoff(base_s=0.25, cap_s=5.0, attempts=None)


def poll_due(state: JobState, now: float) -> float:
    """When to poll next, never before ``now``; infinity after the end.

    Read the queue first if ``state.needs_queue``; then, if the job is not in it, the history. Pass
    the answers to :func:`advance` in that order. Polls begin a few milliseconds apart and slow down
    in proportion to the time that has passed, to two a second. If a socket carries the job's
    messages, polls only guard against silence. Do not poll while the post is in progress.
    """
    if state.final is not None:
        return math.inf
    polled_at = state.polled_at
    if state.failed_polls and polled_at is not None:
        return max(now, polled_at + _RETRY.ceiling_s(state.failed_polls))
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
    """When to send (or repeat) a cancellation; infinity unless one was requested.

    ComfyUI forgets an interruption that falls between two of its checks, and a job may move from
    pending to running between two requests, so the cancellation is repeated until the job ends.
    """
    if state.final is not None or state.cancel_requested_at is None:
        return math.inf
    if state.cancel_sent_at is None:
        return state.cancel_requested_at
    return state.cancel_sent_at + CANCEL_EVERY_S


def is_deaf(state: JobState, now: float) -> bool:
    """Whether the socket that should carry the job's messages was silent while the job ran.

    Such a socket stays open and silent: open another, under a fresh clientId.
    """
    if not state.listening or state.heard_at is not None:
        return False
    if state.final is not None:
        return state.entry is not None
    started_at = state.started_at
    if not state.running or started_at is None:
        return False
    return now - max(started_at, state.urgent_since) >= WATCHDOG_S


def _watchdog_due(state: JobState) -> float:
    heard_at = state.created_at if state.heard_at is None else state.heard_at
    due = heard_at + WATCHDOG_S
    if state.polled_at is not None:
        due = max(due, state.polled_at + WATCHDOG_S / 5)
    if state.position_is_old and not state.running:
        # Not at once: most jobs start within a second and never need a queue position.
        due = min(due, (state.polled_at or state.created_at) + 1.0)
    return due
