"""The callbacks that both clients accept."""

from __future__ import annotations

import logging
from typing import Protocol

from ..protocol.progress import Progress

logger = logging.getLogger(__name__)


class OnProgress(Protocol):
    """A function that takes the newest progress of a job.

    For :class:`.ComfyWSClient` it may also be async.
    """

    def __call__(self, progress: Progress, /) -> object: ...


def log_callback_error(name: str, error: Exception) -> None:
    """Log an exception of the caller's callback; the job continues."""
    logger.error("%s raised; the job continues", name, exc_info=error)
