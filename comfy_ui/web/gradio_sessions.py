"""Bounds on Gradio's memory of closed pages and finished calls.

Every opened page and every call of a program is a session to Gradio. It keeps 10,000 of them, the
statistics of 10,000 events, and for each session the set of its events without limit. It also
describes the whole page to each new session, for a kind of link that this page does not use.
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
_EVENTS: Final = (
    100  # number of events with statistics: they are shown nowhere, and read at each event
)


async def forget_ended(page: Any) -> None:
    """Sweep once a minute, until canceled."""
    page._queue.ANALYTICS_MAX_EVENTS = _EVENTS  # noqa: SLF001 -- Gradio has no other way to it
    page.state_holder.blocks = _undescribed(page)
    while True:
        await asyncio.sleep(_EVERY_S)
        sweep(page)
        await asyncio.to_thread(give_back)


def _undescribed(page: Any) -> SimpleNamespace:
    """Return the initial state of a new session, without the components' descriptions.

    A session adds the few components that its events change.
    """
    return SimpleNamespace(default_config=page.default_config, blocks={})


def sweep(page: Any) -> None:
    """Forget the sessions of closed pages, unless one of their events is still running."""
    queue = page._queue  # noqa: SLF001
    for session, events in [*queue.pending_event_ids_session.items()]:
        told = session in queue.pending_messages_per_session
        if not told and events.isdisjoint(queue.event_ids_to_events):
            del queue.pending_event_ids_session[session]
