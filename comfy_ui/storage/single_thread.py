"""One thread for blocking work, seen from the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class SingleThread:
    """Runs calls one after the other, in the order in which they were asked for.

    A call whose caller was cancelled still runs to its end. The thread begins with the first call.
    """

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, partial(call, *args, **kwargs))

    async def close(self, last: Callable[[], None] = lambda: None) -> None:
        """Let what was asked for finish, call ``last``, end the thread. May be called twice."""
        try:
            await self.run(last)
        except RuntimeError:  # closed before
            return
        self._executor.shutdown()  # idle now: does not block
