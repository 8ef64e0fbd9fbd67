"""Asking a language model. The only place that knows the ``openai`` library."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ...errors import LanguageModelError
from ...features import require_feature
from ...protocol.retry import Backoff, Failure, classify_status, parse_retry_after
from .model_choice import LanguageModel, choose, sees_pictures

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["Question", "ask", "whole_answer"]

_BACKOFF: Final = Backoff(base_s=0.5, cap_s=4.0, attempts=3)
_MAX_TOKENS: Final = 2_000
_MAX_ANSWER: Final = 40_000  # characters, thoughts included
# Servers that took no structured output, and models that took no temperature: asked plainly since.
_plain: set[tuple[str, str]] = set()


@dataclass(frozen=True, slots=True)
class Question:
    """``fields`` are the texts wanted back (structured output, where the server can); with none
    the answer is plain text. ``picture`` is an address or ``data:`` URI for a vision model."""

    system: str
    user: str
    fields: Mapping[str, str] = field(default_factory=dict)
    picture: str | None = None
    seed: int | None = None


async def ask(
    model: LanguageModel, question: Question, *, timeout_s: float
) -> AsyncGenerator[tuple[str, str], None]:
    """The answer as it comes: pairs of a piece of text and the name of the model.

    What fails before the first piece is tried again while there is time; 429 and 503 after what
    the server asks for, if that is in time.

    Raises:
        MissingFeatureError: the extra ``ai`` is not installed.
        LanguageModelError: the server cannot be reached, refuses (``.status``,
            ``.retry_after_s``), is too slow, or broke off in the middle of its answer.
    """
    require_feature("ai")
    # The import takes a second the first time.
    await asyncio.to_thread(__import__, "openai")
    deadline = time.monotonic() + timeout_s
    attempt = 0
    async with _client(model, timeout_s) as client:
        while True:
            attempt += 1
            begun = False
            try:
                named = await _within(deadline, _named(client, model, question))
                async for piece in _pieces(client, model, named, question, deadline):
                    begun = True
                    yield piece, named
                return
            except LanguageModelError as error:
                wait = _BACKOFF.delay_s(
                    attempt,
                    jitter=random.random(),
                    now=time.monotonic(),
                    deadline=deadline,
                    retry_after_s=error.retry_after_s,
                )
                if begun or not error.retryable or wait is None:
                    raise
            await asyncio.sleep(wait)


async def whole_answer(
    model: LanguageModel, question: Question, *, timeout_s: float
) -> tuple[str, str]:
    """The answer when it is complete, and the name of the model. Raises what :func:`ask` raises."""
    text, name = "", model.name
    async with aclosing(ask(model, question, timeout_s=timeout_s)) as pieces:
        async for piece, name in pieces:  # noqa: B007 -- the name is used below
            text += piece
    return text, name


def _client(model: LanguageModel, timeout_s: float) -> AsyncOpenAI:
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    return AsyncOpenAI(
        base_url=model.base_url,
        api_key=model.api_key or "none",  # local servers take anything, the library wants something
        timeout=timeout_s,
        max_retries=0,
        # A proxy for the internet does not lead to this machine.
        http_client=DefaultAsyncHttpxClient(trust_env=False) if model.local else None,
    )


async def _named(client: AsyncOpenAI, model: LanguageModel, question: Question) -> str:
    """The name of the model, asking the server for its list when it is not given."""
    seeing = question.picture is not None
    if model.name and not (seeing and model.local and not sees_pictures(model.name)):
        return model.name
    listed = await _translated(client.models.list())
    name = choose([entry.id for entry in listed.data or []], seeing=seeing) or model.name
    if not name:
        raise LanguageModelError(
            f"The server at {model.base_url} has no model for this.",
            hint="Set COMFY_UI_LLM_MODEL to one that it has.",
        )
    return name


async def _pieces(
    client: AsyncOpenAI, model: LanguageModel, named: str, question: Question, deadline: float
) -> AsyncGenerator[str, None]:
    known = (model.base_url, named)
    try:
        stream = await _within(deadline, _translated(_create(client, named, question, known)))
    except LanguageModelError as error:
        if known in _plain or error.status not in {400, 404, 415, 422, 501}:
            raise
        _plain.add(known)
        stream = await _within(deadline, _translated(_create(client, named, question, known)))
    size, ended = 0, None
    async with stream:
        chunks = aiter(stream)
        while (
            chunk := await _within(deadline, _translated(_next(chunks), streaming=True))
        ) is not None:
            for option in chunk.choices or []:
                ended = option.finish_reason or ended
                piece = getattr(option.delta, "content", None)
                if getattr(option.delta, "refusal", None):
                    ended = "content_filter"
                if isinstance(piece, str) and piece:
                    size += len(piece)
                    yield piece
            if size > _MAX_ANSWER:
                raise LanguageModelError(f"{named} did not come to an end.")
    if ended == "content_filter":
        raise LanguageModelError(f"{named} refused to answer.")
    if ended not in {"stop", "tool_calls", "function_call"}:
        raise LanguageModelError(f"The answer of {named} broke off.", retryable=True)


def _create(client: AsyncOpenAI, named: str, question: Question, known: tuple[str, str]) -> Any:
    options: dict[str, Any] = {}
    if known not in _plain:
        options = {"temperature": 0.8, "max_tokens": _MAX_TOKENS}
        if question.seed is not None:
            options["seed"] = question.seed % 2**31
        if question.fields:
            options["response_format"] = _schema(question.fields)
    return client.chat.completions.create(
        model=named, messages=_messages(question), stream=True, **options
    )


def _messages(question: Question) -> Any:
    user: Any = question.user
    if question.picture is not None:
        user = [
            {"type": "text", "text": question.user},
            {"type": "image_url", "image_url": {"url": question.picture}},
        ]
    return [{"role": "system", "content": question.system}, {"role": "user", "content": user}]


def _schema(fields: Mapping[str, str]) -> dict[str, Any]:
    return {
        "type": "json_schema",
        "json_schema": {
            "name": "draft",
            "strict": True,
            "schema": {
                "type": "object",
                "properties": {
                    name: {"type": "string", "description": told} for name, told in fields.items()
                },
                "required": list(fields),
                "additionalProperties": False,
            },
        },
    }


async def _next(chunks: Any) -> Any:
    return await anext(chunks, None)


async def _within(deadline: float, waited: Any) -> Any:
    try:
        return await asyncio.wait_for(waited, max(0.01, deadline - time.monotonic()))
    except TimeoutError as error:
        raise LanguageModelError(
            "The language model took too long.",
            hint="Try again: a model that was being loaded is there by then.",
            retryable=False,  # there is no time left in this call
        ) from error


async def _translated(waited: Any, *, streaming: bool = False) -> Any:
    """Await, with every failure as a :class:`LanguageModelError`."""
    from openai import APIConnectionError, APIStatusError, APITimeoutError

    try:
        return await waited
    except APITimeoutError as error:
        raise LanguageModelError("The language model took too long.", retryable=True) from error
    except APIStatusError as error:
        raise _refused(error.status_code, error.response.headers.get("retry-after")) from error
    except APIConnectionError as error:
        if streaming:
            raise LanguageModelError(
                "The language model's server broke off its answer.", retryable=True
            ) from error
        raise LanguageModelError(
            "The language model's server cannot be reached.",
            hint="Check OPENAI_BASE_URL and that the server runs.",
            retryable=True,
        ) from error
    except (LanguageModelError, asyncio.CancelledError):
        raise
    # The library hands on whatever its HTTP library and JSON parser raise in the midst of a
    # stream, classes that this module must not know.
    except Exception as error:
        raise LanguageModelError(
            f"The language model's server answered nonsense or broke off ({error}).",
            retryable=True,
        ) from error


def _refused(status: int, retry_after: str | None) -> LanguageModelError:
    told, hint = {
        401: ("The language model's server wants a key.", "Check OPENAI_API_KEY."),
        403: ("The language model's server does not allow this.", "Check OPENAI_API_KEY."),
        404: (
            "The server has no such language model.",
            "Check COMFY_UI_LLM_MODEL and OPENAI_BASE_URL.",
        ),
        429: ("The language model's server has had enough requests.", "Try again in a while."),
    }.get(status, (f"The language model's server answered with status {status}.", ""))
    return LanguageModelError(
        told,
        status=status,
        retry_after_s=parse_retry_after(retry_after, unix_now=time.time()),
        hint=hint,
        retryable=classify_status(status, idempotent=True) is Failure.SAFE,
    )
