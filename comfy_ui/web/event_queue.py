"""Gradio's event queue, woken by each event instead of looking for events each millisecond.

Gradio's loop costs 5 % of a core while no page is open. :class:`WakingQueue` replaces this loop and
inherits everything else. It uses Gradio's internals, so :func:`use_waking_queue` keeps Gradio's
queue if the loop is not the one that was replaced here. :func:`log_tracebacks` logs the errors of
events, which Gradio prints, and :func:`skip_needless_work` makes the start and each event cheaper.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import logging
import sys
import time
import traceback
from collections.abc import Callable, Container
from contextlib import nullcontext, suppress
from functools import wraps
from types import SimpleNamespace
from typing import Any, Final

import anyio.to_thread
from gradio import blocks, processing_utils, queueing, route_utils, routes, utils
from gradio.components import HTML, Textbox
from gradio.data_classes import GradioModel, GradioRootModel
from gradio.queueing import Queue
from gradio.utils import set_task_name

from ..errors import ComfyHeadlessError

__all__ = [
    "WakingQueue",
    "is_known_queue",
    "log_tracebacks",
    "skip_needless_work",
    "use_waking_queue",
]

logger = logging.getLogger(__name__)

_REPLACED_LOOP_SHA256: Final = "d65be5a5cbed97d75e13233ab7d0dfc9f347c4ffd33bdcb47293d696f38aaa1f"
"""Of the source of Gradio's ``Queue.start_processing``. Before changing it, compare
:meth:`WakingQueue._start_next` with the new source."""
_PROGRESS_INTERVAL_S: Final = 0.1
"""Gradio looks for ``gr.Progress`` updates each 0.01 s, but the page uses none."""
_BROADCAST_INTERVAL_S: Final = 0.5


def is_known_queue() -> bool:
    """Whether this version of Gradio has the loop that :class:`WakingQueue` replaces."""
    try:
        source = inspect.getsource(Queue.start_processing)
    except OSError:  # installed without sources
        return False
    return hashlib.sha256(source.encode()).hexdigest() == _REPLACED_LOOP_SHA256


def use_waking_queue(
    blocks: Any,
    limit: Callable[[Any], tuple[str, int]] | None = None,
    *,
    ended_with_caller: Container[str] = (),
) -> None:
    """Replace the queue of ``gr.Blocks`` that are not served yet.

    Logs a warning and changes nothing with a version of Gradio that has another loop.

    Args:
        blocks: the page.
        limit: returns the caller of a request and how many events it may have in the queue.
        ended_with_caller: names of the events that are cancelled when their caller hangs up; all
            others continue, generators until they yield.
    """
    if not is_known_queue():
        logger.warning("Gradio's event queue has changed, so it polls: this costs 5 % of a core.")
        return
    old = blocks._queue  # noqa: SLF001 -- Gradio has no other way to it
    blocks._queue = WakingQueue(  # noqa: SLF001
        limit,
        ended_with_caller,
        live_updates=old.live_updates,
        concurrency_count=old.max_thread_count,
        update_intervals=old.update_intervals,
        max_size=old.max_size,
        blocks=blocks,
        default_concurrency_limit=old.default_concurrency_limit,
    )


def log_tracebacks() -> None:
    """Make Gradio log the errors of handlers, so that the redaction of the log applies.

    Gradio prints them and has no setting for that.
    """
    logged = SimpleNamespace(**{**vars(traceback), "print_exc": _log_error})
    modules: tuple[Any, ...] = (queueing, route_utils, routes, utils)
    for module in modules:
        module.traceback = logged


def _log_error(*_: Any, **__: Any) -> None:
    """Log the current exception; one of ours is a refusal and has no traceback."""
    error = sys.exc_info()[1]
    if isinstance(error, ComfyHeadlessError):
        logger.info("%s", error)
    else:
        logger.error("A handler failed.", exc_info=error)


def skip_needless_work() -> None:
    """Make Gradio's start and its events cheaper, with the same results.

    Gradio makes a web app with 82 routes at each of four steps, and serves the last one: half of
    the time of a start. Call this before the page is built.

    For each update Gradio searches the disk for matplotlib twice, 0.3 ms each if it is not
    installed, and copies JSON value by value, three times, in search of files: 2 ms for 1,000
    values. No handler of this app plots, and JSON without a "path" holds no file. Threads check
    the login of each request and convert each value, which takes microseconds without one.
    """
    replaced: Any = routes
    if not hasattr(replaced.Depends, "__wrapped__"):
        replaced.Depends = _without_thread(replaced.Depends)
    if not hasattr(routes.App.create_app, "__wrapped__"):
        replaced.App.create_app = staticmethod(_only_if_built(routes.App.create_app))
    replaced = blocks
    replaced.anyio = SimpleNamespace(to_thread=SimpleNamespace(run_sync=_run_sync))
    replaced = utils
    replaced.MatplotlibBackendMananger = nullcontext
    replaced = processing_utils
    for name in ("async_move_files_to_cache", "add_root_url"):
        function = getattr(processing_utils, name)
        if not hasattr(function, "__wrapped__"):
            setattr(replaced, name, _only_with_paths(function))


def _only_if_built(create_app: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap Gradio's ``create_app`` so that it makes no app of a page that is still being built."""

    @wraps(create_app)
    def create(page: Any, *args: Any, **options: Any) -> Any:
        return create_app(page, *args, **options) if getattr(page, "exited", False) else None

    return create


def _without_thread(depends: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap FastAPI's ``Depends`` so that Gradio's check of a login runs in the event loop."""

    @wraps(depends)
    def depend(dependency: Any = None, **options: Any) -> Any:
        if getattr(dependency, "__name__", "") != "login_check":
            return depends(dependency, **options)

        @wraps(dependency)
        async def check(*args: Any, **values: Any) -> Any:
            return dependency(*args, **values)

        return depends(check, **options)

    return depend


async def _run_sync(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Run a function in a thread, unless it converts a value of text or HTML."""
    name, component = getattr(function, "__name__", ""), getattr(function, "__self__", None)
    if name in {"preprocess", "postprocess"} and isinstance(component, (HTML, Textbox)):
        return function(*args)
    return await anyio.to_thread.run_sync(function, *args, **options)


def _only_with_paths(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function of Gradio so that it returns data without a "path" as it is."""
    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def move(data: Any, *args: Any, **options: Any) -> Any:
            return await function(data, *args, **options) if _has_path(data) else data

        return move

    @wraps(function)
    def add(data: Any, *args: Any, **options: Any) -> Any:
        return function(data, *args, **options) if _has_path(data) else data

    return add


def _has_path(data: Any) -> bool:
    """Whether data holds an object with a "path", as files of Gradio do, or may hold one."""
    if isinstance(data, (GradioModel, GradioRootModel)):
        return True
    values = [data]
    for value in values:
        if isinstance(value, dict):
            if "path" in value:
                return True
            values.extend(value.values())
        elif isinstance(value, (list, tuple)):
            values.extend(value)
    return False


class WakingQueue(Queue):
    """Starts events when one arrives or ends, and sleeps in between."""

    def __init__(
        self,
        limit: Callable[[Any], tuple[str, int]] | None = None,
        ended_with_caller: Container[str] = (),
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._limit = limit
        self._ended_with_caller = ended_with_caller
        self._endable: dict[str, asyncio.Task[None]] = {}  # by the id of the event
        self._events: dict[str, set[str]] = {}  # ids of the events of each caller
        self._broadcast_at: dict[str, float] = {}  # by concurrency id
        self.progress_update_sleep_when_free = _PROGRESS_INTERVAL_S
        self.ANALYTICS_MAX_EVENTS = 1
        self._changed = asyncio.Event()  # an event may be able to start
        self._loop: asyncio.AbstractEventLoop | None = None

    async def push(self, body: Any, request: Any, username: str | None) -> Any:
        """Add an event, unless its caller already has many that have not ended."""
        caller, most = self._limit(request) if self._limit else ("", 0)
        if most and self._has(caller, most):
            return False, "Too many requests at once. Wait until some have ended.", "queue_full"
        try:
            added, event_id, state = await super().push(body, request, username)
        finally:
            self._changed.set()
        if added and most:
            self._events.setdefault(caller, set()).add(str(event_id))
        return added, event_id, state

    def _has(self, caller: str, most: int) -> bool:
        """Whether that many events of a caller wait or run."""
        if len(self._events.get(caller, ())) < most:
            return False
        waiting = [
            event for each in self.event_queue_per_concurrency_id.values() for event in each.queue
        ]
        running = [event for batch in self.active_jobs if batch for event in batch]
        unfinished = {event._id for event in (*waiting, *running)}  # noqa: SLF001 -- its only name
        events = {each: ids & unfinished for each, ids in self._events.items()}
        self._events = {each: ids for each, ids in events.items() if ids}
        return len(self._events.get(caller, ())) >= most

    def broadcast_estimations(self, concurrency_id: str, after: int | None = None) -> None:
        """Send the waiting events their positions, at most twice a second.

        Gradio does so whenever an event starts, which takes quadratic time.
        """
        now = time.monotonic()
        if after is None:
            if now - self._broadcast_at.get(concurrency_id, 0.0) < _BROADCAST_INTERVAL_S:
                return
            self._broadcast_at[concurrency_id] = now
        super().broadcast_estimations(concurrency_id, after)

    def compute_analytics_summary(self, _records: Any) -> Any:
        """Return the empty summary: Gradio's monitoring page, its only reader, is turned off.

        Gradio builds a data frame of the last 10,000 events after each one, which takes 8 to 23 ms.
        """
        return self.cached_event_analytics_summary

    async def clean_events(
        self, *, session_hash: str | None = None, event_id: str | None = None
    ) -> None:
        """End the events of a caller that has hung up."""
        await super().clean_events(session_hash=session_hash, event_id=event_id)
        for batch in self.active_jobs:
            for event in batch or ():
                if not event.alive and event._id in self._endable:  # noqa: SLF001 -- its only name
                    self._endable[event._id].cancel()  # noqa: SLF001

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
            self._cancel_asyncio_tasks()  # type: ignore[no-untyped-call]  # Gradio has no types

    def close(self) -> None:
        """End :meth:`start_processing`. Gradio calls this in another thread."""
        super().close()  # type: ignore[no-untyped-call]  # Gradio has no types
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
        if fn.api_name in self._ended_with_caller:
            self._endable[first_id] = task
            task.add_done_callback(lambda _: self._endable.pop(first_id, None))
        if self.live_updates:
            self.broadcast_estimations(concurrency_id)
        return True
