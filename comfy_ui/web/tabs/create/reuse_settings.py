"""Reuse the settings or the image of a result or job on Create."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ....errors import StorageError, ValidationError
from ....library.video_editing import last_frame
from ....storage.records import Job, LibraryItem
from ....worker_processes.process_pool import DECODING_VIDEO, WORKERS
from ....workflow.presets.preset_store import Preset
from ...components import preset_form
from ...http.upload_routes import UploadRoutes
from ...preset_catalog import CatalogEntry, PresetCatalog
from ...services import Services
from .form_state import FormState

__all__ = [
    "GO_ON",
    "TOOL",
    "ReusedSettings",
    "image_of",
    "recall",
    "tool_for",
    "video_of",
    "ways_on",
]

TOOL: Final = "tool:"
"""Beginning of an action that runs a tool; its preset's id follows."""

GO_ON: Final[Mapping[str, tuple[str, ...]]] = {
    "edit": ("inpaint", "outpaint", "edit", "i2i"),
    "input": ("i2i", "edit"),
    "upscale": ("upscale",),
    "animate": ("i2v",),
}
"""Each action on an image, and the tasks of the presets for it, best first."""
_LAST_FRAME: Final = ("i2v", "i2i", "edit")
"""The tasks of the presets for the last frame of a video."""
_UNREADABLE: Final = {
    "image": "The image can no longer be read.",
    "video": "The video can no longer be read.",
}


def ways_on(item: LibraryItem, catalog: PresetCatalog) -> dict[str, CatalogEntry]:
    """Return the actions on a result that a preset supports, with that preset.

    They are those of :data:`GO_ON` for an image, and ``last-frame`` for a video.
    """
    made_with = catalog.find(item.preset)
    family = made_with.family if made_with else ""
    ways = {"image": GO_ON, "video": {"last-frame": _LAST_FRAME}}.get(item.kind, {})
    entries = {way: catalog.for_tasks(tasks, family) for way, tasks in ways.items()}
    return {way: entry for way, entry in entries.items() if entry is not None}


def tool_for(item: LibraryItem, action: str, catalog: PresetCatalog) -> CatalogEntry | None:
    """Return the tool that an action names, if it takes the result."""
    name = action.removeprefix(TOOL)
    return next(
        (
            entry
            for entry in catalog.tools
            if entry.preset.id == name and name != action and entry.preset.by_role(item.kind)
        ),
        None,
    )


@dataclass(frozen=True, slots=True)
class ReusedSettings:
    """The updates of Create. None: no change."""

    preset: Preset | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    prompt: str | None = None


async def recall(
    what: str,
    source: LibraryItem | Job,
    draft: FormState,
    services: Services,
    uploads: UploadRoutes,
) -> ReusedSettings:
    """Reuse ``all``, ``remix`` (all but the seed), ``prompt`` or ``seed``.

    Or use the image as ``input``, to ``upscale`` or to ``animate`` it, or the ``last-frame`` of a
    video as input, or the file in a tool.

    Raises:
        ValidationError: there is no preset for it.
        StorageError: the image cannot be read, or not be stored as an upload.
    """
    if what == "prompt":
        return ReusedSettings(prompt=source.prompt)
    current = services.catalog.entry(draft.preset).preset
    if what == "seed":
        seed = current.by_role("seed")
        now = preset_form.read(current, draft.values)
        return ReusedSettings(current, {**now, **({seed.id: source.seed} if seed else {})})
    if what in (*GO_ON, "last-frame") and isinstance(source, LibraryItem):
        return await _go_on(what, source, draft, services, uploads)
    if what.startswith(TOOL) and isinstance(source, LibraryItem):
        tool = tool_for(source, what, services.catalog)
        target = tool.preset.by_role(source.kind) if tool else None
        if tool is None or target is None:
            raise ValidationError("This tool is no longer offered.", hint="Open the tools again.")
        file_of = video_of if source.kind == "video" else image_of
        return ReusedSettings(tool.preset, {target.id: await file_of(source, uploads)})
    preset = services.catalog.find(source.preset)
    if preset is None:
        raise ValidationError(
            f"Preset '{source.preset}' no longer exists.",
            hint="Reuse only the prompt or the seed.",
        )
    values = dict(source.values)
    seed = preset.by_role("seed")
    if what == "remix" and seed is not None:
        values.pop(seed.id, None)
    return ReusedSettings(preset, values, source.prompt)


async def image_of(item: LibraryItem, uploads: UploadRoutes) -> str:
    """Store an image, or the last frame of a video, as an upload that knows where it comes from.

    Raises:
        ValidationError: the video has no frame.
        StorageError: it cannot be read or stored.
    """
    if item.kind != "video":
        return await _upload_of(item, "image", uploads)
    path = await uploads.file_of(item)
    frame = await WORKERS.run(last_frame, path, user_id=item.user_id, limits=DECODING_VIDEO)
    return await uploads.accept(frame, "image", item.user_id, item=item.id)


async def video_of(item: LibraryItem, uploads: UploadRoutes) -> str:
    """Store the video of a result as an upload that knows where it comes from.

    Raises:
        StorageError: it cannot be read or stored.
    """
    return await _upload_of(item, "video", uploads)


async def _upload_of(item: LibraryItem, role: str, uploads: UploadRoutes) -> str:
    try:
        content = await asyncio.to_thread((await uploads.file_of(item)).read_bytes)
    except OSError as error:
        raise StorageError(_UNREADABLE[role]) from error
    return await uploads.accept(content, role, item.user_id, item=item.id)


async def _go_on(
    what: str, item: LibraryItem, draft: FormState, services: Services, uploads: UploadRoutes
) -> ReusedSettings:
    """Put the image into a suitable preset, preferably the chosen one."""
    catalog = services.catalog
    current = catalog.entry(draft.preset).preset
    any_task = what in ("input", "last-frame")
    fits = current.by_role("image") is not None and (any_task or current.task in GO_ON[what])
    entry = catalog.entry(current.id) if fits else ways_on(item, catalog).get(what)
    target = entry.preset.by_role("image") if entry else None
    if entry is None or target is None:
        raise ValidationError("No preset here can do this with an image.")
    name = await image_of(item, uploads)
    now = preset_form.read(current, draft.values)
    values = now if fits else preset_form.carry(current, now, entry.preset)
    if item.width and item.height:
        values |= preset_form.fit_size(entry.preset, values, item.width / item.height)
    keeps_prompt = what in ("input", "edit", "last-frame") and draft.prompt.strip()
    prompt = None if keeps_prompt else item.prompt
    return ReusedSettings(entry.preset, {**values, target.id: name}, prompt)
