"""Limits of an API key, and what counts its requests."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError as PydanticValidationError

from ...errors import ValidationError
from .accounts import TooManyTriesError
from .limit_counters import CounterState, LimitCounters, LocalCounters, counter_key
from .rate_limit import RateLimit

__all__ = ["KeyLimits", "KeyRequests", "key_limits"]

_SOON_S: Final = 5.0  # until a request or a job of the key has probably ended
_LEASE_S: Final = 30.0


class KeyLimits(BaseModel):
    """What a key may do at most; None: as much as its user.

    ``requests`` and ``jobs`` are numbers at a time; a job counts until it has ended. ``per_minute``
    limits requests.
    """

    model_config = ConfigDict(frozen=True)

    requests: int | None = Field(default=None, ge=1, le=1_000)
    jobs: int | None = Field(default=None, ge=1, le=1_000)
    per_minute: int | None = Field(default=None, ge=1, le=100_000)

    def __str__(self) -> str:
        """
        >>> str(KeyLimits(jobs=2, per_minute=60))
        '2 jobs at a time, 60 requests a minute'
        """
        parts = [
            f"{count} {text}"
            for count, text in (
                (self.requests, "requests at a time"),
                (self.jobs, "jobs at a time"),
                (self.per_minute, "requests a minute"),
            )
            if count is not None
        ]
        return ", ".join(parts)


def key_limits(
    requests: int | str | None, jobs: int | str | None, per_minute: int | str | None
) -> KeyLimits:
    """Return limits as a user wrote them; nothing and 0 are no limit.

    Raises:
        ValidationError: a number is too small, too large, or not whole.
    """
    numbers = {"requests": requests, "jobs": jobs, "per_minute": per_minute}
    try:
        return KeyLimits.model_validate(
            {
                name: None if str(count or 0).strip() in {"", "0"} else count
                for name, count in numbers.items()
            }
        )
    except PydanticValidationError as error:
        name = str(error.errors()[0]["loc"][0]).replace("_", " ")
        raise ValidationError(
            f"This is no limit: {name}.", hint="Use a whole number from 1 on, or nothing."
        ) from error


class KeyRequests:
    """The requests of all keys: those in progress, and the rate of each key.

    A request in progress has a lease, so those of an app that was killed do not count for long.
    """

    def __init__(self, counters: LimitCounters | None = None) -> None:
        self._counters = counters or LocalCounters()
        self._running: dict[str, set[str]] = {}  # those of this app with a limit, by key

    @asynccontextmanager
    async def request(self, key_id: str, limits: KeyLimits) -> AsyncIterator[None]:
        """Count a request while the ``with`` block runs.

        Raises:
            TooManyTriesError: a limit is reached.
        """
        async with AsyncExitStack() as stack:
            if limits.requests is not None:
                await stack.enter_async_context(self._lease(key_id, limits.requests, limits))
            if limits.per_minute is not None:
                rate = RateLimit(burst=limits.per_minute, per_minute=limits.per_minute)
                key = counter_key("requests of a key", key_id)
                _refuse(await self._counters.update(key, rate.take), limits)
            yield

    @asynccontextmanager
    async def _lease(self, key_id: str, most: int, limits: KeyLimits) -> AsyncIterator[None]:
        request = secrets.token_hex(8)

        def begin(state: CounterState, now: float) -> tuple[float, CounterState]:
            others = {each: until for each, until in state.items() if until > now}
            if len(others) >= most:
                return _SOON_S, state
            return 0.0, {**others, request: now + _LEASE_S}

        def end(state: CounterState, _: float) -> tuple[float, CounterState]:
            return 0.0, {each: until for each, until in state.items() if each != request}

        _refuse(await self._counters.update(_running_key(key_id), begin), limits)
        self._running.setdefault(key_id, set()).add(request)
        try:
            yield
        finally:
            self._running[key_id].remove(request)
            if not self._running[key_id]:
                del self._running[key_id]
            await self._counters.update(_running_key(key_id), end)

    async def keep_leases(self) -> None:
        """Renew the leases of the requests in progress, until cancelled."""
        while True:
            await asyncio.sleep(_LEASE_S / 3)
            for key_id in [*self._running]:
                await self._counters.update(_running_key(key_id), partial(self._renew, key_id))

    def _renew(self, key_id: str, state: CounterState, now: float) -> tuple[float, CounterState]:
        mine = dict.fromkeys(self._running.get(key_id, ()), now + _LEASE_S)
        return 0.0, {**state, **mine}


def _running_key(key_id: str) -> str:
    return counter_key("running requests of a key", key_id)


def _refuse(wait_s: float, limits: KeyLimits) -> None:
    if wait_s:
        raise TooManyTriesError(wait_s, f"This API key may have {limits}.")
