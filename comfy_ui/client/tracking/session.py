"""The jobs of one async client: one socket and one poller for all of them.

A message changes its job when it arrives and wakes the tasks that wait for it, which then read the
newest state. The reader waits for no task, so a slow callback cannot block the socket.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from uuid import uuid4

from ...protocol.durations import NodeDurations
from ...protocol.job import ConnectionLost, ConnectionRegained, is_deaf, new_job, poll_due
from ...protocol.messages import Message, QueueStatus
from ..api.server_api import LiveFeed, OnChange, OnMessage
from ..operations import Asker, Flow
from ..submission import Runnable
from .job_telemetry import Telemetry
from .job_tracking import JobTracking
from .tracked_job import JobChanges, Observer, TrackedJob

logger = logging.getLogger(__name__)

# Jobs are kept so that they can be awaited later; stopped ones have no result, so fewer of them.
_KEPT_JOBS = 2000
_KEPT_STOPPED = 100
_DEAF_S = 2.0
_STATUS_S = 1.0
_TICK_S = 0.5  # how often progress is reported while a node runs without a message


class Session:
    """The jobs of one client, within one event loop.

    Args:
        open_feed: opens the messages that the server pushes.
        asker: gives the clock.
        tracking: the flows that poll and cancel.
        drive: runs a flow.
        telemetry: records reconnects and queue depths.
        observer: called on every change of a job.
        durations: what earlier runs on the server took; learns from the jobs.
    """

    def __init__(
        self,
        open_feed: Callable[[OnMessage, OnChange], LiveFeed],
        asker: Asker,
        tracking: JobTracking,
        drive: Callable[[Flow[float]], Awaitable[float]],
        *,
        telemetry: Telemetry,
        observer: Observer,
        durations: NodeDurations,
    ) -> None:
        self._clock = asker.clock
        self._tracking = tracking
        self._drive = drive
        self._telemetry = telemetry
        self._observer = observer
        self._durations = durations
        self._feed = open_feed(self._received, self._connected)
        self._jobs: dict[str, TrackedJob] = {}
        self._stopped: deque[TrackedJob] = deque()
        # By prompt_id; True: set at the end only.
        self._waiting: dict[str, dict[asyncio.Event, bool]] = {}
        self._poller: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._next_poll_at = math.inf
        self._heard_at = 0.0
        self._was_open = False
        self._status: QueueStatus | None = None

    async def new_job(self, prompt_id: str, runnable: Runnable) -> TrackedJob:
        """Create a job before its post, so that no message about it is missed."""
        client_id = await self._feed.ready()
        state = new_job(
            prompt_id,
            now=self._clock(),
            graph=runnable.graph,
            listening=client_id is not None,
            durations=self._durations,
        )
        # Without a clientId the server would send the job's messages to every socket.
        client_id = client_id or str(uuid4())
        return self._keep(
            TrackedJob(state, runnable=runnable, client_id=client_id, on_change=self._changed)
        )

    def job(self, prompt_id: str) -> TrackedJob:
        """A job queued here, or another client's, which is kept while a task waits for it."""
        job = self._jobs.get(prompt_id)
        if job is not None and job.error is None:
            return job
        state = new_job(prompt_id, now=self._clock(), accepted=True, durations=self._durations)
        job = self._keep(TrackedJob(state, on_change=self._changed))
        job.taken = True
        return job

    def renamed(self, job: TrackedJob, before: str) -> None:
        """File a job under the id that the server assigned."""
        self._jobs.pop(before, None)
        self._jobs[job.prompt_id] = job

    def drop(self, job: TrackedJob) -> None:
        """Forget a job once no task waits for it; it can still be tracked, by polling."""
        job.taken = True
        if job.prompt_id not in self._waiting:
            self._forget(job)

    @contextmanager
    def watching(self, job: TrackedJob, *, end_only: bool = False) -> Iterator[asyncio.Event]:
        """Poll a job where needed while inside; the event is set on every change.

        ``end_only``: set it only when the job is settled, so that frames do not wake the task.
        """
        event = asyncio.Event()
        self._jobs.setdefault(job.prompt_id, job)
        self._waiting.setdefault(job.prompt_id, {})[event] = end_only
        self._feed.want(self._waiting)
        self._nudge(poll_due(job.state, self._clock()))
        if self._poller is None:
            # It serves all jobs, so it must not join the trace of the one that starts it.
            self._poller = asyncio.create_task(
                self._poll(), name="comfy-ui poller", context=Context()
            )
        try:
            yield event
        finally:
            watchers = self._waiting[job.prompt_id]
            del watchers[event]
            if not watchers:
                del self._waiting[job.prompt_id]
                self._unwatched(job)
            self._feed.want(self._waiting)

    async def ended(self, job: TrackedJob, *, timeout_s: float | None, cancels: bool) -> None:
        """Wait until the job is settled; arguments and time-out as in :meth:`changes`."""
        with self.watching(job, end_only=True) as settled:
            if job.settled:
                return
            if timeout_s is None:
                await settled.wait()
                return
            try:
                async with asyncio.timeout(timeout_s):
                    await settled.wait()
            except TimeoutError:
                if not job.settled:
                    raise job.timed_out(timeout_s, cancels=cancels) from None

    async def changes(
        self, job: TrackedJob, *, timeout_s: float | None, cancels: bool
    ) -> AsyncGenerator[JobChanges, None]:
        """Yield after each change of the job, and as time passes while it runs.

        The last time is when it is settled. ``cancels``: the caller cancels the job after a
        time-out.
        """
        changes = JobChanges(job)
        deadline = None if timeout_s is None else self._clock() + timeout_s
        with self.watching(job) as changed:
            while True:
                changed.clear()
                settled = job.settled
                yield changes
                if settled:
                    return
                waits_s = [_TICK_S] if job.state.running else []
                if deadline is not None:
                    waits_s.append(deadline - self._clock())
                if not waits_s:
                    await changed.wait()
                    continue
                try:
                    async with asyncio.timeout(min(waits_s)):
                        await changed.wait()
                except TimeoutError:
                    if deadline is not None and timeout_s is not None and self._clock() >= deadline:
                        raise job.timed_out(timeout_s, cancels=cancels) from None

    async def close(self) -> None:
        """Close the socket and end all tasks."""
        await self._feed.close()
        if self._timer is not None:
            self._timer.cancel()
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)
            self._poller = None

    # -- the socket

    def _received(self, client_id: str, message: Message) -> None:
        now = self._heard_at = self._clock()
        if isinstance(message, QueueStatus):
            # It concerns all jobs, so it is applied to all of them at the next poll.
            if self._status is None:
                self._nudge(now + _STATUS_S)
            self._status = message
            if message.queue_remaining is not None:
                self._telemetry.queue_depth(message.queue_remaining)
            return
        prompt_id = getattr(message, "prompt_id", None)
        if prompt_id is not None:
            job = self._jobs.get(prompt_id)
            if job is not None:
                job.apply(message, now)
            return
        for job in [*self._jobs.values()]:  # previews of old servers carry no prompt_id
            if job.state.running and job.client_id == client_id:
                job.apply(message, now)

    def _connected(self, client_id: str | None) -> None:
        now = self._heard_at = self._clock()
        if client_id is not None:
            if self._was_open:
                self._telemetry.reconnected()
            self._was_open = True
        event = (
            ConnectionLost(silent=self._feed.fell_silent)
            if client_id is None
            else ConnectionRegained(listening=False)
        )
        for job in [*self._jobs.values()]:
            # This connection carries no messages of jobs queued under an earlier clientId.
            if client_id is not None or job.state.listening:
                job.apply(event, now)

    # -- polling

    def _changed(self, job: TrackedJob) -> None:
        state, settled = job.state, job.settled
        watchers = self._waiting.get(state.prompt_id)
        if watchers:
            for event, end_only in watchers.items():
                if settled or not end_only:
                    event.set()
        elif settled:
            self._unwatched(job)
        now = self._clock()
        if not settled:
            self._nudge(poll_due(state, now))
        elif is_deaf(state, now):
            self._suspect()

    def _nudge(self, due_at: float) -> None:
        """Wake the poller at ``due`` at the latest."""
        if due_at < self._next_poll_at:
            self._next_poll_at = due_at
            if self._timer is not None:
                self._timer.cancel()
            delay_s = max(0.0, due_at - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._wake.set)

    async def _poll(self) -> None:
        watched: list[TrackedJob] = []
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                self._next_poll_at = math.inf
                watched = [self._jobs[prompt_id] for prompt_id in self._waiting]
                self._spread_status(watched)
                self._nudge(await self._drive(self._tracking.tend(watched)))
                if any(is_deaf(job.state, self._clock()) for job in watched):
                    self._suspect()
        except Exception as error:  # the waiting tasks must end, whatever it was
            for job in watched:
                job.give_up(error)
            raise
        finally:
            self._poller = None

    def _spread_status(self, jobs: list[TrackedJob]) -> None:
        if self._status is not None:
            for job in jobs:
                job.apply(self._status, self._clock())
            self._status = None

    def _suspect(self) -> None:
        """Reopen the socket unless it carries a message soon: it missed one."""
        asyncio.get_running_loop().call_later(_DEAF_S, self._cycle_unless_heard, self._heard_at)

    def _cycle_unless_heard(self, before: float) -> None:
        if self._heard_at == before:
            logger.info("The socket has gone deaf; opening another")
            self._feed.cycle()

    def _unwatched(self, job: TrackedJob) -> None:
        job.forget_preview()
        if job.taken:
            self._forget(job)
        elif job.was_stopped and job not in self._stopped:
            self._stopped.append(job)
            if len(self._stopped) > _KEPT_STOPPED:
                self.drop(self._stopped.popleft())

    def _forget(self, job: TrackedJob) -> None:
        if self._jobs.get(job.prompt_id) is job:
            del self._jobs[job.prompt_id]

    def _keep(self, job: TrackedJob) -> TrackedJob:
        job.observers.append(self._observer)
        self._jobs[job.prompt_id] = job
        if len(self._jobs) > _KEPT_JOBS:
            for prompt_id in list(self._jobs):
                if prompt_id not in self._waiting and prompt_id != job.prompt_id:
                    del self._jobs[prompt_id]
                    break
        return job
