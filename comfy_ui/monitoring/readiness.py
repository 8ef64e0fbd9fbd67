"""Readiness: the checks behind ``/readyz`` of the app and of a worker."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

from ..errors import ComfyHeadlessError

logger = logging.getLogger(__name__)

ReadinessCheck: TypeAlias = Callable[[], Awaitable[str | None]]
"""Returns one word that says what is wrong, or None. An error counts as the name of the check."""

_LIMIT_S: Final = 3.0  # balancers wait for a few seconds
_AGE_S: Final = 1.0


class Readiness:
    """Runs named checks at the same time, and answers within seconds.

    A check that takes longer than ``limit_s`` fails; it goes on, and is not started a second time
    meanwhile, so that a file system that hangs does not collect threads. An outcome counts for
    ``age_s``, so requests cost nothing, however many come.
    """

    def __init__(
        self,
        checks: Mapping[str, ReadinessCheck],
        *,
        limit_s: float = _LIMIT_S,
        age_s: float = _AGE_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._checks = checks
        self._limit_s = limit_s
        self._age_s = age_s
        self._now = now
        self._running: dict[str, asyncio.Future[str | None]] = {}
        self._lock = asyncio.Lock()
        self._problem: str | None = None
        self._valid_until = float("-inf")

    async def problem(self) -> str | None:
        """Return the first problem in the order of the checks, or None: ready."""
        async with self._lock:
            if self._now() < self._valid_until:
                return self._problem
            for name, check in self._checks.items():
                if name not in self._running:
                    self._running[name] = asyncio.ensure_future(check())
            await asyncio.wait(self._running.values(), timeout=self._limit_s)
            problems = [problem for name in self._checks if (problem := self._outcome(name))]
            before, self._problem = self._problem, problems[0] if problems else None
            if before != self._problem:
                logger.warning(
                    "Not ready: %s" if problems else "Ready again%s", *problems[:1] or ("",)
                )
            self._valid_until = self._now() + self._age_s
            return self._problem

    def _outcome(self, name: str) -> str | None:
        running = self._running[name]
        if not running.done():
            logger.info("The check of the %s takes longer than %g s.", name, self._limit_s)
            return name
        del self._running[name]
        if running.cancelled():
            return name
        error = running.exception()
        if error is None:
            return running.result()
        known = isinstance(error, (ComfyHeadlessError, OSError))
        logger.info(
            "The check of the %s failed: %s", name, error, exc_info=None if known else error
        )
        return name

    async def aclose(self) -> None:
        """Cancel the checks that still run."""
        for running in self._running.values():
            running.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
