"""A log of refusals that an attack cannot fill: one line per reason and minute, with a count."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Final

__all__ = ["RefusalLog"]

_INTERVAL_S: Final = 60.0


class RefusalLog:
    """Logs the first refusal for each reason at once and counts the others of the same minute.

    Args:
        logger: receives the lines, as warnings.
        interval_s: the time between two lines for one reason.
    """

    def __init__(self, logger: logging.Logger, *, interval_s: float = _INTERVAL_S) -> None:
        self._logger = logger
        self._interval_s = interval_s
        self._counts: Counter[str] = Counter()
        self._pausing: set[str] = set()

    def add(self, reason: str) -> None:
        """Record one refusal. Call this in the event loop."""
        if reason in self._pausing:
            self._counts[reason] += 1
            return
        self._logger.warning("%s", reason)
        self._pause(reason)

    def _pause(self, reason: str) -> None:
        self._pausing.add(reason)
        asyncio.get_running_loop().call_later(self._interval_s, self._resume, reason)

    def _resume(self, reason: str) -> None:
        self._pausing.discard(reason)
        if count := self._counts.pop(reason, 0):
            self._logger.warning("%s (%s more times)", reason, f"{count:,}")
            self._pause(reason)
