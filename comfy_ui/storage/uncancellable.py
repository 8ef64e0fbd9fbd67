"""Changes that are made whole or not at all, also when nobody waits for them any more.

What is written to the database is written even if its caller is cancelled meanwhile, as happens
when a page goes away. What follows from it in memory must then be done, too.
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

_UNWATCHED: Final[set[asyncio.Task[Any]]] = set()


def uncancellable(
    change: Callable[P, Coroutine[Any, Any, R]],
) -> Callable[P, Coroutine[Any, Any, R]]:
    """The coroutine function ``change``, which goes on to its end once it has been awaited.

    Cancelling the caller ends the waiting alone.
    """

    @functools.wraps(change)
    async def changed(*args: P.args, **kwargs: P.kwargs) -> R:
        task = asyncio.create_task(change(*args, **kwargs))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                _UNWATCHED.add(task)
                task.add_done_callback(_ended)
            raise

    return changed


def _ended(task: asyncio.Task[Any]) -> None:
    _UNWATCHED.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.info("A change that nobody waits for any more was not made: %s", error)
