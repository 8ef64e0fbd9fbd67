"""Work on files beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import TypeVar, TypeVarTuple

__all__ = ["in_thread"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def in_thread(function: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """As ``asyncio.to_thread``; but who is cancelled waits until the thread is done.

    Otherwise it would go on with a file that its owner closes and removes meanwhile, or open one
    for nobody. So ``function`` should not take long.
    """
    run = copy_context().run
    # No task: at the end of a loop each task is cancelled, also one that somebody waits for.
    work = asyncio.get_running_loop().run_in_executor(None, run, function, *arguments)
    try:
        return await asyncio.shield(work)
    finally:
        while not work.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([work])
