"""What is known about a model file: its family, trigger words, preferred weight and picture.

Read from the header of a ``.safetensors`` file and from files that download tools put beside it:
``NAME.civitai.info`` and ``NAME.json`` of A1111 and its extensions, ``NAME.cm-info.json`` of
Stability Matrix, ``NAME.metadata.json`` of LoRA managers. These functions run in worker processes,
as all of these files come from elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..errors import ValidationError
from ..pictures import open_picture
from ..workflow.model_files import basename, family_of

__all__ = [
    "FAMILY_FOLDERS",
    "ModelFacts",
    "facts_from",
    "is_lora",
    "preview_of",
    "read_facts",
    "read_preview",
]

_MAX_HEADER: Final = 16 * 2**20
_MAX_SIDECAR: Final = 2**20
_MAX_PICTURE: Final = 24 * 2**20
_MAX_WORDS: Final = 16
_MAX_TEXT: Final = 120  # characters of a trigger word or a title
_PREVIEW_SIDE: Final = 320
_SIDECARS: Final = (".civitai.info", ".cm-info.json", ".metadata.json", ".json")
_PICTURES: Final = tuple(
    f"{middle}.{suffix}" for middle in (".preview", "") for suffix in ("png", "jpg", "jpeg", "webp")
)
FAMILY_FOLDERS: Final = frozenset({"checkpoints", "controlnet", "diffusion_models", "loras"})
"""The folders whose files work with one model family only."""
_COMMON_TAG: Final = 0.5  # of the most frequent tag's count; rarer tags describe single images

# Names of tensors that only one family has.
_KEYS: Final = (
    (
        "SDXL",
        re.compile(
            r"lora_te2_|text_encoder_2\.|transformer_blocks_9_|conditioner\.embedders\.1\.m"
        ),
    ),
    (
        "SD1.5",
        re.compile(
            r"down_blocks_0_attentions_0|down_blocks\.0\.attentions\.0|cond_stage_model\.tr"
        ),
    ),
    ("SVD", re.compile(r"conditioner\.embedders\.3\.encoder")),
    ("SD3.5", re.compile(r"joint_blocks\.0\.context_block")),
    ("Flux.2", re.compile(r"double_stream_modulation_img")),
    ("Qwen-Image", re.compile(r"transformer_blocks\.\d+\.img_mlp")),
    (
        "Flux.1",
        re.compile(
            r"single_blocks_\d+_linear1|double_blocks\.0\.img_attn|single_transformer_blocks\.\d+\.proj_mlp"
        ),
    ),
    ("Wan", re.compile(r"blocks\.\d+\.cross_attn\.k_img|blocks\.\d+\.self_attn\.norm_q")),
)

_LORA_KEY: Final = re.compile(r"\.lora_(?:up|down|A|B)\b|\.hada_w1|\.lokr_w1")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known about a model file; everything may be unknown.

    ``family`` is one of the presets' families, ``base`` the name that the publisher uses.
    """

    title: str = ""
    family: str = ""
    base: str = ""
    trigger_words: tuple[str, ...] = ()
    weight: float | None = None


def facts_from(
    name: str,
    metadata: Mapping[str, Any],
    sidecars: Sequence[Mapping[str, Any]] = (),
    keys: Iterable[str] = (),
) -> ModelFacts:
    """Combine what the header and the files beside a model file say; the latter win.

    Args:
        name: the file's name, which tells the family if nothing else does.
        metadata: the ``__metadata__`` of a safetensors header.
        sidecars: the parsed files beside it.
        keys: names of its tensors.
    """
    base = _first_text(_bases(metadata, sidecars))
    family = family_of(base) or _family_of_keys(keys) or family_of(basename(name))
    words = [*_words_of_sidecars(sidecars)] or [*_words_of_header(metadata)]
    cleaned = dict.fromkeys(" ".join(word.split()) for word in words)
    weight = next((entry.get("preferred weight") for entry in sidecars), None)
    return ModelFacts(
        title=_first_text(_titles(metadata, sidecars)),
        family=family,
        base=base,
        trigger_words=tuple([word for word in cleaned if 0 < len(word) <= _MAX_TEXT][:_MAX_WORDS]),
        weight=_weight(weight),
    )


def read_facts(files: Sequence[tuple[str, Path]]) -> list[ModelFacts]:
    """Return the facts about model files on this machine, as ``(name, path)``."""
    return [_read(name, path) for name, path in files]


def is_lora(path: Path) -> bool:
    """Whether a safetensors file holds a LoRA, by the names of its tensors."""
    return any(_LORA_KEY.search(key) for key in _header(path)[1])


def read_preview(path: Path) -> bytes | None:
    """Return the picture beside or inside a model file as a small WebP, or None."""
    stem = path.with_suffix("")
    for suffix in _PICTURES:
        content = _read_file(stem.with_name(stem.name + suffix), _MAX_PICTURE)
        if content is not None and (picture := preview_of(content)) is not None:
            return picture
    metadata, _ = _header(path)
    thumbnail = metadata.get("modelspec.thumbnail")
    if isinstance(thumbnail, str) and thumbnail.startswith("data:image/"):
        try:
            return preview_of(base64.b64decode(thumbnail.partition(",")[2]))
        except (binascii.Error, ValueError):
            return None
    return None


def preview_of(content: bytes) -> bytes | None:
    """Return a picture as a small square WebP; None if it is none."""
    from PIL import ImageOps

    try:
        with open_picture(content) as picture:
            picture.draft("RGB", (2 * _PREVIEW_SIDE, 2 * _PREVIEW_SIDE))
            side = (_PREVIEW_SIDE, _PREVIEW_SIDE)
            square = ImageOps.fit(picture.convert("RGB"), side, centering=(0.5, 0.3))
    except (ValidationError, OSError, ValueError, SyntaxError):
        return None
    stored = io.BytesIO()
    square.save(stored, "WEBP", quality=80)
    return stored.getvalue()


def _read(name: str, path: Path) -> ModelFacts:
    stem = path.with_suffix("")
    sidecars = []
    for suffix in _SIDECARS:
        content = _read_file(stem.with_name(stem.name + suffix), _MAX_SIDECAR)
        parsed = _json(content) if content is not None else None
        if isinstance(parsed, dict):
            sidecars.append(parsed)
    metadata, keys = _header(path)
    return facts_from(name, metadata, sidecars, keys)


def _header(path: Path) -> tuple[Mapping[str, Any], list[str]]:
    """Return the metadata and the tensor names of a safetensors file; empty for other files."""
    if path.suffix.lower() not in {".safetensors", ".sft"}:
        return {}, []
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            content = file.read(size) if size <= _MAX_HEADER else b""
    except OSError:
        return {}, []
    header = _json(content)
    if not isinstance(header, dict):
        return {}, []
    metadata = header.pop("__metadata__", None)
    return metadata if isinstance(metadata, dict) else {}, [*header]


def _read_file(path: Path, limit_bytes: int) -> bytes | None:
    try:
        if path.stat().st_size > limit_bytes:
            return None
        return path.read_bytes()
    except OSError:
        return None


def _json(content: bytes | str) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _bases(metadata: Mapping[str, Any], sidecars: Iterable[Mapping[str, Any]]) -> Iterator[Any]:
    for sidecar in sidecars:
        for key in ("baseModel", "BaseModel", "base_model", "sd version"):
            yield sidecar.get(key)
    for key in ("ss_base_model_version", "modelspec.architecture", "ss_sd_model_name"):
        yield metadata.get(key)


def _titles(metadata: Mapping[str, Any], sidecars: Iterable[Mapping[str, Any]]) -> Iterator[Any]:
    for sidecar in sidecars:
        model = sidecar.get("model")
        yield model.get("name") if isinstance(model, dict) else None
        yield from (sidecar.get(key) for key in ("ModelName", "model_name"))
    yield from (metadata.get(key) for key in ("modelspec.title", "ss_output_name"))


def _first_text(values: Iterable[Any]) -> str:
    texts = (value.strip() for value in values if isinstance(value, str))
    return next((text[:_MAX_TEXT] for text in texts if text and text.lower() != "unknown"), "")


def _words_of_sidecars(sidecars: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for sidecar in sidecars:
        nested = sidecar.get("civitai")
        for source in (sidecar, nested if isinstance(nested, dict) else {}):
            for key in ("trainedWords", "TrainedWords"):
                listed = source.get(key)
                for text in listed if isinstance(listed, list) else ():
                    if isinstance(text, str):
                        yield from _phrases(text)
        text = sidecar.get("activation text")
        if isinstance(text, str):
            yield from _phrases(text)


def _words_of_header(metadata: Mapping[str, Any]) -> Iterator[str]:
    phrase = metadata.get("modelspec.trigger_phrase")
    if isinstance(phrase, str) and phrase.strip():
        yield from _phrases(phrase)
        return
    frequencies = metadata.get("ss_tag_frequency")
    datasets = _json(frequencies) if isinstance(frequencies, str) else frequencies
    counts: dict[str, int] = {}
    for tags in datasets.values() if isinstance(datasets, dict) else ():
        for tag, count in tags.items() if isinstance(tags, dict) else ():
            if isinstance(count, int):
                counts[tag.strip()] = counts.get(tag.strip(), 0) + count
    most = max(counts.values(), default=0)
    common = [tag for tag, count in counts.items() if count >= most * _COMMON_TAG]
    yield from sorted(common, key=lambda tag: -counts[tag])[: _MAX_WORDS // 2]


def _phrases(text: str) -> Iterator[str]:
    yield from (part.strip() for part in re.split(r",|\n", text[:4000]))


def _family_of_keys(keys: Iterable[str]) -> str:
    text = "\n".join(keys)
    return next((family for family, pattern in _KEYS if pattern.search(text)), "")


def _weight(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 < abs(number) <= 4 else None
