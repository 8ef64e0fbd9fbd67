"""What users keep of presets: favorites, the last used ones, and defaults of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ....errors import ValidationError
from ....workflow.fields.field_types import FILE_ROLES
from ....workflow.presets.preset_store import Preset
from ...auth.access import Access
from ...components import preset_form
from ...http.handlers import PRIVATE, asked, body, guarded
from ...services import Services

__all__ = ["OwnPresets", "own_defaults"]

_FOLDER: Final = "presets"
"""The name of the presets among the folders that favorites belong to."""
_RECENT: Final = 4
_NEVER_DEFAULTS: Final = frozenset({"prompt", "negative", "seed", *FILE_ROLES})
"""Roles whose values are for one image."""


class _FavoritePreset(BaseModel):
    name: str
    marked: bool


class _Defaults(BaseModel):
    """A preset and the values of its form; none for the preset's own defaults."""

    preset: str
    values: dict[str, Any] = Field(default_factory=dict)


class OwnPresets:
    """Answers the page's requests about a user's presets."""

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access

    def routes(self) -> list[Route]:
        """Return the routes, for ``app_kwargs`` of Gradio's ``launch``."""
        return [
            Route("/presets/own", guarded(self._own)),
            Route("/presets/favorite", guarded(self._mark, writes=True), methods=["POST"]),
            Route("/presets/defaults", guarded(self._save, writes=True), methods=["POST"]),
        ]

    async def _own(self, request: Request) -> Response:
        """Respond with ids of presets, and whether the user has defaults for ``preset``."""
        user_id = self._access.require("see_own", request)
        library = self._services.library
        defaults = await library.preset_defaults(user_id, request.query_params.get("preset", ""))
        state = {
            "favorites": sorted(await library.favorites(user_id, _FOLDER)),
            "recent": (await library.recent_presets(user_id))[:_RECENT],
            "defaults": bool(defaults),
        }
        return JSONResponse(state, headers=PRIVATE)

    async def _mark(self, request: Request) -> Response:
        user_id = self._access.require("see_own", request)
        favorite = asked(_FavoritePreset, await body(request))
        preset = self._known(favorite.name)
        library = self._services.library
        await library.save_favorite(user_id, _FOLDER, preset.id, marked=favorite.marked)
        return JSONResponse({"marked": favorite.marked}, headers=PRIVATE)

    async def _save(self, request: Request) -> Response:
        """Save the values that differ from the preset's as the user's defaults."""
        user_id = self._access.require("see_own", request)
        wanted = asked(_Defaults, await body(request))
        preset = self._known(wanted.preset)
        values = _different(preset, wanted.values)
        await self._services.library.save_preset_defaults(user_id, preset.id, values)
        return JSONResponse({"defaults": bool(values)}, headers=PRIVATE)

    def _known(self, preset_id: str) -> Preset:
        preset = self._services.catalog.find(preset_id)
        if preset is None:
            raise ValidationError("There is no such preset here.")
        return preset


def _different(preset: Preset, raw: Mapping[str, Any]) -> dict[str, Any]:
    values = preset_form.job_values(preset, raw)
    for param in preset.params:
        if param.role in _NEVER_DEFAULTS or values.get(param.id) == param.default:
            values.pop(param.id, None)
    size = [param.id for param in preset.size_params or () if param.id in values]
    if size:  # both of a size or none
        for param in preset.size_params or ():
            values[param.id] = raw.get(param.id, param.default)
    return values


async def own_defaults(services: Services, user_id: str, preset: Preset) -> dict[str, Any]:
    """Return the user's defaults, as far as the preset still has their params."""
    saved = await services.library.preset_defaults(user_id, preset.id)
    return preset_form.job_values(preset, saved)
