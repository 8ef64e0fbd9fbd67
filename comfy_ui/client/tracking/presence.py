"""Which jobs of an interrupted batch the server has."""

from __future__ import annotations

from collections.abc import Collection, Set as AbstractSet

from ...errors import ComfyUIConnectionError, ServerRejectedError
from ...protocol.job_state import RESUBMIT_AFTER_S
from .. import endpoints
from ..operations import Asker, Flow
from .job_tracking import LOOK_S

_READY_EVERY_S = 1.0
# The history may have jobs of others after ours.
_SPARE_ENTRIES = 50


def present_jobs(
    asker: Asker, prompt_ids: Collection[str], *, lists_history: bool
) -> Flow[set[str]]:
    """Return which of these jobs the server has, or has had and not forgotten.

    Looks twice at the absent ones, because the post of one may still be on its way.

    Args:
        asker: sends the requests.
        prompt_ids: the jobs.
        lists_history: whether the server's list of finished jobs is ComfyUI's.

    Raises:
        ComfyUIConnectionError, ServerRejectedError: the server gave no answer.
    """
    wait_s = min(LOOK_S, asker.timeout_s)
    yield from asker.until_answered(endpoints.ping(), timeout_s=wait_s, every_s=_READY_EVERY_S)
    looked_at = asker.clock()
    present, listed = yield from _look(asker, {*prompt_ids}, lists_history, listed=frozenset())
    if absent := {*prompt_ids} - present:
        yield asker.until(looked_at + RESUBMIT_AFTER_S)
        arrived, _ = yield from _look(asker, absent, lists_history, listed=listed)
        present |= arrived
    return present


def _look(
    asker: Asker, prompt_ids: AbstractSet[str], lists_history: bool, *, listed: AbstractSet[str]
) -> Flow[tuple[set[str], AbstractSet[str]]]:
    """Return the jobs that are present now, and those that the history lists.

    ``listed``: what it listed at an earlier look, for which no job of ``prompt_ids`` was present.
    """
    # In this order: a job moves from the queue to the history, never back.
    queue = yield from asker.ask(endpoints.queue())
    present = {each for each in prompt_ids if queue.answer(each).place != "absent"}
    absent = prompt_ids - present
    if lists_history and len(absent) > 1:
        max_items = len(absent) + _SPARE_ENTRIES
        finished = yield from _finished(asker, max_items)
        if finished is not None:
            present |= absent & finished
            # The list is whole, or has all that ended since the earlier look.
            if len(finished) < max_items or finished & listed:
                return present, finished
            absent, listed = absent - finished, finished
    for prompt_id in absent:
        if (yield from asker.ask(endpoints.history(prompt_id))) is not None:
            present.add(prompt_id)
    return present, listed


def _finished(asker: Asker, max_items: int) -> Flow[set[str] | None]:
    """The newest finished jobs; None if the server does not list them."""
    try:
        return {*(yield from asker.ask(endpoints.recent(max_items)))}
    except (ComfyUIConnectionError, ServerRejectedError):  # too large, or not allowed
        return None
