"""The event streams of the jobs that are followed (``GET /jobs/{id}/events``).

They bring steps and previews; polls decide. A stream replays nothing, so what it missed comes with
the next poll. Without streams (501), or while the server has too many (429), polls go on alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from contextvars import Context
from typing import Any, Final
from urllib.parse import quote

from ...errors import ComfyHeadlessError
from ...protocol.retry import Backoff
from ..transport.request import ApiRequest, ApiResponse, retry_after_s
from .server_api import OnMessage, Send
from .v2_contract import EventParser, messages_of

logger = logging.getLogger(__name__)

_AGAIN: Final = Backoff(base_s=1.0, cap_s=30.0, attempts=None)
_SILENCE_S: Final = 90.0
_DAY_S: Final = 86_400.0
_NO_STREAMS: Final = frozenset({401, 403, 404, 405, 501})


class EventStreams:
    """One stream for each job that is followed, within one event loop.

    Args:
        send: sends a request.
        on_message: called with each message; must return at once.
        enabled: whether the server speaks v2.
    """

    def __init__(self, send: Send, on_message: OnMessage, *, enabled: Callable[[], bool]) -> None:
        self._send = send
        self._on_message = on_message
        self._enabled = enabled
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.fell_silent = False
        self.refused = False
        """Whether the server has no streams."""

    async def ready(self) -> str | None:
        """None: messages are not tied to a clientId."""
        return None

    def want(self, prompt_ids: Collection[str]) -> None:
        """Follow these jobs, and no others."""
        for prompt_id in self._tasks.keys() - set(prompt_ids):
            self._tasks.pop(prompt_id).cancel()
        for prompt_id in prompt_ids:
            if prompt_id not in self._tasks and not self.refused and self._enabled():
                self._tasks[prompt_id] = asyncio.create_task(
                    self._follow(prompt_id), name="comfy-ui event stream", context=Context()
                )

    def cycle(self) -> None:
        """Leave the streams as they are: polls find what they miss."""

    async def close(self) -> None:
        """End all streams."""
        tasks = [*self._tasks.values()]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, prompt_id: str) -> None:
        failures = 0
        while not self.refused:
            events = _Events(prompt_id, self._on_message)
            wait_s = None
            try:
                answer = await self._send(_request(prompt_id), events)
            except ComfyHeadlessError as error:
                logger.info("The event stream of job %s broke: %s", prompt_id, error)
            else:
                if answer.status in _NO_STREAMS:
                    self.refused = answer.status != 404  # another job may have one
                    logger.info("No event stream for job %s: %d", prompt_id, answer.status)
                    return
                wait_s = retry_after_s(answer)
            if events.ended:
                return
            failures = 0 if events.received else failures + 1
            await asyncio.sleep(max(wait_s or 0.0, _AGAIN.ceiling_s(failures + 1)))


class _Events:
    """Takes the body of a stream."""

    blocking = False

    def __init__(self, prompt_id: str, on_message: OnMessage) -> None:
        self._prompt_id = prompt_id
        self._on_message = on_message
        self._parser = EventParser()
        self.received = False
        self.ended = False

    def begin(self, answer: ApiResponse) -> bool:
        kind = answer.headers.get("content-type", "")
        return answer.status == 200 and kind.startswith("text/event-stream")

    def write(self, chunk: bytes) -> None:
        self.received = True
        for event, data in self._parser.feed(chunk):
            for message in messages_of(event, data, self._prompt_id):
                self._on_message("", message)
                self.ended |= getattr(message, "node", "") is None


def _request(prompt_id: str) -> ApiRequest[Any]:
    return ApiRequest(
        method="GET",
        path=f"/jobs/{quote(prompt_id, safe='')}/events",
        headers={"accept": "text/event-stream", "accept-encoding": "identity"},
        parse=lambda answer: answer,
        timeout_s=_SILENCE_S,
        body_s=_DAY_S,
    )
