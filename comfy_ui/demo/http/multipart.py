"""Reading ``multipart/form-data`` as aiohttp does, and joining a mask to its picture."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

_PARAMETER = re.compile(r';\s*([\w*]+)=(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))')


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form; ``filename`` is None for one that is not a file."""

    data: bytes
    filename: str | None

    @property
    def text(self) -> str:
        return self.data.decode()

    @property
    def required_filename(self) -> str:
        """Raises ValueError without one: ComfyUI answers 500 then."""
        if not self.filename:
            raise ValueError("a file part without a file name")
        return self.filename


def read_form(content_type: str, body: bytes) -> dict[str, Part]:
    """The fields of a form; of several with one name, the first. Not a form: empty.

    Raises:
        ValueError: broken multipart.
    """
    boundary = _parameters(content_type).get("boundary")
    if not content_type.startswith("multipart/form-data") or not boundary:
        return {}
    delimiter = b"--" + boundary.encode()
    pieces = (b"\r\n" + body).split(b"\r\n" + delimiter)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise ValueError("multipart without its end")
    form: dict[str, Part] = {}
    for piece in pieces[1:-1]:
        head, found, data = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        if not found:
            raise ValueError("a part without headers")
        for line in head.decode("utf-8", "surrogateescape").split("\r\n"):
            name, _, value = line.partition(":")
            if name.strip().lower() == "content-disposition":
                parameters = _parameters(value)
                if "name" in parameters:
                    form.setdefault(parameters["name"], Part(data, _filename(parameters)))
    return form


def _parameters(header: str) -> dict[str, str]:
    found = _PARAMETER.findall(header)
    return {name.lower(): re.sub(r"\\(.)", r"\1", quoted) or bare for name, quoted, bare in found}


def _filename(parameters: dict[str, str]) -> str | None:
    extended = parameters.get("filename*")
    if extended is not None:
        charset, _, value = extended.partition("''")
        return unquote(value, encoding=charset or "utf-8")
    return parameters.get("filename")


def with_mask(original: Path, mask: bytes) -> bytes:
    """The picture as PNG with the mask's alpha channel.

    Raises:
        ValueError: their sizes differ.
    """
    from PIL import Image

    with Image.open(original) as picture, Image.open(io.BytesIO(mask)) as upload:
        alpha = upload.convert("RGBA").getchannel("A")
        joined = picture.convert("RGBA")
        joined.putalpha(alpha)
    buffer = io.BytesIO()
    joined.save(buffer, "PNG")
    return buffer.getvalue()
