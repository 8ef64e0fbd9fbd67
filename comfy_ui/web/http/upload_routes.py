"""Uploads: check, rename and store files until a job sends them to ComfyUI.

A file gets a random name signed for its user, and a job may name only such files: with any other
name, ComfyUI could be made to read files in its folders.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from ...client import UploadedFile
from ...errors import ValidationError
from ...library.upload_decoding import (
    decode_picture,
    decode_recording,
    paint_picture,
    picture_layer,
    soft_mask,
    strokes_of,
)
from ...storage.records import LibraryItem
from ...worker_processes.process_pool import WORKERS, Limits
from ...workflow.conditioning.picture_values import pictures_in
from ...workflow.fields.field_types import FIELD_TYPES, FILE_ROLES
from ...workflow.graph import AnyGraph, inputs_of
from ...workflow.presets.preset_store import Param, Preset
from ..auth.access import Access
from ..services import Services

__all__ = ["MAX_UPLOAD_BYTES", "UploadRoutes"]

MAX_UPLOAD_BYTES: Final = 64 * 2**20
_ENCODING: Final = Limits(cpu_s=40, wall_s=120.0)  # a PNG of 64 million pixels
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
            suffix, size = await WORKERS.run(decode_picture, content, user_id=user_id)
        else:
            suffix = await WORKERS.run(decode_recording, content, user_id=user_id)
        token = secrets.token_hex(12)
        if size is not None:
            token += f"-{size[0]}x{size[1]}"
        if item is not None:
            token += f"-of{item}"
        name = f"ui-{token}-{self._access.sign(f'{user_id}/{token}')[:24]}.{suffix}"
        await self._services.library.keep_upload(name, content, user_id)
        return name

    async def file_of(self, item: LibraryItem) -> Path:
        """Return the path of a result, once its file is on this machine.

        Raises:
            StorageError: it cannot be fetched.
        """
        return await self._services.library.fetch(item.path)

    async def paint(self, over: str, user_id: str, **layers: Any) -> str:
        """Paint over an uploaded image and return the new image's name.

        ``layers`` are the arguments of :func:`.paint_picture`.

        Raises:
            ValidationError: not the user's file, not an image, or of another size.
            StorageError: the disk refuses.
        """
        image = await self.read(over, user_id)
        content = await WORKERS.run(
            partial(paint_picture, **layers), image, user_id=user_id, limits=_ENCODING
        )
        return await self.accept(content, "image", user_id, item=self.item(over))

    async def accept_mask(self, mask: bytes, feather: int, user_id: str) -> str:
        """Store a painted mask as an image of its own and return its name.

        Raises:
            ValidationError: not an image.
            StorageError: the disk refuses.
        """
        content = await WORKERS.run(soft_mask, mask, feather, user_id=user_id, limits=_ENCODING)
        return await self.accept(content, "mask", user_id)

    async def layer(self, name: str, layer: Literal["picture", "mask"], user_id: str) -> bytes:
        """Return a part of an uploaded image as PNG, to paint its mask again.

        The ``picture`` is opaque. The ``mask`` is white where ComfyUI sees one, else transparent.

        Raises:
            ValidationError: not the user's file, or not an image.
        """
        content = await self.read(name, user_id)
        return await WORKERS.run(picture_layer, content, layer, user_id=user_id, limits=_ENCODING)

    async def strokes(self, name: str, user_id: str) -> str:
        """Return the canvas's strokes that an uploaded image was painted with; empty if none.

        Raises:
            ValidationError: not the user's file, or not an image.
        """
        content = await self.read(name, user_id)
        return await WORKERS.run(strokes_of, content, user_id=user_id)

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
        path = await asyncio.to_thread(self._services.library.uploads.path, name)
        if path is not None:
            return await asyncio.to_thread(path.read_bytes)
        return await self._services.client.download(UploadedFile.at(name))

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
        pictures = frozenset(pictures_in(values))
        if not all(self._belongs(name, user_id) for name in pictures):
            raise ValidationError(
                "A ControlNet or reference image is not an upload of yours.",
                hint="Choose the file again.",
            )
        return frozenset(named) | pictures

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
