"""Requests to a language model; the only module that uses the ``openai`` library."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from ...errors import LanguageModelError
from ...features import require_feature
from ...protocol.retry import Backoff, Failure, classify_status, parse_retry_after
from .model_choice import LanguageModel, choose_model, takes_pictures

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["Question", "ask_server", "list_models"]

_BACKOFF: Final = Backoff(base_s=0.5, cap_s=4.0, attempts=3)
_MAX_TOKENS: Final = 2_000
_MAX_ANSWER: Final = 40_000  # characters, including reasoning
_MAX_EVENT_BYTES: Final = 2**18
_MAX_STREAM_BYTES: Final = 32 * 2**20  # some hundred bytes for each token
_MAX_BODY_BYTES: Final = 4 * 2**20  # the longest lists of models have about one megabyte
# Servers without structured output, and models without a temperature: not asked for it again.
_plain: set[tuple[str, str]] = set()


@dataclass(frozen=True, slots=True)
class Question:
    """A question to a language model.

    ``fields`` are the texts to return (as structured output if the server supports it); without
    them the answer is plain text. ``picture`` is a URL or ``data:`` URI for a vision model.
    """

    system: str
    user: str
    fields: Mapping[str, str] = field(default_factory=dict)
    picture: str | None = None
    seed: int | None = None


async def ask_server(
    model: LanguageModel, question: Question, *, timeout_s: float
) -> AsyncGenerator[tuple[str, str], None]:
    """Yield the answer as it arrives: pairs of a piece of text and the model's name.

    A failure before the first piece is retried within the time limit; after 429 and 503 the
    server's ``Retry-After`` applies if it fits.

    Raises:
        MissingFeatureError: the extra ``ai`` is not installed.
        LanguageModelError: the server cannot be reached, refuses (``.status``,
            ``.retry_after_s``), is too slow, or stopped in the middle of its answer.
    """
    require_feature("ai")
    # The first import takes a second.
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


async def list_models(model: LanguageModel, *, timeout_s: float) -> tuple[str, ...]:
    """Return the names of the models that the server lists.

    Raises:
        MissingFeatureError: the extra ``ai`` is not installed.
        LanguageModelError: the server cannot be reached, refuses (``.status``), or is too slow.
    """
    require_feature("ai")
    await asyncio.to_thread(__import__, "openai")
    async with _client(model, timeout_s) as client:
        names: tuple[str, ...] = await _within(time.monotonic() + timeout_s, _listed(client))
    return names


async def _listed(client: AsyncOpenAI) -> tuple[str, ...]:
    listed = await _translated(client.models.list())
    return tuple(entry.id for entry in listed.data or [])


def _client(model: LanguageModel, timeout_s: float) -> AsyncOpenAI:
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    async def limit(response: Any) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise LanguageModelError("The language model's server compresses its answers.")
        # The library has used httpx and httpx2; each requires its own base class.
        base: Any = import_module(type(response).__module__.partition(".")[0]).AsyncByteStream
        response.stream = type("LimitedStream", (_LimitedStream, base), {})(response)

    return AsyncOpenAI(
        base_url=model.base_url,
        api_key=model.api_key
        or "none",  # local servers accept any key, and the library requires one
        timeout=timeout_s,
        max_retries=0,
        http_client=DefaultAsyncHttpxClient(
            trust_env=not model.local,  # a proxy for the internet does not lead to this machine
            follow_redirects=False,  # they may lead anywhere, into the local network too
            headers={"accept-encoding": "identity"},
            event_hooks={"response": [limit]},
        ),
    )


class _LimitedStream:
    """The body of an answer, cut off where no language model's answer is longer."""

    def __init__(self, response: Any) -> None:
        self._stream = response.stream
        streamed = response.headers.get("content-type", "").startswith("text/event-stream")
        self._remaining_bytes = _MAX_STREAM_BYTES if streamed else _MAX_BODY_BYTES
        self._event_bytes = 0 if streamed else None

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        async for chunk in self._stream:
            self._remaining_bytes -= len(chunk)
            if self._event_bytes is not None:
                end = max(chunk.rfind(b"\n\n"), chunk.rfind(b"\r\n\r\n"))
                self._event_bytes = self._event_bytes + len(chunk) if end < 0 else len(chunk) - end
            if self._remaining_bytes < 0 or (self._event_bytes or 0) > _MAX_EVENT_BYTES:
                raise LanguageModelError("The language model's server sends an endless answer.")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _named(client: AsyncOpenAI, model: LanguageModel, question: Question) -> str:
    """Return the model's name, from the server's list if none is given."""
    seeing = question.picture is not None
    if model.name and not (seeing and model.local and not takes_pictures(model.name)):
        return model.name
    name = choose_model(await _listed(client), seeing=seeing) or model.name
    if not name:
        raise LanguageModelError(
            f"The server at {model.base_url} has no model for this.",
            hint="Set COMFY_UI_LLM_MODEL to one that it has.",
        )
    return name


async def _pieces(
    client: AsyncOpenAI, model: LanguageModel, named: str, question: Question, deadline: float
) -> AsyncGenerator[str, None]:
    model_key = (model.base_url, named)
    try:
        stream = await _within(deadline, _translated(_create(client, named, question, model_key)))
    except LanguageModelError as error:
        if model_key in _plain or error.status not in {400, 404, 415, 422, 501}:
            raise
        _plain.add(model_key)
        stream = await _within(deadline, _translated(_create(client, named, question, model_key)))
    size, ended = 0, None
    async with stream:
        chunks = aiter(stream)
        while (
            chunk := await _within(deadline, _translated(_next(chunks), streaming=True))
        ) is not None:
            if time.monotonic() > deadline:  # no wait, so no timeout, while chunks are there
                raise _too_slow()
            for option in chunk.choices or []:
                ended = option.finish_reason or ended
                piece = getattr(option.delta, "content", None)
                if getattr(option.delta, "refusal", None):
                    ended = "content_filter"
                if isinstance(piece, str) and piece:
                    size += len(piece)
                    yield piece
            if size > _MAX_ANSWER:
                raise LanguageModelError(f"{named} did not stop writing.")
    if ended == "content_filter":
        raise LanguageModelError(f"{named} refused to answer.")
    if ended not in {"stop", "tool_calls", "function_call"}:
        raise LanguageModelError(f"The answer from {named} was cut off.", retryable=True)


def _create(client: AsyncOpenAI, named: str, question: Question, model_key: tuple[str, str]) -> Any:
    options: dict[str, Any] = {}
    if model_key not in _plain:
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
                    name: {"type": "string", "description": description}
                    for name, description in fields.items()
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
        async with asyncio.timeout(max(0.01, deadline - time.monotonic())):
            return await waited
    except TimeoutError as error:
        raise _too_slow() from error


def _too_slow() -> LanguageModelError:
    return LanguageModelError(
        "The language model took too long.",
        hint="Try again: a model that was being loaded is there by then.",
        retryable=False,  # the time limit leaves no room for another attempt
    )


async def _translated(waited: Any, *, streaming: bool = False) -> Any:
    """Await, turning every failure into a :class:`LanguageModelError`."""
    from openai import APIConnectionError, APIStatusError, APITimeoutError

    try:
        return await waited
    except APITimeoutError as error:
        raise LanguageModelError("The language model took too long.", retryable=True) from error
    except APIStatusError as error:
        raise _refused(error.status_code, error.response.headers.get("retry-after")) from error
    except APIConnectionError as error:
        if isinstance(error.__cause__, LanguageModelError):
            raise error.__cause__ from None
        if streaming:
            raise LanguageModelError(
                "The language model's server cut off its answer.", retryable=True
            ) from error
        raise LanguageModelError(
            "The language model's server cannot be reached.",
            hint="Check OPENAI_BASE_URL and that the server runs.",
            retryable=True,
        ) from error
    except (LanguageModelError, asyncio.CancelledError):
        raise
    # The library passes on exceptions of its HTTP library and JSON parser in the middle of a
    # stream: classes that this module must not know.
    except Exception as error:
        raise LanguageModelError(
            f"The language model's server sent an invalid answer, or was cut off ({error}).",
            retryable=True,
        ) from error


def _refused(status: int, retry_after: str | None) -> LanguageModelError:
    if 300 <= status < 400:
        return LanguageModelError(
            "The language model's server redirects to another address, which is not followed.",
            status=status,
            hint="Set OPENAI_BASE_URL to its final address.",
        )
    message, hint = {
        401: ("The language model's server requires an API key.", "Check OPENAI_API_KEY."),
        403: ("The language model's server does not allow this.", "Check OPENAI_API_KEY."),
        404: (
            "The server has no such language model.",
            "Check COMFY_UI_LLM_MODEL and OPENAI_BASE_URL.",
        ),
        429: ("The language model's server has too many requests.", "Try again in a while."),
    }.get(status, (f"The language model's server answered with status {status}.", ""))
    return LanguageModelError(
        message,
        status=status,
        retry_after_s=parse_retry_after(retry_after, unix_now=time.time()),
        hint=hint,
        retryable=classify_status(status, idempotent=True) is Failure.SAFE,
    )
