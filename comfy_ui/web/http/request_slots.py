"""Requests in progress: at most so many per user, per address and in total, as budgets say."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from .request_budgets import RequestBudget

__all__ = ["RequestSlots", "TooManyRequestsError"]

_LONGEST_WAIT_S: Final = 30.0
_ALL: Final = "all"
_MAX_WAITING: Final = 256  # of one caller
_MAX_WAITING_TOGETHER: Final = 2048


class TooManyRequestsError(Exception):
    """A limit is reached, and the request cannot wait or has waited too long."""


class _Slots:
    """A counter with a limit and a bounded queue of waiting requests, callers in turn."""

    __slots__ = ("limit", "used", "waiting")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    async def take(self, *, caller: str, wait: bool, longest_s: float) -> None:
        if self.used < self.limit:
            self.used += 1
            return
        if not wait or not self._has_room(caller):
            raise TooManyRequestsError
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.setdefault(caller, deque()).append(turn)
        try:
            async with asyncio.timeout(longest_s):
                await turn
        except TimeoutError as error:
            self._leave(caller, turn)
            raise TooManyRequestsError from error
        except asyncio.CancelledError:
            self._leave(caller, turn)
            raise

    def release(self) -> None:
        while self.waiting:
            caller, turns = self.waiting.popitem(last=False)
            turn = turns.popleft()
            if turns:
                self.waiting[caller] = turns  # at the end
            if not turn.done():
                turn.set_result(None)  # it takes over this slot
                return
        self.used -= 1

    def _has_room(self, caller: str) -> bool:
        together = sum(map(len, self.waiting.values()))
        mine = len(self.waiting.get(caller, ()))
        most = max(_MAX_WAITING, self.limit)
        return mine < most and together < max(_MAX_WAITING_TOGETHER, most)

    def _leave(self, caller: str, turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled():  # it received the slot at the same time
            self.release()
            return
        turns = self.waiting.get(caller, deque())
        if turn in turns:
            turns.remove(turn)
            if not turns:
                del self.waiting[caller]


class RequestSlots:
    """The requests in progress of a server."""

    def __init__(self, *, longest_wait_s: float = _LONGEST_WAIT_S) -> None:
        self._slots: dict[tuple[str, str, str], _Slots] = {}
        self._longest_wait_s = longest_wait_s

    def __len__(self) -> int:
        """The number of counters in use."""
        return len(self._slots)

    def in_progress(self, method: str, path: str) -> int:
        """The number of requests of the budget with that path that hold a slot."""
        slots = self._slots.get((method, path, _ALL))
        return slots.used if slots else 0

    @asynccontextmanager
    async def of_caller(
        self, budget: RequestBudget, caller: str, address: str
    ) -> AsyncIterator[None]:
        """Hold a slot of the caller and one of the address; an empty one has no limit.

        Raises:
            TooManyRequestsError: no slot is free, and none became free in time.
        """
        async with (
            self._slot(budget, f"caller {caller}", budget.per_caller if caller else 0),
            self._slot(budget, f"address {address}", budget.per_address if address else 0),
        ):
            yield

    @asynccontextmanager
    async def of_all(self, budget: RequestBudget, caller: str = "") -> AsyncIterator[None]:
        """Hold one of the slots that all callers share. Take it after the body has arrived.

        Waiting callers get slots in turn, however many requests each of them has.

        Raises:
            TooManyRequestsError: no slot is free, and none became free in time.
        """
        async with self._slot(budget, _ALL, budget.total, caller):
            yield

    @asynccontextmanager
    async def _slot(
        self, budget: RequestBudget, holder: str, limit: int, caller: str = ""
    ) -> AsyncIterator[None]:
        if not limit:
            yield
            return
        key = budget.method, budget.path, holder
        slots = self._slots.get(key)
        if slots is None:
            slots = self._slots[key] = _Slots(limit)
        try:
            wait = not budget.stream
            await slots.take(caller=caller, wait=wait, longest_s=self._longest_wait_s)
            try:
                yield
            finally:
                slots.release()
        finally:
            if not slots.used and not slots.waiting:
                self._slots.pop(key, None)
