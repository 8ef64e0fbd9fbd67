"""Coroutines that finish even if their caller is cancelled, as when a page closes.

A database write always finishes, so the change in memory that follows must happen, too.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)

_DETACHED: Final[set[asyncio.Task[Any]]] = set()


def uncancellable(
    change: Callable[P, Coroutine[Any, Any, R]],
) -> Callable[P, Coroutine[Any, Any, R]]:
    """Let a coroutine function run to its end once it is awaited.

    Cancelling the caller only ends the wait.
    """

    @functools.wraps(change)
    async def changed(*args: P.args, **kwargs: P.kwargs) -> R:
        task = asyncio.create_task(change(*args, **kwargs))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                _DETACHED.add(task)
                task.add_done_callback(_ended)
            raise

    return changed


def _ended(task: asyncio.Task[Any]) -> None:
    _DETACHED.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.info("A change failed after its caller was cancelled: %s", error)
