"""One job in a worker's hands."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterator
from typing import Final

from ..storage.records import Job
from .queue import Claim

_PAUSES_S: Final = (0.5, 10.0)  # between two tries at a server that is away: first, longest


class JobReturnedError(Exception):
    """The job is another worker's now."""


class ActiveJob:
    """One job in this worker's hands."""

    def __init__(self, claim: Claim) -> None:
        self.job: Job = claim.job
        self.resumed = claim.resumed
        self.may_be_at_server = claim.resumed
        self.inherited = claim.inherited
        self.in_doubt = False  # it is being found out whether it is there
        self.busy = claim.job.outputs is None  # takes one of the places at the server
        self.stop = asyncio.Event()
        self.abandoned = asyncio.Event()  # to be stopped, and the server cannot be asked
        self.leave = asyncio.Event()  # the server has been out of reach for long
        self.task: asyncio.Task[None] | None = None
        self._pauses = _pauses()
        self.has_uploads = False
        self._tried_twice = False

    @property
    def prompt_id(self) -> str:
        return self.job.prompt_id or ""  # every claimed job has one

    def takes_second_try(self) -> bool:
        """Whether to hand over the uploads once more after a refusal: yes, once."""
        again = self.has_uploads and not self._tried_twice
        self._tried_twice = True
        return again

    def connected(self) -> None:
        self._pauses = _pauses()

    async def pause(self) -> None:
        """Wait before the next try; a request to stop cuts the first such wait short."""
        seconds = next(self._pauses)
        if self.stop.is_set():
            await asyncio.sleep(seconds)
        else:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stop.wait(), seconds)


def _pauses() -> Iterator[float]:
    first, longest = _PAUSES_S
    while True:
        yield first * random.uniform(0.5, 1.0)
        first = min(first * 2, longest)
