"""Blocking work in a thread, for the async client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import TypeVar, TypeVarTuple

__all__ = ["run_in_thread"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def run_in_thread(function: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """Run a function in a thread; if the task is cancelled, still wait until the thread is done.

    ``asyncio.to_thread`` would leave the thread running with a file that the cancelled task closes
    and removes meanwhile. For short functions only.
    """
    run = copy_context().run
    # A future, not a task: asyncio.run cancels all tasks at the end, awaited or not.
    work = asyncio.get_running_loop().run_in_executor(None, run, function, *arguments)
    try:
        return await asyncio.shield(work)
    finally:
        while not work.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([work])
