"""Model files of a Hugging Face repository or a Civitai model, by URL or id.

Formats: Hugging Face's ``/api/models/ID/revision/REVISION?blobs=true``, Civitai's
``/api/v1/models/ID`` and ``/api/v1/model-versions/ID``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, quote, unquote, urlsplit

from ..errors import MissingModel, ModelDownloadError, ValidationError, closest
from ..workflow.model_files import basename, is_model_file
from .download import ModelSources, fetch_json

__all__ = ["PublishedModel", "choose_file", "is_address", "look_up"]

_CIVITAI: Final = "civitai.com"
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[\w.-]{1,96}")
_FOLDERS: Final = frozenset(
    {
        "audio_encoders",
        "checkpoints",
        "clip_vision",
        "controlnet",
        "diffusion_models",
        "embeddings",
        "latent_upscale_models",
        "loras",
        "model_patches",
        "style_models",
        "text_encoders",
        "upscale_models",
        "vae",
    }
)
_CIVITAI_FOLDERS: Final = {
    "checkpoint": "checkpoints",
    "controlnet": "controlnet",
    "dora": "loras",
    "locon": "loras",
    "lora": "loras",
    "textualinversion": "embeddings",
    "upscaler": "upscale_models",
    "vae": "vae",
}


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """The model files at an address. ``MissingModel.folder`` is empty if nothing tells it."""

    title: str
    files: tuple[MissingModel, ...]


def is_address(text: str) -> bool:
    """Whether a text is a web address or the id of a Hugging Face repository.

    >>> is_address("owner/name"), is_address("https://civitai.com/models/1"), is_address("sdxl")
    (True, True, False)
    """
    return text.startswith("https://") or _REPOSITORY.fullmatch(text) is not None


async def look_up(address: str, sources: ModelSources) -> PublishedModel:
    """Ask the publisher for the files at an address.

    Raises:
        ValidationError: the address is of neither publisher, or has no model file.
        ModelDownloadError: the host is not allowed, the model does not exist, or requires a login.
    """
    if _REPOSITORY.fullmatch(address):
        address = f"https://{sources.hub}/{address}"
    parts = urlsplit(address)
    if parts.netloc.removeprefix("www.") == _CIVITAI:
        return read_civitai(await fetch_json(_civitai_api(address), sources))
    if parts.netloc not in {sources.hub, "hf.co"}:
        raise ValidationError(
            f"'{address[:200]}' is neither at Hugging Face nor at Civitai.",
            hint="Give a model's page there, or OWNER/NAME.",
        )
    repository, revision, path = _hub_parts(parts.path)
    api = f"https://{sources.hub}/api/models/{repository}/revision/{quote(revision, safe='')}"
    answer = await fetch_json(f"{api}?blobs=true", sources)
    base = f"https://{sources.hub}/{repository}/resolve/{quote(revision, safe='')}"
    return read_repository(answer, base, path)


def choose_file(model: PublishedModel, name: str | None, folder: str | None) -> MissingModel:
    """Choose one file by its name, or the only one, for a folder.

    Raises:
        ValidationError: there are several, none of that name, or nothing tells the folder.
    """
    names = [file.filename for file in model.files]
    chosen = [file for file in model.files if name in {None, file.filename}]
    if not chosen:
        raise ValidationError(
            f"{model.title} has no file '{name}'.", hint=closest(name or "", names)
        )
    if len(chosen) > 1:
        raise ValidationError(
            f"{model.title} has several files.", hint=f"Name one of them: {', '.join(names)}"
        )
    file = chosen[0]
    if not (folder or file.folder):
        raise ValidationError(
            f"Nothing tells the folder for '{file.filename}'.", hint="Name it with --to."
        )
    return MissingModel(
        folder or file.folder,
        file.filename,
        file.url,
        file.size_bytes,
        file.license,
        file.gated,
        file.sha256,
    )


def read_repository(answer: Any, base: str, path: str = "") -> PublishedModel:
    """Read Hugging Face's answer; ``path`` limits it to a file or a folder of the repository."""
    about = _mapping(answer)
    card = _mapping(about.get("cardData"))
    files = []
    for entry in _mappings(about.get("siblings")):
        name = _text(entry.get("rfilename"))
        below = path in {"", name} or name.startswith(f"{path.rstrip('/')}/")
        if not is_model_file(name) or not below:
            continue
        lfs = _mapping(entry.get("lfs"))
        files.append(
            MissingModel(
                _folder_in(name),
                basename(name),
                f"{base}/{quote(name)}",
                _size(lfs.get("size") or entry.get("size")),
                _text(card.get("license")) or None,
                bool(about.get("gated")),
                _sha256(lfs.get("sha256")),
            )
        )
    return _with_files(_text(about.get("id")) or base, files)


def read_civitai(answer: Any) -> PublishedModel:
    """Read Civitai's answer about a model (its newest version counts) or about a version."""
    about = _mapping(answer)
    version = next(_mappings(about.get("modelVersions")), about)
    model = _mapping(about.get("model")) or about
    folder = _CIVITAI_FOLDERS.get(_text(model.get("type")).lower(), "")
    files = [
        MissingModel(
            "vae" if entry.get("type") == "VAE" else folder,
            _text(entry.get("name")),
            _text(entry.get("downloadUrl")),
            _size(1024 * entry["sizeKB"] if isinstance(entry.get("sizeKB"), int | float) else None),
            sha256=_sha256(_mapping(entry.get("hashes")).get("SHA256")),
        )
        for entry in _mappings(version.get("files"))
        if is_model_file(entry.get("name"))
    ]
    return _with_files(_text(model.get("name")) or "The model", files)


def _civitai_api(address: str) -> str:
    parts = urlsplit(address)
    version = parse_qs(parts.query).get("modelVersionId", [""])[0]
    if match := re.fullmatch(r"/api/(?:download/models|v1/model-versions)/(\d+)/?", parts.path):
        version = match[1]
    if version.isdecimal():
        return f"https://{_CIVITAI}/api/v1/model-versions/{version}"
    if match := re.match(r"/(?:api/v1/)?models/(\d+)(?:/|$)", parts.path):
        return f"https://{_CIVITAI}/api/v1/models/{match[1]}"
    raise ValidationError(f"'{address[:200]}' is not the page of a model.")


def _hub_parts(path: str) -> tuple[str, str, str]:
    """Split the path of a repository's page into repository, revision and path within it."""
    segments = [unquote(segment) for segment in path.strip("/").split("/")]
    repository = "/".join(segments[:2])
    if not _REPOSITORY.fullmatch(repository) or segments[0] in {"datasets", "spaces"}:
        raise ValidationError(f"'{path[:200]}' is not a model repository.")
    if len(segments) > 3 and segments[2] in {"tree", "blob", "resolve"}:
        return repository, segments[3], "/".join(segments[4:])
    return repository, "main", ""


def _folder_in(path: str) -> str:
    """The folder below ``models/`` that a path in a repository names, as Comfy-Org's do."""
    return next((s for s in reversed(path.split("/")[:-1]) if s in _FOLDERS), "")


def _with_files(title: str, files: list[MissingModel]) -> PublishedModel:
    if not files:
        raise ModelDownloadError(f"{title[:200]} has no model file.")
    return PublishedModel(title[:200], tuple(files))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    entries = value if isinstance(value, list) else []
    return (entry for entry in entries if isinstance(entry, Mapping))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _size(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) and 0 < value < 10**13 else None


def _sha256(value: Any) -> str | None:
    digest = _text(value).lower()
    return digest if re.fullmatch(r"[0-9a-f]{64}", digest) else None
