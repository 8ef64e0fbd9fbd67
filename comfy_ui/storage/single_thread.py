"""A single thread for blocking calls from an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class SingleThread:
    """Runs blocking calls one after the other, in order.

    A call continues if its caller is cancelled. The thread starts with the first call.
    """

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a call in the thread and return its result."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, partial(call, *args, **kwargs))

    async def close(self, last: Callable[[], None] = lambda: None) -> None:
        """Finish queued calls, call ``last``, and end the thread. May be called twice."""
        try:
            await self.run(last)
        except RuntimeError:  # already closed
            return
        self._executor.shutdown()  # idle now: does not block
