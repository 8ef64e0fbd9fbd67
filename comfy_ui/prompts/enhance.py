"""``enhance_prompt``: draft a richer prompt with a language model or the built-in rules."""

from __future__ import annotations

import inspect
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack, get_args

from ..errors import LanguageModelError, ValidationError, closest
from ._sync import run_sync
from .draft import EnhancedPrompt, Kind, Strength, differences
from .language_models.instructions import enhancement_question
from .language_models.llm_output import (
    ModelOutput,
    Rejected,
    check_answer,
    partial_prompt,
    read_answer,
)
from .language_models.model_choice import RULES, LanguageModel
from .language_models.sources import ask, default_timeout_s, find_source, no_source
from .language_models.text_encoder import TextEncoder
from .model_families import find_family
from .rules.rule_enhancer import built_in_styles, draft_by_rules
from .styles import Style, find_style, shipped_styles

if TYPE_CHECKING:
    from ..client import ComfyClient, ComfyWSClient

__all__ = [
    "EnhanceOptions",
    "EnhancedPrompt",
    "Kind",
    "aenhance_prompt",
    "enhance_prompt",
    "list_styles",
    "stream_enhance",
]

_MAX_CHARACTERS = 10_000


class EnhanceOptions(TypedDict, total=False):
    """Options of :func:`enhance_prompt`, :func:`aenhance_prompt` and :func:`stream_enhance`.

    Keys:
        style: the name of a built-in style (:func:`list_styles`) or of one in ``styles.toml``, or
            a :class:`Style`.
        strength: ``light``, ``medium`` (the default) or ``strong``: how much is added.
        family: model family of the preset (``SDXL``, ``Flux.1``, …). It decides between tags and
            sentences, whether there is a negative prompt, and the length limit.
        kind: what is generated: ``image``, ``edit``, ``video``, ``i2v`` or ``audio``.
        seed: a different seed gives a different draft; derived from the prompt by default.
        unlike: an earlier draft. The rules write a different one if they can; a model gets
            another seed.
        model: a :class:`LanguageModel`, the name of one, ``"comfyui"`` or ``"rules"``. By default
            the configured model, or one on this machine (see :func:`find_model`), or a text
            encoder of ``client``'s server, or the rules.
        client: a :class:`.ComfyClient`, or a :class:`.ComfyWSClient` in the async versions. If
            there is no language model, a text encoder of its server (Qwen, Gemma) writes.
        shares_gpu: the language model and ``client``'s server share a GPU: the server frees its
            memory first, and Ollama unloads the model afterwards. By default the setting
            ``COMFY_UI_LLM_SHARES_GPU``.
        instructions: the user's own instructions, added to the built-in ones.
        system: a system prompt that replaces the built-in one. The rules about text to copy
            verbatim and about the answer's format are still appended.
        timeout_s: seconds the model may take in all; 20 by default, and 120 in ComfyUI.
        on_failure: ``rules`` (the default) falls back to the rules when the model fails, with the
            cause in ``reason``; ``raise`` raises :class:`LanguageModelError`.
    """

    style: str | Style
    strength: Strength
    family: str
    kind: Kind
    seed: int | None
    unlike: str
    model: LanguageModel | TextEncoder | str | None
    client: ComfyClient | ComfyWSClient | None
    shares_gpu: bool | None
    instructions: str
    system: str
    timeout_s: float | None
    on_failure: Literal["rules", "raise"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """The options with their defaults."""

    prompt: str
    style: str | Style = "balanced"
    strength: Strength = "medium"
    family: str = ""
    kind: Kind = "image"
    seed: int | None = None
    unlike: str = ""
    model: LanguageModel | TextEncoder | str | None = None
    client: ComfyClient | ComfyWSClient | None = None
    shares_gpu: bool | None = None
    instructions: str = ""
    system: str = ""
    timeout_s: float | None = None
    on_failure: Literal["rules", "raise"] = "rules"


def list_styles() -> list[str]:
    """List the built-in enhancement styles. ``style=`` also takes those of :func:`load_styles`."""
    return built_in_styles()


def enhance_prompt(prompt: str, **options: Unpack[EnhanceOptions]) -> EnhancedPrompt:
    """Write a richer version of ``prompt``. See :class:`EnhanceOptions` for the options.

    Works without any model: the built-in rules then write it, and ``source`` is ``rules``.

    Example::

        with ComfyClient() as client:
            draft = enhance_prompt("a harbor", family="Z-Image", client=client)
            print(draft.source, draft.enhanced)  # qwen_3_4b (ComfyUI)

    Raises:
        ValidationError: the prompt is empty, or an option is invalid.
        LanguageModelError: with ``on_failure="raise"``, there is no usable answer.
    """
    request = _checked(prompt, options)
    if request.client is not None and inspect.iscoroutinefunction(request.client.run):
        raise ValidationError(
            "enhance_prompt takes a ComfyClient.", hint="Await aenhance_prompt for a ComfyWSClient."
        )
    if request.model == RULES:
        return _by_rules(request, time.perf_counter(), "")
    return run_sync(_last(request))


async def aenhance_prompt(prompt: str, **options: Unpack[EnhanceOptions]) -> EnhancedPrompt:
    """Enhance a prompt without blocking the event loop; see :func:`enhance_prompt`."""
    return await _last(_checked(prompt, options))


async def stream_enhance(
    prompt: str, **options: Unpack[EnhanceOptions]
) -> AsyncGenerator[str | EnhancedPrompt, None]:
    """Yield the draft as it is written: pieces of text, then the :class:`EnhancedPrompt`.

    The pieces are raw. Only the last value is cleaned and checked, and it may differ (it is the
    rules' draft if the model's answer was unusable). Raises what :func:`enhance_prompt` raises.
    """
    async with aclosing(_stream(_checked(prompt, options))) as parts:
        async for part in parts:
            yield part


async def _stream(request: _Request) -> AsyncGenerator[str | EnhancedPrompt, None]:
    started = time.perf_counter()
    source = await find_source(request.model, client=request.client)
    if source is None:
        yield _by_rules(request, started, "")
        return
    family = find_family(request.family)
    text, yielded, name = "", "", source.name
    try:
        question = enhancement_question(
            request.prompt.strip(),
            style=request.style,
            strength=request.strength,
            family=family,
            kind=request.kind,
            seed=request.seed,
            instructions=request.instructions,
            system=request.system,
        )
        answering = ask(
            source,
            question,
            timeout_s=request.timeout_s or default_timeout_s(source),
            client=request.client,
            shares_gpu=request.shares_gpu,
        )
        async with aclosing(answering) as pieces:
            async for piece, name in pieces:  # noqa: B007 -- the name is used below
                text += piece
                visible = partial_prompt(text)
                if visible.startswith(yielded) and len(visible) > len(yielded):
                    yield visible[len(yielded) :]
                    yielded = visible
        answer = check_answer(read_answer(text), request.prompt.strip(), family)
    except Rejected as rejected:
        yield _fall_back_to_rules(
            request, started, LanguageModelError(f"{name} returned no prompt: {rejected}.")
        )
    except LanguageModelError as error:
        yield _fall_back_to_rules(request, started, error)
    else:
        yield _draft_from_answer(request, started, answer, name)


async def _last(request: _Request) -> EnhancedPrompt:
    async with aclosing(_stream(request)) as parts:
        async for part in parts:
            if isinstance(part, EnhancedPrompt):
                return part
    raise AssertionError("a stream ends with a draft")


def _checked(prompt: str, options: EnhanceOptions) -> _Request:
    request = _Request(prompt=prompt, **options)
    if not prompt.strip():
        raise ValidationError("There is no prompt to enhance.", hint="Type a few words first.")
    if len(prompt) > _MAX_CHARACTERS:
        raise ValidationError(
            f"The prompt has more than {_MAX_CHARACTERS} characters.", hint="Make it shorter."
        )
    for name, value, options_by_name in (
        ("strength", request.strength, get_args(Strength)),
        ("kind", request.kind, get_args(Kind)),
    ):
        if value not in options_by_name:
            raise ValidationError(
                f"There is no {name} '{value}'.", hint=closest(value, options_by_name)
            )
    if isinstance(request.style, Style):
        return request
    return replace(request, style=find_style(request.style, shipped_styles(), built_in_styles()))


def _by_rules(request: _Request, started: float, reason: str) -> EnhancedPrompt:
    if request.on_failure == "raise" and request.model != RULES:
        raise no_source(request.model)
    draft = draft_by_rules(
        request.prompt,
        style=request.style,
        strength=request.strength,
        family=request.family,
        kind=request.kind,
        seed=request.seed,
        unlike=request.unlike,
    )
    reasons = " ".join(filter(None, (reason, draft.reason)))
    return replace(draft, reason=reasons, seconds=time.perf_counter() - started)


def _fall_back_to_rules(
    request: _Request, started: float, error: LanguageModelError
) -> EnhancedPrompt:
    if request.on_failure == "raise":
        raise error
    why = f"{error.message} The rules wrote this draft."
    return _by_rules(replace(request, on_failure="rules"), started, why)


def _draft_from_answer(
    request: _Request, started: float, answer: ModelOutput, name: str
) -> EnhancedPrompt:
    original = request.prompt.strip()
    runs = differences(original, answer.prompt)
    added = (run.text.strip(" ,.") for run in runs if run.kind == "added")
    return EnhancedPrompt(
        enhanced=answer.prompt,
        negative=answer.negative,
        original=request.prompt,
        source=name,
        changes=tuple(text for text in added if text),
        seconds=time.perf_counter() - started,
        lyrics=answer.lyrics,
    )
