"""What routes of ours share: refusals as JSON, no foreign sites, bodies with a limit, streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError as PydanticValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from ...errors import ComfyHeadlessError, ValidationError

__all__ = ["PRIVATE", "Handler", "asked", "body", "events", "guarded"]

Handler = Callable[[Request], Awaitable[Response]]
M = TypeVar("M", bound=BaseModel)

PRIVATE: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""Headers of answers that are about one owner and change."""

_MAX_JSON_BYTES: Final = 256 * 1024
_SILENCE_S: Final = 20.0


def guarded(handler: Handler, *, writes: bool = False) -> Handler:
    """``handler``, whose typed errors become ``{"error": …}``, 422.

    Who has not logged in comes no further than the door (see :mod:`.middleware`). ``writes``:
    refuse what
    another site makes a visitor's browser send.
    """

    async def answer(request: Request) -> Response:
        if writes and request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return PlainTextResponse("Only this page may do that.", status_code=403)
        try:
            return await handler(request)
        except ComfyHeadlessError as error:
            return JSONResponse({"error": str(error)}, status_code=422, headers=PRIVATE)
        except ClientDisconnect:  # also what the door says of a body that is too much
            told = "That was too large, or it came too slowly."
            return JSONResponse({"error": told}, status_code=413, headers=PRIVATE)

    return answer


async def body(request: Request, limit_bytes: int = _MAX_JSON_BYTES) -> bytes:
    """The body of a request.

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
    """What a page asks for, as JSON or as the values of a query.

    Raises:
        ValidationError: it is not of that form.
    """
    try:
        if isinstance(content, bytes):
            return model.model_validate_json(content)
        return model.model_validate(content)
    except PydanticValidationError as error:
        where = ", ".join(".".join(map(str, e["loc"])) or "the request" for e in error.errors())
        raise ValidationError(f"This was not understood: {where}.") from error


def events(request: Request, pieces: AsyncGenerator[str, None]) -> Response:
    """An answer of server-sent events, for as long as the app runs.

    A browser that has lost it comes back by itself after a second.
    """
    return StreamingResponse(
        _until_stopped(request, pieces),
        media_type="text/event-stream",
        headers={**PRIVATE, "X-Accel-Buffering": "no"},
    )


async def _until_stopped(
    request: Request, pieces: AsyncGenerator[str, None]
) -> AsyncGenerator[str, None]:
    """``pieces``, and a sign of life where nothing comes: what is between cuts idle connections.

    A stream without an end would hold up the app's stop: ``stop_event`` is Gradio's, which sets it
    before it waits for open answers.
    """
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
                    if stopping.done():
                        return
                    if not piece.done():
                        yield ":\n\n"
                if (text := piece.result()) is None:
                    return
                yield text
        finally:  # before the generator is closed nobody may be in it any more
            waiting = [task for task in (piece, stopping) if task is not None]
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
