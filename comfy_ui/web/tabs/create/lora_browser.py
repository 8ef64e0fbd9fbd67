"""The LoRAs that the form offers: a list with facts, pictures and the user's favorites."""

from __future__ import annotations

import base64
from typing import Any, Final

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ....errors import ValidationError
from ....models.model_facts import ModelFacts
from ....workflow.loras.lora_values import lora_files
from ...auth.access import Access
from ...http.handlers import PRIVATE, asked, body, guarded
from ...services import Services

__all__ = ["LoraBrowser"]

_FOLDER: Final = "loras"
_PICTURE_HEADERS: Final = {
    "Cache-Control": "private, max-age=600",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}
# Shown instead of a picture: a browser logs an error for every image that is missing.
_EMPTY_PICTURE: Final = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")


class _Favorite(BaseModel):
    name: str
    marked: bool


class LoraBrowser:
    """Answers the page's requests for LoRAs."""

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access

    def routes(self) -> list[Route]:
        """Return the routes, for ``app_kwargs`` of Gradio's ``launch``."""
        return [
            Route("/loras", guarded(self._list)),
            Route("/loras/preview", guarded(self._preview)),
            Route("/loras/favorite", guarded(self._mark, writes=True), methods=["POST"]),
        ]

    async def _list(self, request: Request) -> Response:
        """Respond with all LoRAs. ``complete`` is false while files or the server are awaited."""
        user_id = self._access.require("see_own", request)
        names, listed = self._names(), self._services.catalog.library is not None
        facts, complete = await self._services.model_facts.facts(_FOLDER, names)
        favorites = await self._services.library.favorites(user_id, _FOLDER)
        loras = [
            _lora(name, facts.get(name, ModelFacts()), favorite=name in favorites) for name in names
        ]
        return JSONResponse({"loras": loras, "complete": complete and listed}, headers=PRIVATE)

    async def _preview(self, request: Request) -> Response:
        self._access.require("see", request)
        name = self._known(request.query_params.get("name"))
        content = await self._services.model_facts.preview(_FOLDER, name)
        if content is None:
            return Response(_EMPTY_PICTURE, media_type="image/gif", headers=_PICTURE_HEADERS)
        return Response(content, media_type="image/webp", headers=_PICTURE_HEADERS)

    async def _mark(self, request: Request) -> Response:
        user_id = self._access.require("see_own", request)
        favorite = asked(_Favorite, await body(request))
        name = self._known(favorite.name)
        await self._services.library.save_favorite(user_id, _FOLDER, name, marked=favorite.marked)
        return JSONResponse({"marked": favorite.marked}, headers=PRIVATE)

    def _names(self) -> tuple[str, ...]:
        return lora_files(self._services.catalog.library) or ()

    def _known(self, name: str | None) -> str:
        """Return a name that the server lists.

        Raises:
            ValidationError: it lists no such file.
        """
        if name is None or name not in self._names():
            raise ValidationError("The server has no such LoRA.")
        return name


def _lora(name: str, facts: ModelFacts, *, favorite: bool) -> dict[str, Any]:
    return {
        "name": name,
        "title": facts.title,
        "family": facts.family,
        "base": facts.base,
        "words": list(facts.trigger_words),
        "weight": facts.weight,
        "favorite": favorite,
    }
