"""The demo engine's ``/userdata`` (files a user saved) and ``/templates``."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import unquote

from aiohttp import web


class UserFiles:
    """The handlers. ``user/`` and ``templates/`` below ``root`` may both be absent.

    ``templates/`` holds ``index.json`` and NAME.json as in the package of ComfyUI's templates.
    """

    def __init__(self, root: Path) -> None:
        self._user = root / "user"
        self._templates = root / "templates"

    async def listed(self, request: web.Request) -> web.StreamResponse:
        name = request.query.get("dir", "")
        if not name:
            return web.Response(text="Directory not provided", status=400)
        folder = _inside(self._user, name)
        if folder is None:
            return web.Response(text="Invalid directory", status=403)
        if not folder.is_dir():
            return web.Response(text="Directory not found", status=404)
        deep = request.query.get("recurse", "").lower() == "true"
        files = [path for path in folder.glob("**/*" if deep else "*") if path.is_file()]
        if request.query.get("full_info", "").lower() != "true":
            return web.json_response([path.relative_to(folder).as_posix() for path in files])
        return web.json_response(
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

    async def read(self, request: web.Request) -> web.StreamResponse:
        path = self._path(request)
        if path is None:
            return web.Response(status=403)
        return (
            web.FileResponse(path, headers={"Content-Type": "application/octet-stream"})
            if path.is_file()
            else web.Response(status=404)
        )

    async def write(self, request: web.Request) -> web.StreamResponse:
        path = self._path(request)
        if path is None:
            return web.Response(status=403)
        if request.query.get("overwrite") == "false" and path.exists():
            return web.Response(text="File already exists", status=409)
        content = await request.read()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return web.json_response(path.relative_to(self._user.resolve()).as_posix())

    async def delete(self, request: web.Request) -> web.StreamResponse:
        path = self._path(request)
        if path is None:
            return web.Response(status=403)
        if not path.is_file():
            return web.Response(status=404)
        path.unlink()
        return web.Response(status=204)

    async def template(self, request: web.Request) -> web.StreamResponse:
        path = _inside(self._templates, request.match_info["name"])
        if path is None or not path.is_file():
            return web.Response(status=404)
        return web.json_response(json.loads(path.read_bytes()))

    def _path(self, request: web.Request) -> Path | None:
        return _inside(self._user, unquote(request.match_info["name"]))


def _inside(folder: Path, name: str) -> Path | None:
    """Return the path of ``name`` below ``folder``, or None if it leads out."""
    if "\0" in name:
        return None
    path = (folder / name).resolve()
    return path if path.is_relative_to(folder.resolve()) else None
