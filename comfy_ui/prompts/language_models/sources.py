"""The source of a draft: a language model's server, a text encoder of ComfyUI, or the rules."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from ...errors import ComfyHeadlessError, LanguageModelError
from ...protocol.object_info import NodeRegistry
from ...settings import Settings, load_settings
from ...workflow.graph import AnyGraph
from .llm import Question, ask_server
from .model_choice import (
    COMFYUI,
    DEFAULT_TIMEOUT_S,
    RULES,
    LanguageModel,
    find_model,
    find_vision_model,
    no_model,
)
from .text_encoder import ENCODER_TIMEOUT_S, TextEncoder, encoder_of, find_encoder, write_text

if TYPE_CHECKING:
    from ...client import ComfyClient, ComfyWSClient

__all__ = ["Source", "ask", "complete_answer", "default_timeout_s", "find_source", "no_source"]

Source = LanguageModel | TextEncoder
"""What writes text."""

_UNLOAD_S: Final = 2.0


async def find_source(
    model: Source | str | None,
    *,
    client: ComfyClient | ComfyWSClient | None = None,
    servers: Iterable[tuple[ComfyClient | ComfyWSClient, NodeRegistry]] = (),
    graph: AnyGraph | None = None,
    seeing: bool = False,
    settings: Settings | None = None,
) -> Source | None:
    """Find what writes a draft; None: the rules.

    In this order: ``model`` itself; the configured language model or one on this machine, see
    :func:`find_model`; a text encoder of ``client``'s server. ``"comfyui"`` as the model, here or
    in ``COMFY_UI_LLM_MODEL``, skips the language models, ``"rules"`` all of them.

    Args:
        model: the caller's choice.
        client: the ComfyUI server whose encoders may write. It is asked for its node classes.
        servers: more servers, with their known node classes. They are not asked.
        graph: the workflow that the draft is for; its encoder is preferred.
        seeing: require a source that accepts images.
        settings: read from the environment by default.
    """
    if isinstance(model, TextEncoder):
        return model
    if settings is None:
        settings = await asyncio.to_thread(load_settings)
    if seeing and model is None:
        found = await asyncio.to_thread(find_vision_model, settings=settings)
    else:
        found = await asyncio.to_thread(find_model, model, settings=settings)
    if found is not None or RULES in {model, "" if model else settings.llm_model}:
        return found
    for server, registry in servers:
        if encoder := encoder_of(server, registry, graph=graph, seeing=seeing):
            return encoder
    if client is None:
        return None
    return await find_encoder(client, seeing=seeing)


def default_timeout_s(source: Source) -> float:
    """Return how long a source may take in all, unless the caller says otherwise."""
    return ENCODER_TIMEOUT_S if isinstance(source, TextEncoder) else DEFAULT_TIMEOUT_S


def no_source(model: Source | str | None) -> LanguageModelError:
    """Return the error for callers that require a source."""
    if COMFYUI in {model, load_settings().llm_model}:
        return LanguageModelError(
            "No text encoder of ComfyUI can write.",
            hint="It needs ComfyUI 0.33 or newer with Qwen 3, Qwen3-VL, Qwen 2.5 VL or Gemma in "
            "models/text_encoders. CLIP, T5, Llama and Mistral cannot write there.",
        )
    return no_model()


async def ask(
    source: Source,
    question: Question,
    *,
    timeout_s: float,
    client: ComfyClient | ComfyWSClient | None = None,
    shares_gpu: bool | None = None,
) -> AsyncGenerator[tuple[str, str], None]:
    """Yield the answer as it arrives: pieces of text with the name of the source.

    ``shares_gpu``: ``client``'s server frees its memory first, and the language model is unloaded
    afterwards if its server is Ollama; None: as the settings say.

    Raises:
        MissingFeatureError: the extra ``ai`` is not installed.
        LanguageModelError: see :func:`.llm.ask_server` and :func:`.text_encoder.write_text`.
    """
    if isinstance(source, TextEncoder):
        yield await write_text(source, question, timeout_s=timeout_s), source.name
        return
    if shares_gpu is None:
        shares_gpu = (await asyncio.to_thread(load_settings)).llm_shares_gpu
    if shares_gpu and client is not None:
        from ...client.tracking.small_job import call

        with suppress(ComfyHeadlessError):  # ComfyUI may be away
            await call(client.free)
    name = source.name
    try:
        async with aclosing(ask_server(source, question, timeout_s=timeout_s)) as pieces:
            async for piece, name in pieces:
                yield piece, name
    finally:
        if shares_gpu and name:
            await asyncio.to_thread(_unload, source, name)


async def complete_answer(
    source: Source,
    question: Question,
    *,
    timeout_s: float,
    client: ComfyClient | ComfyWSClient | None = None,
    shares_gpu: bool | None = None,
) -> tuple[str, str]:
    """Return the complete answer and the source's name. See :func:`ask` for the arguments."""
    text, name = "", source.name
    answer = ask(source, question, timeout_s=timeout_s, client=client, shares_gpu=shares_gpu)
    async with aclosing(answer) as pieces:
        async for piece, name in pieces:  # noqa: B007 -- the name is used below
            text += piece
    return text, name


def _unload(model: LanguageModel, name: str) -> None:
    """Ask Ollama to unload a model; other servers answer 404."""
    parts = urlsplit(model.base_url)
    connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = connect(parts.hostname or "", parts.port, timeout=_UNLOAD_S)
    headers = {"Content-Type": "application/json"}
    if model.api_key:
        headers["Authorization"] = f"Bearer {model.api_key}"
    path = parts.path.rstrip("/").removesuffix("/v1")
    try:
        connection.request(
            "POST",
            f"{path}/api/generate",
            body=json.dumps({"model": name, "keep_alive": 0}),
            headers=headers,
        )
        connection.getresponse().read(10_000)
    except (OSError, http.client.HTTPException):
        pass
    finally:
        connection.close()
