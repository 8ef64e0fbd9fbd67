"""Keep little unused memory: glibc, Python's garbage collector, and Gradio's sessions.

Measured by ``python -m tests.web.soak``, with fifty users. Every opened page and every call of a
program is a session to Gradio. It keeps 10,000 of them, the statistics of 10,000 events, and for
each session the set of its events without limit. It also describes the whole page to each new
session, for a kind of link that this page does not use.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
from contextlib import suppress
from copy import copy
from types import SimpleNamespace
from typing import Any, Final

__all__ = ["CAPACITY", "forget_ended", "give_back", "keep_little", "set_apart", "sweep"]

# Parameters of mallopt(3): the name in the environment, the number, and the value.
_ARENAS: Final = ("MALLOC_ARENA_MAX", -8, 2)
_MAPPED: Final = ("MALLOC_MMAP_THRESHOLD_", -3, 128 * 1024)


def keep_little() -> None:
    """Make glibc keep little of the freed memory. Another libc is left unchanged.

    Environment variables take precedence.

    All threads share two arenas instead of up to eight per core. Free memory in one arena serves
    no thread of another, so each grows to the most that its threads ever held at once: after 18
    minutes the app had 288 MiB, and with two arenas 256 MiB.

    Blocks of 128 KiB and more go back to the system when they are freed: pages, images and
    buffers do not fragment the heap. By default glibc raises that limit to the largest block ever
    freed, up to 32 MiB.
    """
    for name, parameter, value in (_ARENAS, _MAPPED):
        if name not in os.environ:
            _call("mallopt", parameter, value)


def give_back() -> None:
    """Collect garbage and return free memory to the system; glibc keeps the peak by default.

    By default Python collects when a quarter of all objects is new. Closed connections are cycles,
    which only a collection frees: with fifty users some 8,000 blocks in 15 seconds, on top of which
    the next peak came. It takes 30 ms.
    """
    gc.collect()
    _call("malloc_trim", 0)


def set_apart() -> None:
    """Exclude existing objects (modules, the page, its handlers) from garbage collection, which
    begins now if it was disabled for the start.

    A full collection visited these 200,000 objects each time and blocked all requests for 0.13 s.
    And because Python starts one only when a quarter of all objects is new, garbage waited long.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # only this call updates Python's count of objects to visit
    gc.enable()


def _call(function: str, *values: Any) -> None:
    with suppress(AttributeError, OSError, TypeError):  # another libc, another system
        getattr(ctypes.CDLL(None), function)(*values)


CAPACITY: Final = 250
"""For ``state_session_capacity`` of Gradio's ``launch``: two hundred open pages, and their calls.
Pages beyond it keep working: our ``gr.State``s only remember what was drawn, to avoid redrawing."""

_EVERY_S: Final = 60.0
_EVENTS: Final = 100  # events in Gradio's statistics, which it reads at each event and never shows


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

    Gradio would also describe each component that an event changes, in 0.4 ms.
    """
    return SimpleNamespace(default_config=_Undescribed(page.default_config), blocks={})


class _Undescribed:
    """Gradio copies this for each session."""

    def __init__(self, config: Any) -> None:
        self._config = config

    def __copy__(self) -> Any:
        config = copy(self._config)
        config.config_for_block = lambda *_, **__: {}
        return config


def sweep(page: Any) -> None:
    """Forget the sessions of closed pages, unless one of their events is still running."""
    queue = page._queue  # noqa: SLF001
    for session, events in [*queue.pending_event_ids_session.items()]:
        pending = session in queue.pending_messages_per_session
        if not pending and events.isdisjoint(queue.event_ids_to_events):
            del queue.pending_event_ids_session[session]
