"""Text written by a text encoder of ComfyUI, with its node ``TextGenerate``.

Newer image and video models read prompts with a whole language model, which can write, too. CLIP,
T5, Llama and Mistral cannot in ComfyUI 0.33, nor can files without the last layers (MiniMax H3) or
without instruction tuning (Anima). The file's name tells which model it is.
"""

from __future__ import annotations

import asyncio
import base64
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ...errors import (
    ComfyHeadlessError,
    GenerationFailedError,
    GenerationTimeoutError,
    LanguageModelError,
)
from ...protocol.object_info import NodeRegistry
from ...workflow.graph import AnyGraph
from ...workflow.model_files import basename, find_model as find_model_file
from .llm import Question
from .llm_output import is_cut_off

if TYPE_CHECKING:
    from ...client import ComfyClient, ComfyWSClient

__all__ = [
    "ENCODER_TIMEOUT_S",
    "TextEncoder",
    "choose_encoder",
    "encoder_of",
    "find_encoder",
    "write_text",
]

ENCODER_TIMEOUT_S: Final = 120.0
"""How long an encoder, which may have to be loaded, may take in all by default."""

_START_S: Final = 20.0  # in which a running job should end
_MAX_TOKENS: Final = 700
# As TextGenerate declares them in ComfyUI 0.33.0.
_SAMPLING: Final = {
    "temperature": 0.7,
    "top_k": 64,
    "top_p": 0.95,
    "min_p": 0.05,
    "repetition_penalty": 1.05,
}
_MARKERS: Final = re.compile(r"<\|?[a-z_]{1,40}\|>|<\|[a-z_]{1,40}>|</?(?:start|end)_of_\w{1,20}>")
_PICTURE: Final = "<|vision_start|><|image_pad|><|vision_end|>"


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of encoder, recognized by its file's name.

    ``types`` are values of ``CLIPLoader.type`` that load it with a usable tokenizer, best first.
    ``whole_chat``: for some of these types ComfyUI's template asks for an image's description
    before the text, so the whole conversation is written here.
    """

    pattern: re.Pattern[str]
    types: tuple[str, ...]
    sees: bool = False
    whole_chat: bool = False


def _kind(pattern: str, *types: str, **abilities: bool) -> _Kind:
    return _Kind(re.compile(pattern, re.IGNORECASE), types, **abilities)


_KINDS: Final = (
    _kind(
        r"qwen_?3_?-?vl[-_](instruct[-_])?[48]b",
        "stable_diffusion",
        "krea2",
        "ideogram4",
        "boogu",
        "mage",
        "joyimage",
        sees=True,
        whole_chat=True,
    ),
    _kind(r"qwen_?3[._]?5[-_](2|4|9|27)b", "stable_diffusion", sees=True),
    _kind(r"(?<!t5)gemma[-_]?4", "ltxv", "stable_diffusion", sees=True),
    _kind(r"(?<!t5)gemma[-_]?3[-_]12b", "ltxv", "stable_diffusion", sees=True),
    _kind(r"qwen[-_]?3[-_][48]b", "flux2", "lumina2"),
    _kind(r"(?<!t5)gemma[-_]?3[-_]4b", "lumina2"),
    # ComfyUI 0.33 passes no image to this one.
    _kind(r"qwen[-_]?2[._]?5[-_]vl[-_]7b", "qwen_image", whole_chat=True),
)
_NOT_TUNED: Final = re.compile(r"[-_]base\b|[-_]base[-_.]|embed|rerank", re.IGNORECASE)
# Raised by models that ComfyUI cannot run word by word.
_CANNOT: Final = frozenset({"AttributeError", "NotImplementedError", "TypeError"})
# Encoders that cannot write although their name says so, by server address and file.
_unable: set[tuple[str, str]] = set()


@dataclass(frozen=True, slots=True)
class TextEncoder:
    """A text encoder of a ComfyUI server that writes text.

    ``loader`` are the inputs of its ``CLIPLoader``, ``optional`` the names of those inputs of
    ``TextGenerate`` that the server knows.
    """

    client: ComfyClient | ComfyWSClient = field(repr=False)
    loader: Mapping[str, Any]
    sees: bool = False
    whole_chat: bool = False
    optional: frozenset[str] = frozenset()

    @property
    def filename(self) -> str:
        """The file below ``models/text_encoders``."""
        return str(self.loader["clip_name"])

    @property
    def name(self) -> str:
        """The name for users, such as ``qwen_3_4b (ComfyUI)``."""
        return f"{basename(self.filename).rpartition('.')[0]} (ComfyUI)"


def choose_encoder(
    registry: NodeRegistry,
    *,
    graph: AnyGraph | None = None,
    seeing: bool = False,
    unable: frozenset[str] = frozenset(),
) -> tuple[dict[str, Any], _Kind] | None:
    """Choose a server's encoder: the inputs of its loader, and its kind; None if none can write.

    Args:
        registry: the server's ``TextGenerate`` and ``CLIPLoader``.
        graph: the workflow that the prompt is for. Its own encoder is preferred, because the
            server has it in memory, or needs it next.
        seeing: require an encoder that accepts images.
        unable: files that failed before.
    """
    loader = registry.get("CLIPLoader")
    if "TextGenerate" not in registry or loader is None:
        return None
    files = [name for name in loader.inputs["clip_name"].choices or () if isinstance(name, str)]
    types = loader.inputs["type"].choices or ()
    candidates = [
        (name, kind, next(t for t in kind.types if t in types))
        for kind in _KINDS
        if (kind.sees or not seeing) and any(t in types for t in kind.types)
        for name in files
        if name not in unable and kind.pattern.search(basename(name)) and not _untuned(name)
    ]
    for node in (graph or {}).values():
        if node["class_type"] != "CLIPLoader":
            continue
        inputs = node["inputs"]
        name = find_model_file(str(inputs.get("clip_name")), [c[0] for c in candidates])
        for candidate, kind, _ in candidates:
            if candidate == name and inputs.get("type") in kind.types:
                return {**inputs, "clip_name": name}, kind
    if not candidates:
        return None
    name, kind, type_ = candidates[0]
    return {"clip_name": name, "type": type_}, kind


def _untuned(name: str) -> bool:
    return _NOT_TUNED.search(basename(name)) is not None


def encoder_of(
    client: ComfyClient | ComfyWSClient,
    registry: NodeRegistry,
    *,
    graph: AnyGraph | None = None,
    seeing: bool = False,
) -> TextEncoder | None:
    """Return an encoder of a server that writes text; None if it has none.

    See :func:`choose_encoder` for the arguments.
    """
    unable = frozenset(name for url, name in _unable if url == client.url)
    try:
        chosen = choose_encoder(registry, graph=graph, seeing=seeing, unable=unable)
    except KeyError:  # a node pack replaces CLIPLoader
        return None
    if chosen is None:
        return None
    loader, kind = chosen
    optional = frozenset(registry["TextGenerate"].inputs)
    return TextEncoder(client, loader, kind.sees, kind.whole_chat, optional)


async def find_encoder(
    client: ComfyClient | ComfyWSClient, *, seeing: bool = False
) -> TextEncoder | None:
    """Ask a server for an encoder that writes text; None if it has none, or is away."""
    from ...client.tracking.small_job import call  # httpx, which drafts by rules need not load

    raw: dict[str, Any] = {}
    try:
        for name in ("TextGenerate", "CLIPLoader"):
            raw |= (await call(client.object_info, name)).raw
    except ComfyHeadlessError:
        return None
    return encoder_of(client, NodeRegistry(raw), seeing=seeing)


async def write_text(
    encoder: TextEncoder,
    question: Question,
    *,
    timeout_s: float,
    start_s: float = _START_S,
) -> str:
    """Return the encoder's answer to a question.

    The job goes before all waiting ones, is cancelled with the task, and is deleted from the
    server's history afterwards.

    Raises:
        LanguageModelError: the server cannot be reached or has not begun after ``start_s``, the
            encoder cannot write, the answer is cut off, or it took longer than ``timeout_s``.
    """
    from ...client.tracking.small_job import run_small_job

    client = encoder.client
    try:
        async with asyncio.timeout(timeout_s):
            graph = _graph(encoder, question, await _uploaded(client, question.picture))
            result = await run_small_job(client, graph, timeout_s=timeout_s, start_s=start_s)
    except (TimeoutError, GenerationTimeoutError) as error:
        raise LanguageModelError(
            f"{encoder.name} took too long.",
            hint="Try again: by then, the model may be in memory.",
        ) from error
    except GenerationFailedError as error:
        if error.exception_type in _CANNOT:
            _unable.add((client.url, encoder.filename))
        raise LanguageModelError(
            f"{encoder.name} cannot write: {error.message.rstrip('. ')}.", hint=error.hint
        ) from error
    except ComfyHeadlessError as error:
        raise LanguageModelError(
            f"{encoder.name} wrote nothing: {error.message}", hint=error.hint
        ) from error
    if result is None:
        raise LanguageModelError(
            "ComfyUI is busy with another job.", hint="Try again when it has ended."
        )
    text = "\n".join(result.texts)
    if is_cut_off(text):
        raise LanguageModelError(f"The answer from {encoder.name} was cut off.")
    return text


async def _uploaded(client: ComfyClient | ComfyWSClient, picture: str | None) -> Any:
    """Upload the image of a ``data:`` URI into the server's folder for temporary files."""
    from ...client.tracking.small_job import call

    if picture is None:
        return None
    content = base64.b64decode(picture.partition(";base64,")[2])
    return await call(client.upload_image, content, subfolder="comfy-ui", type="temp")


def _graph(encoder: TextEncoder, question: Question, image: Any) -> dict[str, Any]:
    seed = question.seed
    if seed is None:
        seed = zlib.crc32(question.user.encode())
    own_system = "system_prompt" in encoder.optional and not encoder.whole_chat
    inputs: dict[str, Any] = {
        "clip": ["1", 0],
        "prompt": _plain(question.user) if own_system else _prompt(encoder, question),
        "max_length": _MAX_TOKENS,
        "sampling_mode": "on",
        **{f"sampling_mode.{name}": value for name, value in _SAMPLING.items()},
        "sampling_mode.seed": seed % 2**31,
    }
    options: dict[str, Any] = {"thinking": False, "use_default_template": True}
    if own_system:
        options["system_prompt"] = question.system
    inputs |= {name: value for name, value in options.items() if name in encoder.optional}
    graph = {
        "1": {"class_type": "CLIPLoader", "inputs": dict(encoder.loader)},
        "2": {"class_type": "TextGenerate", "inputs": inputs},
        "3": {"class_type": "PreviewAny", "inputs": {"source": ["2", 0]}},
    }
    if image is not None:
        graph["4"] = {"class_type": "LoadImage", "inputs": {"image": image}}
        inputs["image"] = ["4", 0]
    return graph


def _prompt(encoder: TextEncoder, question: Question) -> str:
    """The text for ``TextGenerate``: the user's turn of the model's chat, or the whole chat."""
    user = _plain(question.user)
    if encoder.whole_chat:
        picture = _PICTURE if question.picture is not None else ""
        return (
            f"<|im_start|>system\n{question.system}<|im_end|>\n"
            f"<|im_start|>user\n{picture}{user}<|im_end|>\n"
            "<|im_start|>assistant\n"
        )
    # ComfyUI's template for this type leaves Qwen 3 free to reason first.
    suffix = " /no_think" if encoder.loader.get("type") == "lumina2" else ""
    return f"{question.system}\n\n{user}{suffix}"


def _plain(text: str) -> str:
    """Remove markers that would end the user's turn."""
    return _MARKERS.sub("", text)
