"""Variations, upscaling and longer videos in one press, with the settings of the result.

The form stays as it is. Each new job records the result as its parent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ....errors import ComfyHeadlessError, ValidationError
from ....storage.records import JobError, LibraryItem
from ....workflow.fields.field_types import FILE_ROLES
from ....workflow.presets.preset_store import Preset, limits
from ....workflow.video_extension import continue_video
from ...auth.access import Access
from ...components import preset_form
from ...components.templates import error_notice
from ...http.handlers import PRIVATE, asked, body, guarded
from ...http.upload_routes import UploadRoutes
from ...preset_catalog import CatalogEntry, PresetCatalog
from ...services import Services
from .form_state import FormState
from .generate import GenerateHandler, GenerateResponse
from .reuse_settings import GO_ON, TOOL, image_of, tool_for, video_of

__all__ = ["STRENGTHS", "OnePress", "extension", "one_press_titles", "one_press_ways"]

STRENGTHS: Final[Mapping[str, float]] = {"subtle": 0.35, "strong": 0.7}
"""How much of the image each kind of variation redraws."""
_VIDEO_TASKS: Final = {"upscale": "video_upscale", "interpolate": "interpolate"}
_MAX_ITEMS: Final = 64


class _Wanted(BaseModel):
    """Results, and what to make of each. ``press`` is the page's idempotency key."""

    items: Annotated[list[int], Field(min_length=1, max_length=_MAX_ITEMS)]
    way: Annotated[
        str, Field(pattern=r"^(subtle|strong|upscale|extend|interpolate|tool:[\w.-]{1,120})$")
    ]
    press: Annotated[str, Field(min_length=1, max_length=48)]


def one_press_ways(item: LibraryItem, catalog: PresetCatalog) -> dict[str, CatalogEntry]:
    """Return what one press can make of a result, with the preset for it."""
    ways: dict[str, CatalogEntry] = {}
    if item.kind == "video":
        extends = _extends(item, catalog)
        if extends is not None:
            ways["extend"] = extends
        for way, task in _VIDEO_TASKS.items():
            edits = catalog.for_tasks((task,), takes="video")
            if edits is not None and edits.ready is not False:
                ways[way] = edits
        return ways
    if item.kind != "image":
        return {}
    variations = _variations(item, catalog)
    if variations is not None:
        ways |= dict.fromkeys(STRENGTHS, variations)
    upscale = catalog.for_tasks(GO_ON["upscale"])
    if upscale is not None and upscale.ready is not False:
        ways["upscale"] = upscale
    return ways


def one_press_titles(item: LibraryItem, catalog: PresetCatalog) -> dict[str, str]:
    """Return what one press can make of a result, with the title of the preset for it."""
    return {way: entry.preset.title for way, entry in one_press_ways(item, catalog).items()}


def _extends(item: LibraryItem, catalog: PresetCatalog) -> CatalogEntry | None:
    """The preset that continues a video: its own if that takes an image, else one of its family."""
    own = [entry for entry in catalog.entries if entry.preset.id == item.preset]
    family = own[0].preset.family if own else ""
    for entry in (*own, catalog.for_tasks(GO_ON["animate"], family)):
        if (
            entry is not None
            and entry.ready is not False
            and entry.preset.kind == "video"
            and entry.preset.by_role("image")
            and continue_video(entry.preset.graph) is not None
        ):
            return entry
    return None


async def extension(
    item: LibraryItem, catalog: PresetCatalog, uploads: UploadRoutes
) -> tuple[Preset, dict[str, Any]]:
    """Return a preset that continues a video, and the values that do so from its last frame.

    Raises:
        ValidationError: no preset can continue it, or it has no frame.
        StorageError: its last frame cannot be read or stored.
    """
    entry = _extends(item, catalog) if item.kind == "video" else None
    target = entry.preset.by_role("image") if entry else None
    if entry is None or target is None:
        raise ValidationError(
            "No preset here can continue this.", hint="A preset that makes videos from images can."
        )
    values = _extension_values(item, catalog.find(item.preset), entry.preset)
    return entry.preset, {**values, target.id: await image_of(item, uploads)}


def _variations(item: LibraryItem, catalog: PresetCatalog) -> CatalogEntry | None:
    """The image-to-image preset of the family that made the result."""
    made_with = catalog.find(item.preset)
    return next(
        (
            entry
            for entry in catalog.entries
            if made_with is not None
            and entry.ready is not False
            and entry.preset.task == "i2i"
            and entry.preset.family == made_with.family
            and entry.preset.by_role("image")
            and entry.preset.by_role("strength")
        ),
        None,
    )


@dataclass(frozen=True, slots=True)
class OnePress:
    """Queues the jobs."""

    services: Services
    access: Access
    uploads: UploadRoutes
    generate: GenerateHandler

    def routes(self) -> list[Route]:
        """Return the routes, for ``app_kwargs`` of Gradio's ``launch``."""
        return [Route("/create/go-on", guarded(self._go_on, writes=True), methods=["POST"])]

    async def _go_on(self, request: Request) -> Response:
        """Respond with a :class:`GenerateResponse`. Access and rate limit apply to each job."""
        user_id = await self.access.admit("run", request)
        wanted = asked(_Wanted, await body(request))
        response = GenerateResponse()
        try:
            for item_id in wanted.items:
                item = await self.services.library.item(item_id, user_id)
                draft = await self._draft(item, wanted.way, f"{wanted.press}-{item_id}")
                job_request = await self.generate.job_request(draft, request)
                if wanted.way == "extend":
                    job_request = replace(job_request, extends=True)
                response.job = (await self.services.jobs.submit(job_request)).id
        except ComfyHeadlessError as error:
            response.notice = error_notice(JobError.of(error))
        jobs = await self.services.jobs.active(user_id)
        response.shown = jobs[0].id if jobs and response.job else ""
        return JSONResponse(response.model_dump(), headers=PRIVATE)

    async def _draft(self, item: LibraryItem, way: str, press: str) -> FormState:
        """The form that makes this of a result."""
        catalog = self.services.catalog
        entry = tool_for(item, way, catalog) or one_press_ways(item, catalog).get(way)
        whole_video = item.kind == "video" and (way in _VIDEO_TASKS or way.startswith(TOOL))
        target = entry.preset.by_role("video" if whole_video else "image") if entry else None
        if entry is None or target is None:
            raise ValidationError("No preset here can do this with this result.")
        values: dict[str, Any] = {}
        made_with = catalog.find(item.preset)
        if way in STRENGTHS and made_with is not None:
            values = preset_form.carry(
                made_with, preset_form.read(made_with, item.values), entry.preset
            )
            seed, strength = entry.preset.by_role("seed"), entry.preset.by_role("strength")
            if seed is not None:  # each press makes another variation; the parent keeps the seed
                values.pop(seed.id, None)
            if strength is not None:
                values[strength.id] = STRENGTHS[way]
        if way == "extend":
            values = _extension_values(item, made_with, entry.preset)
        upload_of = video_of if whole_video else image_of
        values[target.id] = await upload_of(item, self.uploads)
        return FormState(entry.preset.id, item.prompt, values, press=press)


def _extension_values(
    item: LibraryItem, made_with: Preset | None, preset: Preset
) -> dict[str, Any]:
    """The settings of a video for a preset that continues it, in the same size and frame rate.

    Without its seed, so that it moves on differently, and without its images.
    """
    values: dict[str, Any] = {}
    if made_with is not None:
        values = preset_form.carry(made_with, preset_form.read(made_with, item.values), preset)
        old, new = made_with.by_role("fps"), preset.by_role("fps")
        if old is not None and new is not None:
            values[new.id] = item.values.get(old.id, old.default)
    for param in preset.params:
        if param.role in ("seed", *FILE_ROLES):
            values.pop(param.id, None)
    if item.width and item.height and preset.size_params:
        width, height = preset.size_params
        exact = {width.id: item.width, height.id: item.height}
        low_high = {width.id: limits(width), height.id: limits(height)}
        if all(low <= exact[name] <= high for name, (low, high) in low_high.items()):
            return values | exact
        values |= preset_form.fit_size(preset, values, item.width / item.height)
    return values
