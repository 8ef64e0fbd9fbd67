"""Uploads: check, rename and store files until a job sends them to ComfyUI.

A file gets a random name signed for its user, and a job may name only such files: with any other
name, ComfyUI could be made to read files in its folders.
"""

from __future__ import annotations

import asyncio
import io
import re
import secrets
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from ...client import UploadedFile
from ...errors import ValidationError
from ...workflow.fields.field_types import FIELD_TYPES, FILE_ROLES
from ...workflow.graph import AnyGraph, inputs_of
from ...workflow.presets.preset_store import Param, Preset
from ..auth.access import Access
from ..services import Services

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["MAX_UPLOAD_BYTES", "UploadRoutes"]

T = TypeVar("T")

MAX_UPLOAD_BYTES: Final = 64 * 2**20
_MAX_PIXELS: Final = 64_000_000
_PICTURES: Final = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}
_ORIENTATION: Final = 0x0112  # EXIF orientation; ComfyUI and browsers rotate the image by it
_LYING: Final = (5, 6, 7, 8)
_NAME: Final = re.compile(
    r"ui-(?P<token>[0-9a-f]{24}(?:-(?P<width>\d{1,5})x(?P<height>\d{1,5}))?(?:-of(?P<item>\d{1,19}))?)"
    r"-(?P<signature>[0-9a-f]{24})\.[a-z0-9]{3,4}"
)


class UploadRoutes:
    """Uploads for the inputs of jobs. The names carry all state, so a restart loses nothing."""

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access

    async def accept(
        self, content: bytes, role: str, user_id: str, *, item: int | None = None
    ) -> str:
        """Check and store the bytes, and return the name for jobs.

        Works while ComfyUI is away: which server needs the file is decided later. ``item`` is the
        id of the result that the bytes come from, see :meth:`item`.

        Raises:
            ValidationError: not a file of that kind, too large, or the storage limit is reached.
            StorageError: the disk refuses.
        """
        size = None
        field_type = FIELD_TYPES.get(role)
        if field_type is not None and field_type.accept.startswith("image/"):
            suffix, size = await _decoded(_picture, content)
        else:
            suffix = await _decoded(_recording, content)
        token = secrets.token_hex(12)
        if size is not None:
            token += f"-{size[0]}x{size[1]}"
        if item is not None:
            token += f"-of{item}"
        name = f"ui-{token}-{self._access.sign(f'{user_id}/{token}')[:24]}.{suffix}"
        await self._services.library.keep_upload(name, content, user_id)
        return name

    async def paint(self, over: str, mask: bytes, user_id: str) -> str:
        """Put a painted mask into an uploaded image and return the new image's name.

        White marks the area to change. It becomes the image's transparency, where ComfyUI
        reads it; the colors below stay.

        Raises:
            ValidationError: not the user's file, not an image, or of another size.
            StorageError: the disk refuses.
        """
        content = await _decoded(_masked, await self.read(over, user_id), mask)
        return await self.accept(content, "image", user_id, item=self.item(over))

    async def layer(self, name: str, layer: Literal["picture", "mask"], user_id: str) -> bytes:
        """Return a part of an uploaded image as PNG, to paint its mask again.

        The ``picture`` is opaque. The ``mask`` is white where ComfyUI sees one, else transparent.

        Raises:
            ValidationError: not the user's file, or not an image.
        """
        return await _decoded(_layer, await self.read(name, user_id), layer)

    def item(self, name: str) -> int | None:
        """Return the id of the result that an upload comes from, if it comes from one."""
        match = _NAME.fullmatch(name)
        return int(match["item"]) if match and match["item"] else None

    async def read(self, name: str, user_id: str) -> bytes:
        """Read a file that the user uploaded.

        Raises:
            ValidationError: it is not the user's.
            OutputMissingError, ComfyUIConnectionError: it is old, and ComfyUI no longer has it
                or is away.
        """
        if not self._belongs(name, user_id):
            raise ValidationError("This is not an upload of yours.", hint="Choose the file again.")
        path = self._services.library.uploads.path(name)
        if path is not None:
            return await asyncio.to_thread(path.read_bytes)
        content = await self._services.client.download(UploadedFile.at(name))
        return content if isinstance(content, bytes) else content.read_bytes()

    def check(self, preset: Preset, values: dict[str, Any], user_id: str) -> frozenset[str]:
        """Refuse a job that names a file the user did not upload; return the files it names.

        A preset's own files may be used by all.

        Raises:
            ValidationError: it names such a file, or a mask differs in size from the image.
        """
        named: dict[str, Param] = {}
        for param in preset.params:
            name = values.get(param.id)
            if param.role not in FILE_ROLES or not name:
                continue
            if name != param.default and not self._belongs(str(name), user_id):
                raise ValidationError(
                    f"'{param.label}' is not an upload of yours.", hint="Choose the file again."
                )
            named[str(name)] = param
        _same_size(named)
        return frozenset(named)

    def among(self, graph: AnyGraph, user_id: str) -> frozenset[str]:
        """Return the user's files that a graph names."""
        values = [value for node in graph for value in inputs_of(graph, node).values()]
        return frozenset(v for v in values if isinstance(v, str) and self._belongs(v, user_id))

    def _belongs(self, name: str, user_id: str) -> bool:
        match = _NAME.fullmatch(name)
        if match is None:
            return False
        right = self._access.sign(f"{user_id}/{match['token']}")[:24]
        return secrets.compare_digest(match["signature"], right)


@cache
def _decoders() -> ThreadPoolExecutor:
    """Limit decoding to two images at once: each may need 256 MB."""
    return ThreadPoolExecutor(2, thread_name_prefix="uploads")


async def _decoded(look: Callable[..., T], *arguments: bytes | str) -> T:
    return await asyncio.get_running_loop().run_in_executor(_decoders(), look, *arguments)


def _same_size(named: Mapping[str, Param]) -> None:
    """Require equal sizes: ComfyUI would stretch the mask of another image silently."""
    sizes: dict[str, list[str]] = {"image": [], "mask": []}
    for name, param in named.items():
        match = _NAME.fullmatch(name)
        if param.role in sizes and match is not None and match["width"]:
            sizes[param.role].append(f"{match['width']} × {match['height']}")
    if len(sizes["image"]) == len(sizes["mask"]) == 1 and sizes["image"] != sizes["mask"]:
        raise ValidationError(
            f"The mask has {sizes['mask'][0]} pixels and the image {sizes['image'][0]}: "
            "they must be the same.",
            hint="Paint the mask over this image, or scale one of them.",
        )


def _picture(content: bytes) -> tuple[str, tuple[int, int]]:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=list(_PICTURES)) as picture:
                suffix = _PICTURES[str(picture.format)]
                if picture.width * picture.height > _MAX_PIXELS:
                    raise ValidationError(
                        f"{picture.width} × {picture.height} pixels are too many.",
                        hint="Make the image smaller first.",
                    )
                picture.load()
                size = picture.size
                if picture.getexif().get(_ORIENTATION) in _LYING:
                    size = size[::-1]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Warning) as error:
        raise ValidationError(
            "This image cannot be used.", hint="Upload a PNG, JPEG or WebP file."
        ) from error
    return suffix, size


def _masked(picture: bytes, mask: bytes) -> bytes:
    from PIL import Image, ImageChops, ImageOps

    _picture(mask)
    with Image.open(io.BytesIO(picture)) as below, Image.open(io.BytesIO(mask)) as above:
        upright = ImageOps.exif_transpose(below).convert("RGB")
        painted = above.convert("L")
    if painted.size != upright.size:
        sizes = [f"{image.width} × {image.height}" for image in (painted, upright)]
        raise ValidationError(
            f"The mask has {sizes[0]} pixels and the image {sizes[1]}: they must be the same."
        )
    upright.putalpha(ImageChops.invert(painted))
    return _png(upright)


def _layer(content: bytes, layer: str) -> bytes:
    from PIL import Image, ImageChops, ImageOps

    _picture(content)
    with Image.open(io.BytesIO(content)) as picture:
        upright = ImageOps.exif_transpose(picture).convert("RGBA")
    if layer == "picture":
        return _png(upright.convert("RGB"))
    white = Image.new("L", upright.size, 255)
    return _png(Image.merge("LA", (white, ImageChops.invert(upright.getchannel("A")))))


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _recording(content: bytes) -> str:
    import av

    suffixes = {"mov,mp4,m4a,3gp,3g2,mj2": "mp4", "matroska,webm": "webm", "ogg": "ogg"}
    try:
        with av.open(io.BytesIO(content), mode="r") as container:
            format_name = container.format.name
    except (av.FFmpegError, ValueError) as error:
        raise ValidationError(
            "This recording cannot be used.",
            hint="Upload an MP4, WebM, MP3, WAV, FLAC or Ogg file.",
        ) from error
    suffix = suffixes.get(format_name, format_name)
    if suffix not in {"mp4", "webm", "mp3", "wav", "flac", "ogg"}:
        raise ValidationError(f"Files of the kind '{format_name}' are not used here.")
    return suffix
