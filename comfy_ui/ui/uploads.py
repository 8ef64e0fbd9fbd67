"""What visitors send up: checked, renamed, and handed to ComfyUI.

A file gets a random name signed for its owner, and a job may name only such files: with any
other name ComfyUI could be made to read what lies in its folders.
"""

from __future__ import annotations

import asyncio
import io
import re
import secrets
import warnings
from typing import Any, Final

from ..errors import ValidationError
from ..workflow.presets import Preset
from ..workflow.roles import FILE_ROLES
from .access import Access
from .backend import Backend

__all__ = ["MAX_UPLOAD_BYTES", "Uploads"]

MAX_UPLOAD_BYTES: Final = 64 * 2**20
_MAX_PIXELS: Final = 64_000_000
_PICTURES: Final = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}
_NAME: Final = re.compile(r"ui-([0-9a-f]{24})-([0-9a-f]{24})\.[a-z0-9]{3,4}")


class Uploads:
    """Files for the inputs of jobs. The names carry all state, so that a restart loses nothing."""

    def __init__(self, backend: Backend, access: Access) -> None:
        self._backend = backend
        self._access = access

    async def accept(self, content: bytes, role: str, owner: str) -> str:
        """Check the bytes, send them to ComfyUI, and give the name that a job may use.

        Raises:
            ValidationError: not a file of that kind, or too large.
            ComfyUIConnectionError: ComfyUI is away.
        """
        check = _picture if role in {"image", "mask"} else _recording
        suffix = await asyncio.to_thread(check, content)
        token = secrets.token_hex(12)
        name = f"ui-{token}-{self._access.sign(f'{owner}/{token}')[:24]}.{suffix}"
        await self._backend.client.upload_image(content, filename=name)
        return name

    def check(self, preset: Preset, values: dict[str, Any], owner: str) -> None:
        """Refuse a job that names a file which this owner did not send.

        Raises:
            ValidationError: it does.
        """
        for param in preset.params:
            name = values.get(param.id)
            if param.role in FILE_ROLES and name and not self._belongs(str(name), owner):
                raise ValidationError(
                    f"'{param.label}' is not a file of yours.", hint="Choose the file again."
                )

    def _belongs(self, name: str, owner: str) -> bool:
        match = _NAME.fullmatch(name)
        if match is None:
            return False
        right = self._access.sign(f"{owner}/{match[1]}")[:24]
        return secrets.compare_digest(match[2], right)


def _picture(content: bytes) -> str:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=list(_PICTURES)) as picture:
                suffix = _PICTURES[str(picture.format)]
                if picture.width * picture.height > _MAX_PIXELS:
                    raise ValidationError(
                        f"{picture.width} × {picture.height} pixels are too many.",
                        hint="Make the picture smaller first.",
                    )
                picture.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Warning) as error:
        raise ValidationError(
            "This is not a picture that can be used.", hint="Send a PNG, JPEG or WebP file."
        ) from error
    return suffix


def _recording(content: bytes) -> str:
    import av

    suffixes = {"mov,mp4,m4a,3gp,3g2,mj2": "mp4", "matroska,webm": "webm", "ogg": "ogg"}
    try:
        with av.open(io.BytesIO(content), mode="r") as container:
            found = container.format.name
    except (av.FFmpegError, ValueError) as error:
        raise ValidationError(
            "This is not a recording that can be used.",
            hint="Send an MP4, WebM, MP3, WAV, FLAC or Ogg file.",
        ) from error
    suffix = suffixes.get(found, found)
    if suffix not in {"mp4", "webm", "mp3", "wav", "flac", "ogg"}:
        raise ValidationError(f"Files of the kind '{found}' are not used here.")
    return suffix
