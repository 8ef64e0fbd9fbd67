"""Limits of an API key. Pure: the clock is a parameter."""

from __future__ import annotations

from collections import Counter
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError as PydanticValidationError

from ...errors import ValidationError
from .rate_limit import RateLimit, TokenBucket

__all__ = ["KeyLimits", "KeyRequests", "key_limits"]

_SOON_S: Final = 5.0  # until a request or a job of the key has probably ended


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
    """The requests of all keys: those in progress, and the rate of each key."""

    def __init__(self) -> None:
        self._running: Counter[str] = Counter()
        self._buckets: dict[str, TokenBucket] = {}

    def begin(self, key_id: str, limits: KeyLimits, now: float) -> float:
        """Count a request and return 0, or return the seconds until one may be possible."""
        if limits.requests is not None and self._running[key_id] >= limits.requests:
            return _SOON_S
        if limits.per_minute is not None:
            pace = RateLimit(burst=limits.per_minute, per_minute=limits.per_minute)
            bucket = self._buckets.setdefault(key_id, TokenBucket(float(pace.burst), now))
            if wait_s := bucket.take(pace, now):
                return wait_s
        self._running[key_id] += 1
        return 0.0

    def end(self, key_id: str) -> None:
        """Count the end of a request that :meth:`begin` has counted."""
        self._running[key_id] -= 1
        if not self._running[key_id]:
            del self._running[key_id]
