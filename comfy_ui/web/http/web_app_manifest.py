"""The web app manifest and icons, which browsers request when the page is installed.

Browsers fetch them without the login's cookie, so they are open to all; they reveal nothing.
"""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from ...resources import assets_dir

__all__ = ["HEAD", "routes"]

_KEPT: Final = {"Cache-Control": "public, max-age=86400"}
_LIGHT: Final = "#f5f4f1"  # --c-bg of the stylesheet
_ICONS: Final = {
    "/favicon.ico": "icons/icon.svg",
    "/icons/192.png": "icons/192.png",
    "/icons/512.png": "icons/512.png",
    "/icons/maskable.png": "icons/maskable.png",
    "/icons/touch.png": "icons/touch.png",
}
_MANIFEST: Final = {  # addresses are relative to its own
    "name": "comfy-ui",
    "short_name": "comfy-ui",
    "description": "Images, video and audio with ComfyUI, without nodes",
    "start_url": ".",
    "scope": ".",
    "display": "standalone",
    "background_color": _LIGHT,
    "theme_color": _LIGHT,
    "icons": [
        {"src": "icons/192.png", "sizes": "192x192", "type": "image/png"},
        {"src": "icons/512.png", "sizes": "512x512", "type": "image/png"},
        {
            "src": "icons/maskable.png",
            "sizes": "512x512",
            "type": "image/png",
            "purpose": "maskable",
        },
        {"src": "favicon.ico", "sizes": "any", "type": "image/svg+xml"},
    ],
}
_MANIFEST_PATH: Final = "/manifest.json"
"""Gradio's page names it. Gradio's own manifest has no icon of a size that may be installed."""

HEAD: Final = (
    f'<meta name="theme-color" content="{_LIGHT}">'  # app.js makes it dark with the page
    '<meta name="mobile-web-app-capable" content="yes">'
    '<link rel="apple-touch-icon" href="icons/touch.png">'
)


def routes() -> list[Route]:
    """The routes, for ``app_kwargs`` of Gradio's ``launch``."""

    async def manifest(request: Request) -> Response:
        content = {"id": f"{request.scope['root_path']}/", **_MANIFEST}
        return JSONResponse(content, media_type="application/manifest+json", headers=_KEPT)

    async def icon(request: Request) -> Response:
        return FileResponse(assets_dir() / _ICONS[request.url.path], headers=_KEPT)

    return [Route(_MANIFEST_PATH, manifest), *(Route(path, icon) for path in _ICONS)]
