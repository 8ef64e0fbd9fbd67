"""Files in and out: ``/view`` and ``/upload/…``."""

from __future__ import annotations

import asyncio
import io
import json
import mimetypes
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from ..engine_folders import KINDS, Folders, Kind, OutsideError, split_annotation
from .multipart import Part, read_form, with_mask
from .responses import answer, empty

# Sent as plain bytes, so that a browser does not run them.
_INERT = frozenset({"text/html", "text/javascript", "application/javascript", "text/css"})


class Transfers:
    """The handlers; ``body`` reads a request within the limit of its size."""

    def __init__(self, folders: Folders, body: Callable[[Request], Awaitable[bytes]]) -> None:
        self._folders = folders
        self._body = body

    async def view(self, request: Request) -> Response:
        query = request.query_params
        if "filename" not in query:
            return empty(404)
        name, kind = split_annotation(query["filename"])
        if not name or name.startswith("/") or ".." in name:
            return empty(400)
        kind = kind or cast("Kind", query.get("type", "output"))
        if kind not in KINDS:
            return empty(400)
        try:
            folder = self._folders.inside(kind, query.get("subfolder", ""))
            path = self._folders.inside(kind, query.get("subfolder", ""), name.rpartition("/")[2])
        except OutsideError:
            return empty(404 if "\0" in name else 403)
        if path.parent != folder or not path.is_file():
            return empty(404)
        header = {"content-disposition": f'filename="{path.name}"'}
        if "preview" in query:
            return await asyncio.to_thread(
                _preview, path, query["preview"], query.get("channel", ""), header
            )
        if query.get("channel") in ("rgb", "a"):
            return await asyncio.to_thread(_channel, path, query["channel"], header)
        media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        if media_type in _INERT:
            media_type = "application/octet-stream"
        stat = path.stat()
        header["etag"] = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'
        if request.headers.get("if-none-match") == header["etag"]:
            return Response(b"", 304, headers=_utf8(header), media_type=media_type)
        return FileResponse(path, headers=_utf8(header), media_type=media_type, stat_result=stat)

    async def upload_image(self, request: Request) -> Response:
        form = read_form(request.headers.get("content-type", ""), await self._body(request))
        if "image" not in form:
            return empty(400)
        return self._store(form, form["image"].data)

    async def upload_mask(self, request: Request) -> Response:
        form = read_form(request.headers.get("content-type", ""), await self._body(request))
        if "image" not in form:
            return empty(400)
        reference = json.loads(form["original_ref"].text)
        name, kind = split_annotation(reference["filename"])
        try:
            original = self._folders.inside(
                kind or reference.get("type", "output"), reference.get("subfolder", ""), name
            )
        except OutsideError:
            original = None
        if original is None or not original.is_file():
            # As recorded: it says so although nothing is written.
            return answer(
                {
                    "name": form["image"].required_filename,
                    "subfolder": form["subfolder"].text if "subfolder" in form else "",
                    "type": form["type"].text if "type" in form else "input",
                }
            )
        data = await asyncio.to_thread(with_mask, original, form["image"].data)
        return self._store(form, data)

    def _store(self, form: dict[str, Part], data: bytes) -> Response:
        def text(name: str, default: str) -> str:
            return form[name].text if name in form else default

        kind = cast("Kind", text("type", "input"))
        if kind not in KINDS:
            raise ValueError(kind)
        filename, subfolder = form["image"].required_filename, text("subfolder", "")
        folders = self._folders
        try:
            path = folders.inside(kind, subfolder, filename)
            folder = folders.inside(kind, subfolder)
        except OutsideError:
            return empty(400)
        if path.parent != folder:
            raise OutsideError(filename)
        overwrite = text("overwrite", "") in ("true", "1")
        name = folders.store(kind, subfolder, filename, data, overwrite=overwrite)
        return answer({"name": name, "subfolder": subfolder, "type": kind})


def _raw(header: str) -> str:
    """UTF-8 bytes as Starlette's latin-1 headers carry them: ComfyUI sends them raw."""
    return header.encode().decode("latin-1")


def _preview(path: Path, wanted: str, channel: str, header: dict[str, str]) -> Response:
    from PIL import Image

    kind, _, quality = wanted.partition(";")
    kind = "webp" if kind not in ("webp", "jpeg") or "a" in channel else kind
    buffer = io.BytesIO()
    with Image.open(path) as image:
        shown = image.convert("RGB") if kind == "jpeg" else image
        shown.save(buffer, kind, quality=int(quality) if quality.isdigit() else 90)
    return Response(buffer.getvalue(), headers=_utf8(header), media_type=f"image/{kind}")


def _channel(path: Path, channel: str, header: dict[str, str]) -> Response:
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(path) as image:
        if channel == "rgb":
            shown = image.convert("RGB")
        else:
            alpha = image.convert("RGBA").getchannel("A")
            shown = Image.new("RGBA", image.size)
            shown.putalpha(alpha)
        shown.save(buffer, "PNG")
    return Response(buffer.getvalue(), headers=_utf8(header), media_type="image/png")


def _utf8(header: dict[str, str]) -> dict[str, str]:
    return {name: _raw(value) for name, value in header.items()}
