"""Shared parts of our routes: refusals, same-site checks, bodies, event streams, disconnects."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError as PydanticValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from ...errors import ComfyHeadlessError, StorageError, ValidationError
from ..auth.access import login_missing

__all__ = [
    "PRIVATE",
    "Handler",
    "RefusalLog",
    "asked",
    "body",
    "events",
    "guarded",
    "not_understood",
    "refusal",
    "while_connected",
]

Handler = Callable[[Request], Awaitable[Response]]
M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

PRIVATE: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""Headers of responses that belong to one user and change."""

_MAX_JSON_BYTES: Final = 256 * 1024
_SILENCE_S: Final = 20.0
_LOG_INTERVAL_S: Final = 60.0


def refusal(status: int, text: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return a response that refuses a request; "detail" is what Gradio's clients read."""
    return JSONResponse({"error": text, "detail": text}, status_code=status, headers=headers)


async def not_understood(_: Request, error: Any) -> Response:
    """Answer a request that Gradio's models refuse, without repeating its body as FastAPI does."""
    where = ", ".join(".".join(map(str, e["loc"])) for e in error.errors()[:9])
    return refusal(422, f"This was not understood: {where}.")


def guarded(handler: Handler, *, writes: bool = False) -> Handler:
    """Wrap ``handler`` so that typed errors become ``{"error": …}`` with status 422, or 503 if the
    file store is away.

    Requests without a login are refused earlier (see :mod:`.middleware`). ``writes``: refuse
    requests that another site makes a browser send.
    """

    async def answer(request: Request) -> Response:
        if writes and request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return PlainTextResponse("Only this page may do that.", status_code=403)
        try:
            return await handler(request)
        except ComfyHeadlessError as error:
            away = isinstance(error, StorageError) and error.retryable
            status = 503 if away else 422
            return JSONResponse({"error": str(error)}, status_code=status, headers=PRIVATE)
        except ClientDisconnect:  # also the middleware's error for a body that is too large
            message = "That was too large, or it came too slowly."
            return JSONResponse({"error": message}, status_code=413, headers=PRIVATE)

    return answer


async def body(request: Request, limit_bytes: int = _MAX_JSON_BYTES) -> bytes:
    """Read the body of a request.

    Raises:
        ValidationError: it is larger than ``limit_bytes``.
    """
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > limit_bytes:
            raise ValidationError(
                f"That is larger than {limit_bytes / 2**20:.3g} MB.", hint="Send a smaller one."
            )
    return bytes(content)


def asked(model: type[M], content: bytes | dict[str, Any]) -> M:
    """Parse a request's JSON body or query into a model.

    Raises:
        ValidationError: it does not match the model.
    """
    try:
        if isinstance(content, bytes):
            return model.model_validate_json(content)
        return model.model_validate(content)
    except PydanticValidationError as error:
        where = ", ".join(".".join(map(str, e["loc"])) or "the request" for e in error.errors())
        raise ValidationError(f"This was not understood: {where}.") from error


def events(
    request: Request, pieces: AsyncGenerator[str, None], *, reconnect: bool = True
) -> Response:
    """Return a response of server-sent events, which ends with the login or when the app stops.

    ``reconnect``: a browser that loses the connection reconnects after a second.
    """
    return StreamingResponse(
        _until_stopped(request, pieces, reconnect=reconnect),
        media_type="text/event-stream",
        headers={**PRIVATE, "X-Accel-Buffering": "no"},
    )


async def _until_stopped(
    request: Request, pieces: AsyncGenerator[str, None], *, reconnect: bool = True
) -> AsyncGenerator[str, None]:
    """Yield ``pieces``, and keep-alive events in between because proxies cut idle connections.

    An endless stream would delay the app's stop: ``stop_event`` is Gradio's, which sets it before
    it waits for open responses.
    """
    if reconnect:
        yield "retry: 1000\n\n"
    stopping = asyncio.ensure_future(request.app.stop_event.wait())
    piece: asyncio.Future[str | None] | None = None
    async with aclosing(pieces):
        try:
            while True:
                piece = asyncio.ensure_future(anext(pieces, None))
                while not piece.done():
                    await asyncio.wait(
                        {piece, stopping},
                        timeout=_SILENCE_S,
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                    if stopping.done() or login_missing(request):
                        return
                    if not piece.done():
                        yield ":\n\n"
                if (text := piece.result()) is None:
                    return
                yield text
        finally:  # the generator can only be closed when no task is running in it
            waiting = [task for task in (piece, stopping) if task is not None]
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of ``work``; cancel it when the client disconnects.

    Starlette lets a handler run to its end.

    The request's body must have been read.

    Raises:
        ClientDisconnect: the client disconnected first.
    """
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class RefusalLog:
    """A log that an attack cannot fill.

    Logs the first refusal for each reason at once and counts the others of the same minute.

    Args:
        logger: receives the lines, as warnings.
        interval_s: the time between two lines for one reason.
    """

    def __init__(self, logger: logging.Logger, *, interval_s: float = _LOG_INTERVAL_S) -> None:
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
