"""A job that a worker runs."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Final

from ..protocol.retry import Backoff
from ..storage.records import Job
from .queue import Handover

_BACKOFF: Final = Backoff(base_s=0.5, cap_s=10.0, attempts=None)


class JobReturnedError(Exception):
    """The job was returned to the queue for another worker."""


class ActiveJob:
    """The state of a job while a worker runs it.

    Attributes:
        job: the job, with the status that the worker has reported last.
        resumed: whether the job comes from an earlier process.
        inherited: whether the job was at a server that is not connected any more.
        may_be_at_server: whether the server may have received the job.
        in_doubt: whether it is unknown if the server has the job.
        busy: whether the job occupies one of the worker's slots at the server.
        has_uploads: whether the graph uses uploads.
        task: the task that runs the job.
        stop: set when the user cancels the job.
        abandoned: set when a cancelled job is given up because the server is unreachable.
        leave: set when the server has been unreachable for long.
    """

    def __init__(self, job: Job, handover: Handover) -> None:
        self.job = job
        self.resumed = handover is not Handover.NEW
        self.inherited = handover is Handover.INHERITED
        self.may_be_at_server = self.resumed
        self.in_doubt = False
        self.busy = job.outputs is None
        self.has_uploads = False
        self.task: asyncio.Task[None] | None = None
        self.stop = asyncio.Event()
        self.abandoned = asyncio.Event()
        self.leave = asyncio.Event()
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

    def connected(self) -> None:
        """Reset the backoff."""
        self._failures = 0

    async def pause(self) -> None:
        """Wait before the next attempt; cancelling the job ends the wait."""
        self._failures += 1
        # At least half of the ceiling: the server is offline, so an immediate retry is pointless.
        seconds = _BACKOFF.delay_s(self._failures, jitter=random.uniform(0.5, 1.0)) or 0.0
        if self.stop.is_set():
            await asyncio.sleep(seconds)
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.stop.wait()
