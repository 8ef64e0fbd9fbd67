"""Gradio's memory of pages that were closed and of calls that are over, kept small.

Every page opened and every call of a program is a session to Gradio. It keeps 10,000 of them, the
figures of 10,000 events, and of each session the set of its events for ever, also when they are
over. And to each new session it describes the whole page, for a kind of link that we do not have.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, Final

from .process_memory import give_back

__all__ = ["CAPACITY", "forget_ended", "sweep"]

CAPACITY: Final = 250
"""For ``state_session_capacity`` of Gradio's ``launch``: two hundred open pages, and their calls. A
page that is put out by newer ones goes on: what our ``gr.State``s hold is only what need not be
drawn again."""

_EVERY_S: Final = 60.0
_EVENTS: Final = 100  # whose figures are kept: they are shown nowhere, and read at each event


async def forget_ended(page: Any) -> None:
    """Sweep once a minute, until it is cancelled."""
    page._queue.ANALYTICS_MAX_EVENTS = _EVENTS  # noqa: SLF001 -- Gradio has no other way to it
    page.state_holder.blocks = _undescribed(page)
    while True:
        await asyncio.sleep(_EVERY_S)
        sweep(page)
        await asyncio.to_thread(give_back)


def _undescribed(page: Any) -> SimpleNamespace:
    """What a new session is made from, without the components it would describe to itself.

    It adds the few that its events change when they do.
    """
    return SimpleNamespace(default_config=page.default_config, blocks={})


def sweep(page: Any) -> None:
    """Forget the sessions that nothing can be told to, unless an event of theirs still runs."""
    queue = page._queue  # noqa: SLF001
    for session, events in [*queue.pending_event_ids_session.items()]:
        told = session in queue.pending_messages_per_session
        if not told and events.isdisjoint(queue.event_ids_to_events):
            del queue.pending_event_ids_session[session]
