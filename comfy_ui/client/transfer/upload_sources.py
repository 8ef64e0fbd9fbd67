"""Sources of uploads: files, bytes and images in memory, hashed and named."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ...errors import ValidationError
from ..transport.request import FilePart
from .files import safe_name

UploadSource = str | Path | bytes | BinaryIO

# First bytes of common uploads, for sources without a name.
_MAGIC = (
    (0, b"\x89PNG", ".png"),
    (0, b"\xff\xd8\xff", ".jpg"),
    (0, b"GIF8", ".gif"),
    (8, b"WEBP", ".webp"),
    (8, b"WAVE", ".wav"),
    (4, b"ftyp", ".mp4"),
    (0, b"\x1aE\xdf\xa3", ".webm"),
    (0, b"fLaC", ".flac"),
    (0, b"OggS", ".ogg"),
    (0, b"ID3", ".mp3"),
    (0, b"\xff\xfb", ".mp3"),
)


@dataclass(frozen=True, slots=True)
class PreparedUpload:
    """A file part and the hash of its bytes."""

    part: FilePart
    digest: str


def prepare_upload(
    source: UploadSource, *, filename: str | None = None, field: str = "image"
) -> PreparedUpload:
    """Hash a source and name it; a source without a name is named after its hash.

    Files are hashed in pieces and read again when sent, so a large video costs no memory.

    Raises:
        ValidationError: the file does not exist, cannot be read or is empty.
    """
    if isinstance(source, str | Path):
        return _from_path(Path(source).expanduser(), filename, field)
    content = source if isinstance(source, bytes) else source.read()
    if not isinstance(content, bytes):
        raise ValidationError("Open the file to upload in binary mode ('rb').")
    if not content:
        raise ValidationError("The file to upload is empty.")
    digest = hashlib.sha256(content).hexdigest()
    named = filename or getattr(source, "name", None)
    name = named if isinstance(named, str) else f"comfy-ui-{digest[:16]}{_suffix(content)}"
    return PreparedUpload(_part(content, name, field), digest)


def _from_path(path: Path, filename: str | None, field: str) -> PreparedUpload:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size_bytes = file.tell()
    except OSError as error:
        raise ValidationError(f"'{path}' cannot be read: {error.strerror or error}.") from error
    if not size_bytes:
        raise ValidationError(f"'{path}' is empty.")
    return PreparedUpload(_part(path, filename or path.name, field), digest)


def _part(source: bytes | Path, name: str, field: str) -> FilePart:
    name = safe_name(name)
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return FilePart(field=field, filename=name, source=source, content_type=kind)


def _suffix(content: bytes) -> str:
    for offset, magic, suffix in _MAGIC:
        if content.startswith(magic, offset):
            return suffix
    return ".bin"
