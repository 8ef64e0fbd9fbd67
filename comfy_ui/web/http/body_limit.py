"""Limits for request bodies: size, duration, speed, the total in memory, and the values in JSON.

Gradio and our routes read bodies completely before they check anything. Python's JSON parser holds
the event loop for seconds on a body of a few MB with many values, raises RecursionError on deep
ones, and turns large numbers into infinity.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from .request_budgets import BUDGETS, RequestBudget

__all__ = ["MAX_BODY_BYTES", "BodyLimit", "BodyRefusal", "Reading", "json_problem"]

MAX_BODY_BYTES: Final = max(budget.body_bytes for budget in BUDGETS)
_MAX_TOGETHER_BYTES: Final = 320 * 2**20
_GRACE_S: Final = 10.0
_LEAST_BYTES_PER_S: Final = 1024
_LONGEST_PAUSE_S: Final = 20.0
_NESTING: Final = bytes.maketrans(b"{}", b"[]")
_OTHERS: Final = bytes(set(range(256)) - set(b"[]{}"))
_NUMBERS: Final = bytes.maketrans(b"123456789E", b"000000000e")
_HUGE: Final = (b"0" * 100, b"e000")
"""100 digits, or an exponent of three, once every digit is a 0."""

Message = MutableMapping[str, Any]


@dataclass(frozen=True, slots=True)
class BodyRefusal:
    """The status and sentence for a body that was not accepted."""

    status: int
    text: str


TOO_LARGE: Final = BodyRefusal(413, "That is too large.")
TOO_SLOW: Final = BodyRefusal(408, "That came too slowly.")
TOO_MUCH: Final = BodyRefusal(503, "Too much is being sent just now. Try again.")


class BodyLimit:
    """The total size of all request bodies that are being processed.

    Beyond the total, the caller with the most bytes loses the body that has waited longest for
    its next bytes, so that slow or abandoned bodies give way to others.

    Args:
        most_bytes: the total.
        pause_s: a body that sends nothing for so long is disconnected.
        grace_s: after so long, a body must have come at 1 KB/s on average.
    """

    def __init__(
        self,
        *,
        most_bytes: int = _MAX_TOGETHER_BYTES,
        pause_s: float = _LONGEST_PAUSE_S,
        grace_s: float = _GRACE_S,
    ) -> None:
        self.most_bytes = most_bytes
        self.pause_s = pause_s
        self.grace_s = grace_s
        self.held_bytes = 0
        self._held_by: Counter[str] = Counter()
        self._waiting: dict[Reading, None] = {}  # for their next bytes, longest first

    def reading(self, receive: Any, budget: RequestBudget, caller: str = "") -> Reading:
        """Wrap ``receive`` of one request."""
        return Reading(self, receive, budget, caller)

    def add(self, reading: Reading, size: int) -> bool:
        """Count received bytes; False if the body of ``reading`` has to go."""
        self.held_bytes += size
        self._held_by[reading.caller] += size
        while self.held_bytes > self.most_bytes:
            largest = max(self._held_by, key=self._held_by.__getitem__)
            slowest = next((each for each in self._waiting if each.caller == largest), None)
            if slowest is None or largest == reading.caller:
                return False
            slowest.displace()
        return True

    def remove(self, reading: Reading, size: int) -> None:
        """Release bytes of a body."""
        self.held_bytes -= size
        self._held_by[reading.caller] -= size
        if self._held_by[reading.caller] <= 0:
            del self._held_by[reading.caller]

    def set_waiting(self, reading: Reading, *, waiting: bool) -> None:
        """Record whether a body waits for its next bytes."""
        self._waiting.pop(reading, None)
        if waiting:
            self._waiting[reading] = None


class Reading:
    """Counts the body of one request. Close it when the request has been answered.

    Attributes:
        caller: whose share of the total the body takes.
        whole: whether the body is complete.
        refusal: why the body was cut off, if it was.
    """

    def __init__(self, intake: BodyLimit, receive: Any, budget: RequestBudget, caller: str) -> None:
        self.caller = caller
        self.whole = False
        self.refusal: BodyRefusal | None = None
        self._intake = intake
        self._receive = receive
        self._budget = budget
        self._began: float | None = None
        self._received_bytes = 0
        self._over = False
        self._timeout: asyncio.Timeout | None = None

    async def __call__(self) -> Message:
        """Return the next message; a disconnect if the body is too large or too slow."""
        if self._over:  # only the end of the connection can follow
            message: Message = await self._receive()
            return message
        if self.refusal is not None:
            return {"type": "http.disconnect"}
        self._intake.set_waiting(self, waiting=True)
        try:
            async with asyncio.timeout_at(self._deadline()) as self._timeout:
                message = await self._receive()
        except TimeoutError:
            return self._refuse(TOO_SLOW)
        finally:
            self._timeout = None
            self._intake.set_waiting(self, waiting=False)
        size = len(message.get("body", b""))
        self._received_bytes += size
        self._over = self.whole = not message.get("more_body", False)
        fits = self._intake.add(self, size)
        if self._received_bytes > self._budget.body_bytes:
            return self._refuse(TOO_LARGE)
        return message if fits else self._refuse(TOO_MUCH)

    async def all(self) -> bytes | None:
        """Return the whole body; None if it is refused or the client has disconnected."""
        body = bytearray()
        while True:
            message = await self()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            if not message.get("more_body", False):
                return bytes(body)

    def displace(self) -> None:
        """Cut the body off for another one. It must be waiting for its next bytes."""
        self.refusal = TOO_MUCH
        self._intake.set_waiting(self, waiting=False)
        self.close()
        if self._timeout is not None:
            self._timeout.reschedule(0)

    def close(self) -> None:
        """Release the body's share of the total."""
        self._intake.remove(self, self._received_bytes)
        self._received_bytes = 0

    def _deadline(self) -> float:
        now = asyncio.get_running_loop().time()
        self._began = now if self._began is None else self._began
        return min(
            now + self._intake.pause_s,
            self._began + self._budget.body_s,
            self._began + self._intake.grace_s + self._received_bytes / _LEAST_BYTES_PER_S,
        )

    def _refuse(self, refusal: BodyRefusal) -> Message:
        self._over, self.whole = True, False
        self.refusal = self.refusal or refusal  # it may have been displaced
        self.close()
        return {"type": "http.disconnect"}


def json_problem(body: bytes, *, items: int, depth: int) -> str | None:
    """Return the reason to refuse a JSON body, as a sentence; None if it can be parsed safely.

    The body may still be invalid JSON. All steps are single calls of functions written in C, linear
    in the size of the body.

    Args:
        body: the body, as UTF-8.
        items: values in all arrays and objects.
        depth: arrays and objects inside each other.

    >>> json_problem(b'{"a": [1, 2]}', items=9, depth=2)
    >>> json_problem(b'{"a": [[1, 2]]}', items=9, depth=2)
    'The JSON is nested more than 2 levels deep.'
    """
    if b"\0" in body:  # UTF-16 and UTF-32, which Python's parser accepts
        return "The JSON must be UTF-8."
    few = _items(body) <= items and body.count(b"[") + body.count(b"{") <= depth
    if few and not _has_huge_number(body):
        return None
    if body.count(b'"') > 4 * items + 4:  # a key and a value have two each
        return f"The JSON has more than {items:,} values."
    syntax = _without_strings(body)
    if _items(syntax) > items:
        return f"The JSON has more than {items:,} values."
    brackets = syntax.translate(_NESTING, _OTHERS)
    for _ in range(depth):
        if not brackets:
            break
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        return f"The JSON is nested more than {depth} levels deep."
    if _has_huge_number(syntax):
        return "A number in the JSON is too large."
    return None


def _items(text: bytes) -> int:
    """Return at least the number of values: each follows a comma or an opening bracket."""
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def _has_huge_number(text: bytes) -> bool:
    numbers = text.translate(_NUMBERS, b"+")
    return b"Infinity" in text or any(huge in numbers for huge in _HUGE)


def _without_strings(body: bytes) -> bytes:
    # Escaped backslashes first, so that each \" that is left is a quote inside a string.
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b" ".join(plain.split(b'"')[::2])
