"""The page's languages: English in the code, the others as files in ``assets/locales``.

A locale file maps each English text to its translation; ``{1}`` and so on are placeholders.
``assets/js/languages.js`` replaces the texts in the browser, so a text is written once, where it
is used, and a missing translation shows as English instead of a key.

Not gettext: cards and rows are drawn once and sent to every browser, whatever its language, and
``gr.I18n`` covers only labels of components, in the browser's language.
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
    """The routes of the locale files, for ``app_kwargs`` of Gradio's ``launch``; open to all."""

    async def words(request: Request) -> Response:
        code = request.path_params["code"]
        if code not in LANGUAGES or code == "en":
            return PlainTextResponse("There is no such language.", status_code=404)
        path = assets_dir() / "locales" / f"{code}.json"
        return FileResponse(path, headers={"Cache-Control": "public, no-cache"})

    return [Route("/languages/{code}.json", words)]
