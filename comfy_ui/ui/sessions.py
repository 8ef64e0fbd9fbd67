"""Gradio's memory of pages that were closed and of calls that are over, kept small.

Every page opened and every call of a program is a session to Gradio. It keeps 10,000 of them, each
with a description of the whole page (90 kB), and of each the set of its events, empty, for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

__all__ = ["CAPACITY", "forget_ended", "sweep"]

CAPACITY: Final = 500
"""For ``state_session_capacity`` of Gradio's ``launch``. A page that is put out by newer ones goes
on: what our ``gr.State``s hold is only what need not be drawn again."""

_EVERY_S: Final = 60.0


async def forget_ended(page: Any) -> None:
    """Sweep once a minute, until it is cancelled."""
    while True:
        await asyncio.sleep(_EVERY_S)
        sweep(page)


def sweep(page: Any) -> None:
    """Forget the sessions that have no event any more and that nothing can be told to."""
    queue = page._queue  # noqa: SLF001 -- Gradio has no other way to it
    for session, events in [*queue.pending_event_ids_session.items()]:
        if not events and session not in queue.pending_messages_per_session:
            del queue.pending_event_ids_session[session]
