"""The model files that the form offers: lists with facts, pictures and the user's favorites."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ....errors import ValidationError
from ....models.model_facts import FAMILY_FOLDERS, ModelFacts
from ....protocol.object_info import NodeRegistry
from ....workflow.model_files import listed_models
from ...auth.access import Access
from ...http.handlers import PRIVATE, asked, body, guarded
from ...services import Services

__all__ = ["ModelBrowser"]

_PICTURE_HEADERS: Final = {
    "Cache-Control": "private, max-age=600",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}
# Shown instead of a picture: a browser logs an error for every image that is missing.
_EMPTY_PICTURE: Final = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")


class _Favorite(BaseModel):
    folder: str
    name: str
    marked: bool


class ModelBrowser:
    """Answers the page's requests for model files."""

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access
        self._listed: tuple[NodeRegistry, Mapping[str, Sequence[str]]] | None = None

    def routes(self) -> list[Route]:
        """Return the routes, for ``app_kwargs`` of Gradio's ``launch``."""
        return [
            Route("/models", guarded(self._list)),
            Route("/models/preview", guarded(self._preview)),
            Route("/models/favorite", guarded(self._mark, writes=True), methods=["POST"]),
        ]

    async def _list(self, request: Request) -> Response:
        """Respond with a folder. ``complete`` is false while files or the server are awaited."""
        user_id = self._access.require("see_own", request)
        folder = request.query_params.get("folder", "")
        names = self._files().get(folder, ())
        facts, sizes, complete = await self._services.model_facts.facts(folder, names)
        favorites = await self._services.library.favorites(user_id, folder)
        models = [
            {
                **_facts(folder, facts.get(name, ModelFacts())),
                "name": name,
                "size": sizes.get(name),
                "favorite": name in favorites,
            }
            for name in names
        ]
        complete = complete and self._services.catalog.library is not None
        return JSONResponse({"models": models, "complete": complete}, headers=PRIVATE)

    async def _preview(self, request: Request) -> Response:
        self._access.require("see", request)
        folder, name = (request.query_params.get(key, "") for key in ("folder", "name"))
        self._require_listed(folder, name)
        content = await self._services.model_facts.preview(folder, name)
        if content is None:
            return Response(_EMPTY_PICTURE, media_type="image/gif", headers=_PICTURE_HEADERS)
        return Response(content, media_type="image/webp", headers=_PICTURE_HEADERS)

    async def _mark(self, request: Request) -> Response:
        user_id = self._access.require("see_own", request)
        favorite = asked(_Favorite, await body(request))
        self._require_listed(favorite.folder, favorite.name)
        await self._services.library.save_favorite(
            user_id, favorite.folder, favorite.name, marked=favorite.marked
        )
        return JSONResponse({"marked": favorite.marked}, headers=PRIVATE)

    def _files(self) -> Mapping[str, Sequence[str]]:
        """The server's model files by folder."""
        library = self._services.catalog.library
        if library is None:
            return {}
        if self._listed is None or self._listed[0] is not library:
            self._listed = library, listed_models(library)
        return self._listed[1]

    def _require_listed(self, folder: str, name: str) -> None:
        """Refuse a file that the server does not list.

        Raises:
            ValidationError: it lists no such file.
        """
        if name not in self._files().get(folder, ()):
            raise ValidationError("The server has no such model file.")


def _facts(folder: str, facts: ModelFacts) -> dict[str, Any]:
    return {
        "title": facts.title,
        "family": facts.family if folder in FAMILY_FOLDERS else "",
        "base": facts.base,
        "words": list(facts.trigger_words),
        "weight": facts.weight,
    }
