"""Routes for files: results byte for byte, thumbnails, covers. Each checks the user."""

from __future__ import annotations

import mimetypes
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Route

from ...client.transfer.files import safe_name
from ...errors import ValidationError
from ...library.upload_decoding import MAX_STROKES
from ...storage.records import LibraryItem
from ..auth.access import Access
from ..components.preset_picker import cover
from ..services import Services
from .handlers import PRIVATE, asked, body, guarded, while_connected
from .upload_routes import MAX_UPLOAD_BYTES, UploadRoutes

__all__ = ["routes"]

# Shown in the page. Everything else is offered only as a download: an SVG or HTML file opened
# here would run its scripts with the page's rights.
_SHOWN: Final = (
    "image/png",
    "image/jpeg",
    "image/webp",
    "image/gif",
    "image/avif",
    "video/",
    "audio/",
)
_MAX_FEATHER: Final = 256
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; media-src 'self'; sandbox",
    "Cache-Control": "private, max-age=86400, immutable",
}


def routes(services: Services, access: Access, uploads: UploadRoutes) -> list[Route]:
    """Return the routes, for ``app_kwargs`` of Gradio's ``launch``."""

    async def _item(request: Request) -> LibraryItem | None:
        """Return the requested result if it is the user's or the request has its key.

        A user's own result is served while it can be restored; a key ends with the deletion.
        """
        user_id = access.require("see_own", request)
        number = int(request.path_params["id"])
        key = request.query_params.get("key")
        key_user_id = await services.library.user_of(number) if key else None
        if key_user_id and not access.opens(key or "", number, key_user_id):
            key_user_id = None
        for deleted in (False,) if key_user_id else (False, True):
            with suppress(ValidationError):
                return await services.library.item(number, key_user_id or user_id, deleted=deleted)
        return None

    async def original(request: Request) -> Response:
        item = await _item(request)
        if item is None:
            return _missing()
        download = "download" in request.query_params or not item.media_type.startswith(_SHOWN)
        if download and (link := await services.library.link(item)):
            return RedirectResponse(link, headers=PRIVATE | {"Referrer-Policy": "no-referrer"})
        if not (await services.library.fetch(item.path)).is_file():
            return _missing()
        return FileResponse(
            item.path,
            media_type=item.media_type,
            filename=safe_name(item.filename),
            content_disposition_type="attachment" if download else "inline",
            headers=_HEADERS,
        )

    async def thumbnail(request: Request) -> Response:
        item = await _item(request)
        if item is None or item.thumbnail is None:
            return _missing()
        return _picture(await services.library.fetch(item.thumbnail))

    async def timeline(request: Request) -> Response:
        """The frames of a video in a row, peaks of a sound as JSON, or views of a 3D model."""
        item = await _item(request)
        if item is None:
            return _missing()
        return _picture(await while_connected(request, services.library.timeline(item)))

    async def preset_cover(request: Request) -> Response:
        access.require("see", request)
        preset = services.catalog.find(request.path_params["id"])
        return _picture(cover(preset) if preset else None)

    async def upload(request: Request) -> Response:
        user_id = await access.admit("upload", request)
        content = await body(request, MAX_UPLOAD_BYTES)
        work = uploads.accept(content, request.query_params.get("role", "image"), user_id)
        return JSONResponse({"name": await while_connected(request, work)})

    async def paint(request: Request) -> Response:
        """Store what the canvas has painted over an upload.

        Responds with the image's ``name`` and, if ``separate`` is set, that of the ``mask``.
        """
        user_id = await access.admit("upload", request)
        painted = await _painted(request)
        layers: dict[str, Any] = {"strokes": painted.strokes, "sketch": painted.sketch}
        mask_name = ""
        if painted.mask is not None and painted.separate:
            work = uploads.accept_mask(painted.mask, painted.feather, user_id)
            mask_name = await while_connected(request, work)
        elif painted.mask is not None:
            layers |= {"mask": painted.mask, "feather": painted.feather}
        name = await while_connected(request, uploads.paint(painted.over, user_id, **layers))
        return JSONResponse({"name": name, "mask": mask_name})

    async def uploaded(request: Request) -> Response:
        """Return an image that the user uploaded, or a layer or its strokes for the canvas."""
        name, user_id = request.path_params["name"], access.require("see_own", request)
        media_type = mimetypes.guess_type(name)[0] or ""
        if not media_type.startswith("image/"):
            return _missing()
        match request.query_params.get("layer"):
            case "picture" | "mask" as layer:
                content = await while_connected(request, uploads.layer(name, layer, user_id))
                return Response(content, media_type="image/png", headers=_HEADERS)
            case "strokes":
                strokes = await while_connected(request, uploads.strokes(name, user_id))
                return Response(strokes or "null", media_type="application/json", headers=_HEADERS)
        content = await uploads.read(name, user_id)
        return Response(content, media_type=media_type, headers=_HEADERS)

    return [
        Route("/files/{id:int}", guarded(original)),
        Route("/thumbs/{id:int}", guarded(thumbnail)),
        Route("/timelines/{id:int}", guarded(timeline)),
        Route("/covers/{id}", guarded(preset_cover)),
        Route("/uploads", guarded(upload, writes=True), methods=["POST"]),
        Route("/uploads/canvas", guarded(paint, writes=True), methods=["POST"]),
        Route("/uploads/{name}", guarded(uploaded)),
    ]


class _Painted(BaseModel):
    """What the canvas sends: the layers over an upload, as PNG, and how to draw them again."""

    over: Annotated[str, Field(max_length=200)]
    mask: bytes | None = None
    sketch: bytes | None = None
    feather: Annotated[int, Field(ge=0, le=_MAX_FEATHER)] = 0
    strokes: Annotated[str, Field(max_length=MAX_STROKES)] = ""
    separate: bool = False
    """The preset has a field of its own for the mask."""


async def _painted(request: Request) -> _Painted:
    try:
        form = await request.form(max_files=2, max_fields=4, max_part_size=4 * MAX_STROKES)
    except HTTPException as error:
        raise ValidationError(str(error.detail)) from error
    try:
        values = {
            name: await value.read() if isinstance(value, UploadFile) else value
            for name, value in form.multi_items()
        }
    finally:
        await form.close()
    return asked(_Painted, values)


def _picture(path: Path | None) -> Response:
    if path is None or not path.is_file():
        return _missing()
    return FileResponse(path, headers=_HEADERS)


def _missing() -> Response:
    return PlainTextResponse("There is no such file.", status_code=404)
