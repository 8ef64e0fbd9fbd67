"""The callbacks that both clients accept."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Protocol, TypeVar, TypeVarTuple

from ..errors import ComfyHeadlessError
from ..protocol.progress import Progress

logger = logging.getLogger(__name__)

Result_contra = TypeVar("Result_contra", contravariant=True)
Ts = TypeVarTuple("Ts")


class OnProgress(Protocol):
    """A function that takes the newest progress of a job.

    For :class:`.ComfyWSClient` it may also be async.
    """

    def __call__(self, progress: Progress, /) -> object: ...


class OnResult(Protocol[Result_contra]):
    """A function that takes the index of a workflow in a batch and its result or error.

    For :class:`.ComfyWSClient` it may also be async.
    """

    def __call__(self, index: int, outcome: Result_contra | ComfyHeadlessError, /) -> object: ...


def call_back(name: str, callback: Callable[[*Ts], object], *arguments: *Ts) -> None:
    """Call a callback; log an exception in it, so that the job continues."""
    try:
        callback(*arguments)
    except Exception as error:  # noqa: BLE001 -- whatever the caller's function raises
        _log_error(name, error)


async def await_callback(name: str, callback: Callable[[*Ts], object], *arguments: *Ts) -> None:
    """Call a plain or async callback; log an exception in it, so that the job continues."""
    try:
        returned = callback(*arguments)
        if inspect.isawaitable(returned):
            await returned
    except Exception as error:  # noqa: BLE001 -- whatever the caller's function raises
        _log_error(name, error)


def _log_error(name: str, error: Exception) -> None:
    logger.error("%s raised; the job continues", name, exc_info=error)
