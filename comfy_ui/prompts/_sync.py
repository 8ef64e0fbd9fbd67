"""Run a coroutine to completion from synchronous code."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

__all__ = ["run_sync"]

T = TypeVar("T")


def run_sync(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` to completion; in its own thread if an event loop is running (notebooks)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        runs_here = True
    else:
        runs_here = False
    if runs_here:  # outside of the handler, which every traceback of `work` would show
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
