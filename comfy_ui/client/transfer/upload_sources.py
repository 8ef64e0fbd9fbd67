"""Sources of uploads: files, bytes and images in memory, hashed and named."""

from __future__ import annotations

import hashlib
import io
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from ...errors import ValidationError
from ...protocol.outputs import OutputFile
from ..transport.request import FilePart
from .files import safe_name
from .web_files import download_web_file, is_web_address


class ArrayLike(Protocol):
    """An image in memory: a Pillow image or a NumPy array."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...


LocalSource = str | Path | bytes | bytearray | memoryview | BinaryIO | ArrayLike
UploadSource = LocalSource | OutputFile
"""A file to upload: its path, its URL (``https://…``), bytes, a file opened in binary mode, an
image in memory (a Pillow image, or an array of rows, columns and channels as uint8 or as floats
from 0.0 to 1.0), or a file of an earlier result."""

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
    source: LocalSource, *, filename: str | None = None, field: str = "image"
) -> PreparedUpload:
    """Hash a source and name it; a source without a name is named after its hash.

    Files are hashed in pieces and read again when sent, so a large video costs no memory.

    Raises:
        ValidationError: the file does not exist, cannot be read or is empty; or an array is no
            image.
    """
    if isinstance(source, str) and is_web_address(source):
        content, name = download_web_file(source)
        return prepare_upload(content, filename=filename or name or None, field=field)
    if isinstance(source, str | Path):
        return _from_path(Path(source).expanduser(), filename, field)
    content = _content(source)
    if not content:
        raise ValidationError("The file to upload is empty.")
    digest = hashlib.sha256(content).hexdigest()
    named = filename or getattr(source, "name", None)
    name = named if isinstance(named, str) else f"comfy-ui-{digest[:16]}{_suffix(content)}"
    return PreparedUpload(_part(content, name, field), digest)


def _content(source: Any) -> bytes:
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if is_image(source):
        return _png(source)
    try:
        content = source.read()
    except UnicodeDecodeError:
        content = None
    if not isinstance(content, bytes):
        raise ValidationError("Open the file to upload in binary mode ('rb').")
    return content


def is_image(value: object) -> bool:
    """Whether a value is an image in memory, and not a NumPy number."""
    is_pillow = hasattr(value, "__array_interface__") and hasattr(value, "mode")
    return is_pillow or len(getattr(value, "shape", ())) > 1


def is_file(value: object) -> bool:
    """Whether a value is certainly a file to upload; a str may be one, too."""
    is_content = isinstance(value, bytes | bytearray | memoryview)
    return is_content or isinstance(value, Path) or hasattr(value, "read") or is_image(value)


def _png(image: Any) -> bytes:
    from PIL import Image

    picture = image if isinstance(image, Image.Image) else Image.fromarray(_pixels(image))
    if picture.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        picture = picture.convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _pixels(array: Any) -> Any:
    """An array as 8-bit rows and columns, with 3 or 4 channels or none."""
    import numpy as np

    pixels = np.asarray(array)
    if pixels.ndim == 4 and len(pixels) == 1:  # a batch of one, as ComfyUI's own nodes have it
        pixels = pixels[0]
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.dtype.kind == "f":
        pixels = np.rint(np.clip(np.nan_to_num(pixels), 0.0, 1.0) * 255).astype(np.uint8)
    elif pixels.dtype.kind == "b":
        pixels = pixels.astype(np.uint8) * 255
    if pixels.dtype != np.uint8 or not (
        pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    ):
        raise ValidationError(
            f"An array of {pixels.dtype} with the shape {pixels.shape} is no image.",
            hint="Pass rows, columns and 3 or 4 channels, as uint8 or as floats from 0.0 to 1.0.",
        )
    return pixels


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
