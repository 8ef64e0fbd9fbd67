"""A job that a worker runs."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from typing import Any, Final

from ...protocol.retry import Backoff
from ...storage.records import Job
from ..queue import Handover

_MAX_PAUSE_S: Final = 300.0
_BACKOFF: Final = Backoff(base_s=0.5, cap_s=10.0, attempts=None)


class JobReturnedError(Exception):
    """The job was returned to the queue for another worker."""


class Flag(asyncio.Event):
    """An event that also calls functions when it is set: waiting for several needs no tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.callbacks: list[Callable[[], None]] = []

    def set(self) -> None:
        """Set the event and call the functions."""
        super().set()
        for callback in [*self.callbacks]:
            callback()


class ActiveJob:
    """The state of a job while a worker runs it.

    Attributes:
        job: the job, with the status that the worker has reported last.
        resumed: whether the job comes from an earlier process.
        inherited: whether the job was at a server that is not connected any more.
        may_be_at_server: whether the server may have received the job.
        in_doubt: whether it is unknown if the server has the job.
        busy: whether the job occupies one of the worker's slots at the server.
        started: whether the server is known to have started the job.
        progress_at: when the job made progress last, on the monotonic clock.
        sent_at: when this process sent the job, on the monotonic clock.
        unanswered: whether the server did not answer when this process sent the job.
        server_answers: whether the last request or message says so.
        server_lost_at: when the server became unreachable last, on the monotonic clock.
        accused: whether the job may have killed its server, see :mod:`.server_death`.
        has_uploads: whether the graph uses uploads.
        task: the task that runs the job.
        stop: set when the user cancels the job.
        abandoned: set when a cancelled job is given up because the server is unreachable.
        leave: set when the server has been unreachable for long.
        withdraw: set when the job is to be taken back unless it has started.
    """

    def __init__(self, job: Job, handover: Handover) -> None:
        self.job = job
        self.resumed = handover is not Handover.NEW
        self.inherited = handover is Handover.INHERITED
        self.may_be_at_server = self.resumed
        self.in_doubt = False
        self.busy = job.outputs is None
        self.started = job.started_at is not None
        self.progress_at = time.monotonic()
        self.sent_at: float | None = None
        self.unanswered = False
        self.server_answers = True
        self.server_lost_at: float | None = None
        self.accused: bool | None = None
        self.has_uploads = False
        self.task: asyncio.Task[None] | None = None
        self.stop = Flag()
        self.abandoned = Flag()
        self.leave = Flag()
        self.withdraw = Flag()
        self._failures = 0
        self._uploads_resent = False

    @property
    def prompt_id(self) -> str:
        """ComfyUI's id of the job."""
        return self.job.prompt_id or ""  # every claimed job has one

    def may_resend_uploads(self) -> bool:
        """Whether to send the uploads again after a refusal: true once."""
        first = self.has_uploads and not self._uploads_resent
        self._uploads_resent = True
        return first

    def server_lost(self) -> None:
        """Note the time at which the server became unreachable."""
        if self.server_answers:
            self.server_answers, self.server_lost_at = False, time.monotonic()

    def connected(self) -> None:
        """Reset the backoff."""
        self._failures = 0

    async def pause(self, *, at_least_s: float = 0.0) -> None:
        """Wait before the next attempt; the wait ends if the job is cancelled or taken back."""
        self._failures += 1
        # At least half of the ceiling: the server is offline, so an immediate retry is pointless.
        seconds = _BACKOFF.delay_s(self._failures, jitter=random.uniform(0.5, 1.0)) or 0.0
        seconds = max(seconds, min(at_least_s, _MAX_PAUSE_S))
        if self.stop.is_set():
            await asyncio.sleep(seconds)
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    early = [] if self.may_be_at_server else [self.withdraw]
                    await wait_for_any(self.stop, *early)


async def wait_for_any(*flags: Flag, task: asyncio.Future[Any] | None = None) -> None:
    """Wait until one of the flags is set, or ``task`` is done, which continues otherwise."""
    if any(flag.is_set() for flag in flags):
        return
    woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(_: object = None) -> None:
        if not woken.done():
            woken.set_result(None)

    for flag in flags:
        flag.callbacks.append(wake)
    if task is not None:
        task.add_done_callback(wake)
    try:
        await woken
    finally:
        for flag in flags:
            flag.callbacks.remove(wake)
        if task is not None:
            task.remove_done_callback(wake)


async def cancelled(task: asyncio.Future[Any]) -> None:
    """Cancel a task unless it is done, and wait for its end."""
    if not task.done():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
