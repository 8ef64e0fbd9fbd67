"""Turns for expensive work: one call of each user at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["UserTurns"]


class UserTurns:
    """Run the calls of each user one after the other, so that no user can hold all threads."""

    def __init__(self) -> None:
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def of(self, user_id: str) -> AsyncIterator[None]:
        """Wait until no other call of the user runs; at once if ``user_id`` is empty."""
        if not user_id:
            yield
            return
        lock, waiting = self._turns.get(user_id) or (asyncio.Lock(), 0)
        self._turns[user_id] = lock, waiting + 1
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._turns[user_id]
            if waiting > 1:
                self._turns[user_id] = lock, waiting - 1
            else:
                del self._turns[user_id]
