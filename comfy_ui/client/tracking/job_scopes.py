"""Contexts around the calls that queue a job or wait for it, and what happens if one is left early.

The clients differ only in how they cancel: one blocks for a moment, the other uses a task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from ...errors import ComfyHeadlessError
from ..submission import Runnable
from .job_telemetry import Telemetry
from .tracked_job import TrackedJob

Cancel = Callable[[TrackedJob], object]


class KnownJobs(Protocol):
    """The part of a session that files jobs by their ids."""

    def renamed(self, job: TrackedJob, before: str) -> None: ...

    def drop(self, job: TrackedJob) -> None: ...


@contextmanager
def submitting(
    job: TrackedJob,
    runnable: Runnable,
    known_jobs: KnownJobs,
    telemetry: Telemetry,
    cancel: Cancel | None,
) -> Iterator[None]:
    """Record the post of a job, and keep or drop the job by its outcome.

    ``cancel`` is called if the block is interrupted. None: the caller chose the id, and can cancel
    the job itself.
    """
    prompt_id = job.prompt_id
    try:
        with telemetry.submitting(job, runnable.graph):
            yield
    except ComfyHeadlessError:
        known_jobs.drop(job)
        raise
    except (KeyboardInterrupt, asyncio.CancelledError):
        if cancel is not None:
            cancel(job)
        raise
    if job.prompt_id != prompt_id:
        known_jobs.renamed(job, prompt_id)


@contextmanager
def waiting(job: TrackedJob, telemetry: Telemetry, cancel: Cancel | None) -> Iterator[None]:
    """Record the wait for a job; ``cancel`` it if the block is left before its end."""
    with telemetry.waiting(job):
        try:
            yield
        except BaseException:
            if cancel is not None and job.state.final is None:
                cancel(job)
            raise
