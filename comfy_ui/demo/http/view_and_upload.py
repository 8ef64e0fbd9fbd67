"""Files in and out of the demo engine: ``/view`` and ``/upload/…``."""

from __future__ import annotations

import asyncio
import io
import json
import mimetypes
from pathlib import Path
from typing import Any, cast

from aiohttp import web
from aiohttp.web_request import FileField

from ...pictures import RESULT_FORMATS
from ..engine_folders import KINDS, Folders, Kind, OutsideError, split_annotation

# Sent as plain bytes, so that a browser does not run them.
_INERT = frozenset({"text/html", "text/javascript", "application/javascript", "text/css"})


class ViewAndUpload:
    """The handlers of ``/view`` and ``/upload/…``, over the engine's folders."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders

    async def view(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        if "filename" not in query:
            return web.Response(status=404)
        name, kind = split_annotation(query["filename"])
        if not name or name.startswith("/") or ".." in name:
            return web.Response(status=400)
        kind = kind or cast("Kind", query.get("type", "output"))
        if kind not in KINDS:
            return web.Response(status=400)
        try:
            folder = self._folders.inside(kind, query.get("subfolder", ""))
            path = self._folders.inside(kind, query.get("subfolder", ""), name.rpartition("/")[2])
        except OutsideError:
            return web.Response(status=404 if "\0" in name else 403)
        if path.parent != folder or not path.is_file():
            return web.Response(status=404)
        headers = {"Content-Disposition": f'filename="{path.name}"'}
        if "preview" in query:
            return await asyncio.to_thread(
                _preview, path, query["preview"], query.get("channel", ""), headers
            )
        if query.get("channel") in ("rgb", "a"):
            return await asyncio.to_thread(_channel, path, query["channel"], headers)
        media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        if media_type in _INERT:
            media_type = "application/octet-stream"
        return web.FileResponse(path, headers={**headers, "Content-Type": media_type})

    async def upload_image(self, request: web.Request) -> web.Response:
        form = await request.post()
        if "image" not in form:
            return web.Response(status=400)
        image = _file(form["image"])
        return self._store(form, image.filename, image.file.read())

    async def upload_mask(self, request: web.Request) -> web.Response:
        form = await request.post()
        if "image" not in form:
            return web.Response(status=400)
        image = _file(form["image"])
        reference = json.loads(str(form["original_ref"]))
        name, kind = split_annotation(reference["filename"])
        try:
            original = self._folders.inside(
                kind or reference.get("type", "output"), reference.get("subfolder", ""), name
            )
        except OutsideError:
            original = None
        if original is None or not original.is_file():
            # As recorded: the answer claims an upload although nothing is written.
            return web.json_response(
                {
                    "name": image.filename,
                    "subfolder": form.get("subfolder", ""),
                    "type": form.get("type", "input"),
                }
            )
        data = await asyncio.to_thread(_with_mask, original, image.file.read())
        return self._store(form, image.filename, data)

    def _store(self, form: Any, filename: str, data: bytes) -> web.Response:
        kind = cast("Kind", form.get("type", "input"))
        if kind not in KINDS:
            raise ValueError(kind)
        subfolder = str(form.get("subfolder", ""))
        folders = self._folders
        try:
            path = folders.inside(kind, subfolder, filename)
            folder = folders.inside(kind, subfolder)
        except OutsideError:
            return web.Response(status=400)
        if path.parent != folder:
            raise OutsideError(filename)
        overwrite = form.get("overwrite", "") in ("true", "1")
        name = folders.store(kind, subfolder, filename, data, overwrite=overwrite)
        return web.json_response({"name": name, "subfolder": subfolder, "type": kind})


def _file(field: Any) -> FileField:
    """The uploaded file of a form field. Raises ValueError for other fields: a 500 of ComfyUI."""
    if not isinstance(field, FileField):
        raise ValueError("a file part without a file name")  # noqa: TRY004 -- a value of the form
    return field


def _preview(path: Path, preview: str, channel: str, headers: dict[str, str]) -> web.Response:
    from PIL import Image

    kind, _, quality = preview.partition(";")
    kind = "webp" if kind not in ("webp", "jpeg") or "a" in channel else kind
    buffer = io.BytesIO()
    with Image.open(path, formats=RESULT_FORMATS) as image:
        converted = image.convert("RGB") if kind == "jpeg" else image
        converted.save(buffer, kind, quality=int(quality) if quality.isdigit() else 90)
    return web.Response(body=buffer.getvalue(), headers=headers, content_type=f"image/{kind}")


def _channel(path: Path, channel: str, headers: dict[str, str]) -> web.Response:
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(path, formats=RESULT_FORMATS) as image:
        if channel == "rgb":
            converted = image.convert("RGB")
        else:
            alpha = image.convert("RGBA").getchannel("A")
            converted = Image.new("RGBA", image.size)
            converted.putalpha(alpha)
        converted.save(buffer, "PNG")
    return web.Response(body=buffer.getvalue(), headers=headers, content_type="image/png")


def _with_mask(original: Path, mask: bytes) -> bytes:
    """Return the image as PNG bytes with the mask's alpha channel.

    Raises:
        ValueError: their sizes differ.
    """
    from PIL import Image

    with (
        Image.open(original, formats=RESULT_FORMATS) as picture,
        Image.open(io.BytesIO(mask), formats=RESULT_FORMATS) as upload,
    ):
        alpha = upload.convert("RGBA").getchannel("A")
        joined = picture.convert("RGBA")
        joined.putalpha(alpha)
    buffer = io.BytesIO()
    joined.save(buffer, "PNG")
    return buffer.getvalue()
