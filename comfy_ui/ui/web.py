"""What every route of ours does besides its own work: login, refusals as JSON, no foreign sites."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError as PydanticValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from ..errors import ComfyHeadlessError, ValidationError
from .access import login_missing

__all__ = ["PRIVATE", "Handler", "asked", "body", "guarded", "until_stopped"]

Handler = Callable[[Request], Awaitable[Response]]
M = TypeVar("M", bound=BaseModel)

PRIVATE: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""Headers of answers that are about one owner and change."""

_MAX_JSON_BYTES: Final = 256 * 1024


def guarded(handler: Handler, *, writes: bool = False) -> Handler:
    """``handler`` for those who are logged in; its typed errors become ``{"error": …}``, 422.

    Gradio's login does not guard routes added to its app. ``writes``: refuse what another site
    makes a visitor's browser send.
    """

    async def answer(request: Request) -> Response:
        if login_missing(request):
            return PlainTextResponse("Log in first.", status_code=401)
        if writes and request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return PlainTextResponse("Only this page may do that.", status_code=403)
        try:
            return await handler(request)
        except ComfyHeadlessError as error:
            return JSONResponse({"error": str(error)}, status_code=422, headers=PRIVATE)

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


async def until_stopped(
    request: Request, pieces: AsyncGenerator[str, None]
) -> AsyncGenerator[str, None]:
    """``pieces``, as long as the app runs: a stream without an end would hold up its stop.

    ``stop_event`` is Gradio's, which sets it before it waits for open answers.
    """
    stopping = asyncio.ensure_future(request.app.stop_event.wait())
    try:
        async with aclosing(pieces):
            while True:
                piece = asyncio.ensure_future(anext(pieces, None))
                try:
                    await asyncio.wait({piece, stopping}, return_when=asyncio.FIRST_COMPLETED)
                    got = piece.result() if piece.done() else None
                finally:
                    piece.cancel()
                    await asyncio.gather(piece, return_exceptions=True)
                if got is None:
                    return
                yield got
    finally:
        stopping.cancel()
