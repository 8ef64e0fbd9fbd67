"""The page's languages. English is in the code; the others are files in ``assets/locales``.

A file maps what is said in English to what is said instead, ``{1}`` and so on standing for what
varies. The page replaces it (``assets/js/languages.js``): so a text is written once, where it is used,
and one that nobody has translated yet is English instead of a name of a key.
"""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from ..resources import assets_dir

__all__ = ["LANGUAGES", "routes"]

LANGUAGES: Final = {"en": "English", "de": "Deutsch", "ja": "日本語", "zh": "中文"}


def routes() -> list[Route]:
    """The routes, for ``app_kwargs`` of Gradio's ``launch``. The gate lets everybody have them."""

    async def words(request: Request) -> Response:
        code = request.path_params["code"]
        if code not in LANGUAGES or code == "en":
            return PlainTextResponse("There is no such language here.", status_code=404)
        path = assets_dir() / "locales" / f"{code}.json"
        return FileResponse(path, headers={"Cache-Control": "public, no-cache"})

    return [Route("/languages/{code}.json", words)]
