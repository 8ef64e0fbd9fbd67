"""Gradio's event queue, woken by each event instead of looking for events each millisecond.

Gradio's loop costs 5 % of a core while no page is open. :class:`WakingQueue` replaces this loop and
inherits everything else. It uses Gradio's internals, so :func:`use_waking_queue` keeps Gradio's
queue if the loop is not the one that was replaced here.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import logging
import time
from contextlib import suppress
from typing import Any, Final

from gradio.queueing import Queue
from gradio.utils import set_task_name

__all__ = ["WakingQueue", "is_known_queue", "use_waking_queue"]

logger = logging.getLogger(__name__)

_REPLACED_LOOP_SHA256: Final = "d65be5a5cbed97d75e13233ab7d0dfc9f347c4ffd33bdcb47293d696f38aaa1f"
"""Of the source of Gradio's ``Queue.start_processing``. Before changing it, compare
:meth:`WakingQueue._start_next` with the new source."""
_PROGRESS_INTERVAL_S: Final = 0.1
"""Gradio looks for ``gr.Progress`` updates each 0.01 s, but the page uses none."""


def is_known_queue() -> bool:
    """Whether this version of Gradio has the loop that :class:`WakingQueue` replaces."""
    try:
        source = inspect.getsource(Queue.start_processing)
    except OSError:  # installed without sources
        return False
    return hashlib.sha256(source.encode()).hexdigest() == _REPLACED_LOOP_SHA256


def use_waking_queue(blocks: Any) -> None:
    """Replace the queue of ``gr.Blocks`` that are not served yet.

    Logs a warning and changes nothing with a version of Gradio that has another loop.
    """
    if not is_known_queue():
        logger.warning("Gradio's event queue has changed, so it polls: this costs 5 % of a core.")
        return
    old = blocks._queue  # noqa: SLF001 -- Gradio has no other way to it
    blocks._queue = WakingQueue(  # noqa: SLF001
        live_updates=old.live_updates,
        concurrency_count=old.max_thread_count,
        update_intervals=old.update_intervals,
        max_size=old.max_size,
        blocks=blocks,
        default_concurrency_limit=old.default_concurrency_limit,
    )


class WakingQueue(Queue):
    """Starts events when one arrives or ends, and sleeps in between."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.progress_update_sleep_when_free = _PROGRESS_INTERVAL_S
        self._changed = asyncio.Event()  # an event may be able to start
        self._loop: asyncio.AbstractEventLoop | None = None

    async def push(self, *args: Any, **options: Any) -> Any:
        """Add an event."""
        try:
            return await super().push(*args, **options)
        finally:
            self._changed.set()

    async def process_events(self, *args: Any, **options: Any) -> None:
        """Run a batch of events, then start those that waited for its place."""
        try:
            await super().process_events(*args, **options)
        finally:
            self._changed.set()

    async def start_processing(self) -> None:
        """Start events until the queue is closed."""
        self._loop = asyncio.get_running_loop()
        try:
            while not self.stopped:
                self._changed.clear()
                while await self._start_next():
                    pass
                await self._changed.wait()
        finally:
            self.stopped = True
            self._cancel_asyncio_tasks()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """End :meth:`start_processing`. Gradio calls this in another thread."""
        super().close()  # type: ignore[no-untyped-call]
        if self._loop is not None:
            with suppress(RuntimeError):  # the server has ended
                self._loop.call_soon_threadsafe(self._changed.set)

    async def _start_next(self) -> bool:
        """Start the next batch of events; False if none can start now."""
        if None not in self.active_jobs:
            return False
        async with self.delete_lock:
            batch = self.get_events()
        if batch is None:
            return False
        events, is_batch, concurrency_id = batch
        fn, started_at = events[0].fn, time.time()
        self.active_jobs[self.active_jobs.index(None)] = events
        of_limit = self.event_queue_per_concurrency_id[concurrency_id]
        of_limit.current_concurrency += 1
        of_limit.start_times_per_fn[fn].add(started_at)
        for event in events:
            if statistics := self.event_analytics.get(event._id):  # noqa: SLF001 -- its only name
                statistics["status"] = "processing"
        task = asyncio.create_task(self.process_events(events, is_batch, started_at, fn))
        first_id = events[0]._id  # noqa: SLF001
        set_task_name(task, events[0].session_hash, fn._id, first_id, is_batch)  # noqa: SLF001
        self._asyncio_tasks.add(task)
        task.add_done_callback(self._asyncio_tasks.discard)
        if self.live_updates:
            self.broadcast_estimations(concurrency_id)
        return True
