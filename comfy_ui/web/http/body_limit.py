"""Limits for request bodies: size, duration, and the total in memory.

Gradio and our routes read bodies completely before they check anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any, Final

__all__ = ["MAX_BODY_BYTES", "BodyLimit"]

MAX_BODY_BYTES: Final = 80 * 2**20
"""Above the limits of our routes, which each have their own."""
_MAX_TOGETHER_BYTES: Final = 320 * 2**20
_LONGEST_S: Final = 300.0

Message = MutableMapping[str, Any]


class BodyLimit:
    """The total size of all request bodies that are being processed.

    Args:
        most_bytes: the newest request beyond this total is disconnected.
        longest_s: a slower body is disconnected, because it would hold its share indefinitely.
    """

    def __init__(
        self, *, most_bytes: int = _MAX_TOGETHER_BYTES, longest_s: float = _LONGEST_S
    ) -> None:
        self._most_bytes = most_bytes
        self._longest_s = longest_s
        self.held_bytes = 0

    @property
    def full(self) -> bool:
        """Whether a new body would exceed the total."""
        return self.held_bytes >= self._most_bytes

    def reading(self, receive: Any, limit_bytes: int) -> Reading:
        """Wrap ``receive`` of one request, for a body of at most ``limit_bytes``."""
        return Reading(self, receive, limit_bytes, self._longest_s)


class Reading:
    """Counts the body of one request. Close it when the request has been answered."""

    def __init__(self, intake: BodyLimit, receive: Any, limit_bytes: int, longest_s: float) -> None:
        self._intake = intake
        self._receive = receive
        self._limit_bytes = limit_bytes
        self._longest_s = longest_s
        self._began: float | None = None
        self._received_bytes = 0
        self._over = False
        self.whole = False
        """Whether the body is complete."""

    async def __call__(self) -> Message:
        """Return the next message; a disconnect if the body is too large or too slow."""
        if self._over:  # only the end of the connection can follow
            message: Message = await self._receive()
            return message
        loop = asyncio.get_running_loop()
        self._began = loop.time() if self._began is None else self._began
        try:
            async with asyncio.timeout_at(self._began + self._longest_s):
                message = await self._receive()
        except TimeoutError:
            return self._hung_up()
        size = len(message.get("body", b""))
        self._received_bytes += size
        self._intake.held_bytes += size
        self._over = self.whole = not message.get("more_body", False)
        if self._received_bytes > self._limit_bytes or self._intake.full:
            return self._hung_up()
        return message

    def _hung_up(self) -> Message:
        self._over, self.whole = True, False
        return {"type": "http.disconnect"}

    def close(self) -> None:
        """Release the body's share of the total."""
        self._intake.held_bytes -= self._received_bytes
        self._received_bytes = 0
