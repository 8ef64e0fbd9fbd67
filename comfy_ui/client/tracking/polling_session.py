"""Tracks the jobs of one blocking client by polling."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from uuid import uuid4

from ...protocol.durations import NodeDurations
from ...protocol.job import new_job
from ..operations import Asker, Flow
from ..submission import Runnable
from .job_tracking import JobTracking
from .tracked_job import JobChanges, TrackedJob

_KEPT_JOBS = 2000


class PollingSession:
    """The jobs of one client. Safe to use from several threads.

    Args:
        asker: gives the clock.
        tracking: the flows that poll.
        drive: runs a flow.
        durations: what earlier runs on the server took.
    """

    def __init__(
        self,
        asker: Asker,
        tracking: JobTracking,
        drive: Callable[[Flow[float]], float],
        *,
        durations: NodeDurations,
    ) -> None:
        self._clock = asker.clock
        self._tracking = tracking
        self._drive = drive
        self._durations = durations
        self._jobs: dict[str, TrackedJob] = {}

    def new_job(self, prompt_id: str, runnable: Runnable) -> TrackedJob:
        """Create a job before its post, and keep it: its graph gives its progress a meaning."""
        state = new_job(
            prompt_id, now=self._clock(), graph=runnable.graph, durations=self._durations
        )
        # Without a clientId the server would send the job's messages to every socket.
        job = self._jobs[prompt_id] = TrackedJob(state, runnable=runnable, client_id=str(uuid4()))
        while len(self._jobs) > _KEPT_JOBS:
            del self._jobs[next(iter(self._jobs))]
        return job

    def job(self, prompt_id: str) -> TrackedJob:
        """A job queued here, or another client's."""
        job = self._jobs.get(prompt_id)
        if job is not None:
            return job
        return TrackedJob(
            new_job(prompt_id, now=self._clock(), accepted=True, durations=self._durations)
        )

    def renamed(self, job: TrackedJob, before: str) -> None:
        """File a job under the id that the server assigned."""
        self._jobs[job.prompt_id] = self._jobs.pop(before, job)

    def drop(self, job: TrackedJob) -> None:
        """Forget a job; it can still be tracked."""
        self._jobs.pop(job.prompt_id, None)

    def changes(
        self, job: TrackedJob, *, timeout_s: float | None, cancels: bool
    ) -> Iterator[JobChanges]:
        """Yield once after each poll of the job; the last time when it is settled.

        ``cancels``: the caller cancels the job after a time-out.
        """
        changes = JobChanges(job)
        deadline = None if timeout_s is None else self._clock() + timeout_s
        while True:
            settled = job.settled
            yield changes
            if settled:
                return
            if deadline is not None and timeout_s is not None and self._clock() >= deadline:
                raise job.timed_out(timeout_s, cancels=cancels)
            self.poll([job], deadline=deadline)

    def poll(self, jobs: Sequence[TrackedJob], *, deadline: float | None = None) -> None:
        """Poll jobs; unless one is settled then, sleep until the next poll is due."""
        next_poll_at = self._drive(self._tracking.tend(jobs, deadline=deadline))
        if not any(job.settled for job in jobs):
            next_poll_at = next_poll_at if deadline is None else min(next_poll_at, deadline)
            time.sleep(max(0.0, next_poll_at - self._clock()))
