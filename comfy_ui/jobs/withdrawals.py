"""Requests to take jobs back from the queues of servers, before they start."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

_PATIENCE_S: Final = 6.0  # longer than the worker's own limit for the requests to its server


class Withdrawals:
    """The open requests, by job id.

    A request stays open while the server does not answer.
    """

    def __init__(self) -> None:
        self._requests: dict[str, asyncio.Future[bool]] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._requests

    def request(self, job_id: str) -> asyncio.Future[bool]:
        """Open a request; return its future outcome, whether the job waits here again."""
        if job_id not in self._requests:
            self._requests[job_id] = asyncio.get_running_loop().create_future()
        return self._requests[job_id]

    def close(self, job_id: str, *, withdrawn: bool) -> None:
        """Close the request of a job, if there is one."""
        request = self._requests.pop(job_id, None)
        if request is not None and not request.done():
            request.set_result(withdrawn)

    async def wait(self, requests: Iterable[asyncio.Future[bool]]) -> None:
        """Wait for the outcome of requests, but not long: a server may not answer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                await asyncio.gather(*map(asyncio.shield, requests))
