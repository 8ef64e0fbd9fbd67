"""Choose the language model: an explicit one, the configured one, or one on this machine."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlsplit

from ...errors import LanguageModelError
from ...features import FEATURES, get_install_hint
from ...settings import Settings, load_settings

__all__ = [
    "COMFYUI",
    "DEFAULT_TIMEOUT_S",
    "RULES",
    "LanguageModel",
    "choose_model",
    "find_model",
    "find_vision_model",
    "forget_models",
    "no_model",
    "takes_pictures",
]

RULES: Final = "rules"
"""As the name of a model: none, the built-in rules."""

COMFYUI: Final = "comfyui"
"""As the name of a model: a text encoder of ComfyUI."""

DEFAULT_TIMEOUT_S: Final = 20.0
"""How long a model may take in all, unless the caller says otherwise."""

OPENAI_URL: Final = "https://api.openai.com/v1"
_OPENAI_MODEL: Final = "gpt-4.1-mini"
_LOCAL: Final = (
    "http://127.0.0.1:11434/v1",  # Ollama
    "http://127.0.0.1:1234/v1",  # LM Studio
)
_PROBE_S: Final = 0.25
_KEPT_S: Final = 60.0
_UNSUITABLE = re.compile(
    r"embed|rerank|bge-|minilm|whisper|tts|guard|moderation|dall-e|image|ocr|transcribe|realtime",
    re.IGNORECASE,
)
_SEES = re.compile(
    r"llava|vision|[-_./:\d]vl\b|[-\d]vl[-:]|gemma-?3|minicpm-v|moondream|pixtral|internvl|gpt-4o|gpt-4\.1|gpt-5"
    r"|claude|gemini|mistral-small3|llama-?4",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A model on an OpenAI-compatible server. An empty ``name`` means its first suitable one."""

    base_url: str
    name: str = ""
    api_key: str | None = field(default=None, repr=False)

    @property
    def local(self) -> bool:
        """Whether the model runs on this machine."""
        return urlsplit(self.base_url).hostname in {"127.0.0.1", "localhost", "::1"}


def find_model(
    model: LanguageModel | str | None = None, *, settings: Settings | None = None
) -> LanguageModel | None:
    """Find the model to use; None if there is none, or the extra ``ai`` is not installed.

    In this order: ``model`` itself; ``OPENAI_BASE_URL``, ``OPENAI_API_KEY`` and
    ``COMFY_UI_LLM_MODEL``; an Ollama or LM Studio on this machine, probed for at most a quarter
    of a second and then remembered for a minute. ``"rules"`` or ``"comfyui"`` as the name, here or
    in ``COMFY_UI_LLM_MODEL``, means none. May block that long: call it in a thread from a loop.
    """
    if isinstance(model, LanguageModel):
        return model if FEATURES["ai"] else None
    if model in {RULES, COMFYUI} or not FEATURES["ai"]:
        return None
    settings = settings or load_settings()
    name = model or settings.llm_model or ""
    if name in {RULES, COMFYUI}:
        return None
    key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else None
    if settings.openai_base_url:
        return LanguageModel(settings.openai_base_url.rstrip("/"), name, key)
    if key:
        return LanguageModel(OPENAI_URL, name or _OPENAI_MODEL, key)
    return _on_this_machine(name)


def find_vision_model(*, settings: Settings | None = None) -> LanguageModel | None:
    """Find a model that accepts images.

    The model of :func:`find_model` if it is known to accept images, else another on the same
    server if that is on this machine. May block as long.
    """
    model = find_model(settings=settings)
    if model is None or takes_pictures(model.name):
        return model
    name = choose_model(_names(model.base_url, model.api_key), seeing=True) if model.local else None
    return replace(model, name=name) if name else None


def no_model() -> LanguageModelError:
    """Return the error for callers that require a model."""
    if not FEATURES["ai"]:
        return LanguageModelError(
            "A language model needs the extra 'ai'.", hint=f"Install it: {get_install_hint('ai')}"
        )
    return LanguageModelError(
        "There is no language model.",
        hint="Start Ollama or LM Studio, set OPENAI_BASE_URL or OPENAI_API_KEY, or put a text "
        "encoder that can write into ComfyUI.",
    )


def choose_model(names: Sequence[str], *, seeing: bool = False) -> str | None:
    """Choose a server's first model that writes text (and accepts images, if required)."""
    able = [name for name in names if not _UNSUITABLE.search(name)]
    if seeing:
        able = [name for name in able if takes_pictures(name)]
    return able[0] if able else None


def takes_pictures(name: str) -> bool:
    """Guess from its name whether a model accepts images."""
    return bool(_SEES.search(name))


_probed: dict[str, tuple[float, tuple[str, ...]]] = {}


def forget_models() -> None:
    """Forget the models found on this machine, so that the next call probes again."""
    _probed.clear()


def _on_this_machine(name: str) -> LanguageModel | None:
    now = time.monotonic()
    stale = [url for url in _LOCAL if url not in _probed or now - _probed[url][0] > _KEPT_S]
    if stale:
        pool = ThreadPoolExecutor(len(stale), thread_name_prefix="models")
        probes = {pool.submit(_names, url): url for url in stale}
        done, _ = wait(probes, timeout=_PROBE_S)
        pool.shutdown(wait=False, cancel_futures=True)
        for future, url in probes.items():
            _probed[url] = (now, future.result() if future in done else ())
    for url in _LOCAL:
        names = _probed[url][1]
        chosen = name if name in names else choose_model(names) if not name else None
        if chosen:
            return LanguageModel(url, chosen)
    return None


def _names(base_url: str, key: str | None = None) -> tuple[str, ...]:
    """List the models of a server on this machine; empty if none or something else answers."""
    parts = urlsplit(base_url)
    connection = http.client.HTTPConnection(
        parts.hostname or "", parts.port or 80, timeout=_PROBE_S
    )
    try:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        connection.request("GET", f"{parts.path}/models", headers=headers)
        answer = connection.getresponse()
        data = json.loads(answer.read(2_000_000)) if answer.status == 200 else {}
    except (OSError, ValueError, http.client.HTTPException):
        return ()
    finally:
        connection.close()
    listed = data.get("data") if isinstance(data, dict) else None
    entries = listed if isinstance(listed, list) else []
    return tuple(
        entry["id"]
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("id"), str)
    )
