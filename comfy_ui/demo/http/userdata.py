"""``/userdata`` and ``/templates``: what people saved, and what comes along."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from .responses import answer, empty

_PLAIN = "text/plain"


class UserFiles:
    """The handlers; below ``root`` lie ``user/`` and ``templates/``, which may both be absent.

    ``templates/`` holds ``index.json`` and NAME.json as in the package of ComfyUI's templates.
    """

    def __init__(self, root: Path, body: Callable[[Request], Awaitable[bytes]]) -> None:
        self._user = root / "user"
        self._templates = root / "templates"
        self._body = body

    async def listed(self, request: Request) -> Response:
        name = request.query_params.get("dir", "")
        if not name:
            return Response("Directory not provided", 400, media_type=_PLAIN)
        folder = _inside(self._user, name)
        if folder is None:
            return Response("Invalid directory", 403, media_type=_PLAIN)
        if not folder.is_dir():
            return Response("Directory not found", 404, media_type=_PLAIN)
        deep = request.query_params.get("recurse", "").lower() == "true"
        files = [path for path in folder.glob("**/*" if deep else "*") if path.is_file()]
        if request.query_params.get("full_info", "").lower() != "true":
            return answer([path.relative_to(folder).as_posix() for path in files])
        return answer(
            [
                {
                    "path": path.relative_to(folder).as_posix(),
                    "size": (facts := path.stat()).st_size,
                    "modified": int(facts.st_mtime * 1000),
                    "created": int(facts.st_ctime * 1000),
                }
                for path in files
            ]
        )

    async def read(self, request: Request) -> Response:
        path = self._path(request)
        if path is None:
            return empty(403)
        return (
            FileResponse(path, media_type="application/octet-stream")
            if path.is_file()
            else empty(404)
        )

    async def write(self, request: Request) -> Response:
        path = self._path(request)
        if path is None:
            return empty(403)
        if request.query_params.get("overwrite") == "false" and path.exists():
            return Response("File already exists", 409, media_type=_PLAIN)
        content = await self._body(request)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return answer(path.relative_to(self._user.resolve()).as_posix())

    async def delete(self, request: Request) -> Response:
        path = self._path(request)
        if path is None:
            return empty(403)
        if not path.is_file():
            return empty(404)
        path.unlink()
        return empty(204)

    async def template(self, request: Request) -> Response:
        path = _inside(self._templates, request.path_params["name"])
        if path is None or not path.is_file():
            return empty(404)
        return answer(json.loads(path.read_bytes()))

    def _path(self, request: Request) -> Path | None:
        return _inside(self._user, unquote(request.path_params["name"]))


def _inside(folder: Path, name: str) -> Path | None:
    """The path of ``name`` below ``folder``, or None where it leads out."""
    if "\0" in name:
        return None
    path = (folder / name).resolve()
    return path if path.is_relative_to(folder.resolve()) else None
