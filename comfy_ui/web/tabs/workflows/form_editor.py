"""Edit the forms of opened workflows and of presets that were saved here. For admins only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ....errors import StorageError, ValidationError
from ....storage.records import LibraryItem
from ....workflow.editor.app_mode import with_app_mode
from ....workflow.presets.form_edit import FormEdit, edited
from ....workflow.presets.preset_store import Preset
from ...auth.access import Access
from ...components import preset_form
from ...components.html import Html
from ...http.handlers import PRIVATE, asked, body, guarded
from ...http.upload_routes import MAX_UPLOAD_BYTES
from ...services import Services
from .form_rows import deleted, form_editor

__all__ = ["FormEditor"]


class _FormRequest(BaseModel):
    """An edited form, to save or only to preview."""

    id: str
    form: FormEdit
    preview: bool = False


class _PresetChange(BaseModel):
    """What to do with a preset; ``version`` is the one to restore."""

    id: str
    change: Literal["duplicate", "delete", "restore"]
    version: int = 0


class FormEditor:
    """Answers the page's requests about the form of one preset or opened workflow.

    ``report`` draws the report on a preset or opened workflow.
    """

    def __init__(self, services: Services, access: Access, report: Callable[[str], Html]) -> None:
        self._services = services
        self._access = access
        self._report = report

    def routes(self) -> list[BaseRoute]:
        """Return the routes; all but the export answer with HTML to draw."""
        return [
            Route("/workflows/form", guarded(self._open), methods=["GET"]),
            Route("/workflows/form", guarded(self._edit, writes=True), methods=["POST"]),
            Route("/workflows/change", guarded(self._change, writes=True), methods=["POST"]),
            Route("/workflows/cover", guarded(self._cover, writes=True), methods=["POST"]),
            Route("/workflows/export", guarded(self._export)),
        ]

    async def _open(self, request: Request) -> Response:
        """Show the editor."""
        self._access.require("open_workflow", request)
        return await self._shown(await self._preset(request.query_params.get("id", "")))

    async def _edit(self, request: Request) -> Response:
        """Save an edited form, or draw the form that it would give."""
        user_id = self._access.require("open_workflow", request)
        wish = asked(_FormRequest, await body(request))
        preset = edited(await self._preset(wish.id), wish.form)
        if wish.preview:
            library = self._services.catalog.library
            return _answer(preset_form.form(preset, {}, library=library))
        saved = self._services.saved_workflows
        if await asyncio.to_thread(saved.is_own, preset.id):
            await asyncio.to_thread(saved.update, preset, saved_by=user_id)
            await self._services.catalog.look()
        else:
            await self._services.open_workflows.edit(preset)
        return _answer(self._report(preset.id))

    async def _change(self, request: Request) -> Response:
        """Duplicate or delete a preset, or bring back a version."""
        user_id = self._access.require("open_workflow", request)
        wish = asked(_PresetChange, await body(request))
        saved = self._services.saved_workflows
        match wish.change:
            case "delete":
                version = await asyncio.to_thread(saved.delete, wish.id)
                await self._services.catalog.look()
                return _answer(deleted(wish.id, version.title, version.number))
            case "duplicate":
                preset = await asyncio.to_thread(saved.duplicate, wish.id, saved_by=user_id)
            case "restore":
                preset = await asyncio.to_thread(
                    saved.restore, wish.id, wish.version, saved_by=user_id
                )
        await self._services.catalog.look()
        return await self._shown(preset)

    async def _cover(self, request: Request) -> Response:
        """Make an image the cover of a preset: the body, or the picture of a result."""
        user_id = self._access.require("open_workflow", request)
        name, item_id = (request.query_params.get(key, "") for key in ("id", "item"))
        if item_id.isdecimal():
            item = await self._services.library.item(int(item_id), user_id)
            content = await self._picture(item)
        else:
            content = await body(request, MAX_UPLOAD_BYTES)
        await asyncio.to_thread(self._services.saved_workflows.set_cover, name, content)
        await self._services.catalog.look()
        return JSONResponse({}, headers=PRIVATE)

    async def _picture(self, item: LibraryItem) -> bytes:
        """Return the thumbnail of a result, which is large enough for a cover."""
        if item.thumbnail is None:
            return b""
        path = await self._services.library.fetch(item.thumbnail)
        try:
            return await asyncio.to_thread(path.read_bytes)
        except OSError as error:
            raise StorageError("The picture of this result cannot be read.") from error

    async def _export(self, request: Request) -> Response:
        """Send a preset's files as a ZIP, or the file of ComfyUI's editor with the form in it."""
        self._access.require("open_workflow", request)
        preset = await self._preset(request.query_params.get("id", ""))
        saved = self._services.saved_workflows
        if request.query_params.get("to") != "comfyui":
            content = await asyncio.to_thread(saved.archive, preset.id)
            return _download(content, f"{preset.id}.zip", "application/zip")
        editor = await asyncio.to_thread(saved.editor_file, preset.id)
        library = self._services.catalog.library
        if editor is None or library is None:
            raise ValidationError(
                "This preset was not made from a file of ComfyUI's editor.",
                hint="Export its two files instead.",
            )
        file = await asyncio.to_thread(with_app_mode, editor, preset, library)
        text = json.dumps(file, ensure_ascii=False, indent=1)
        return _download(text.encode(), f"{preset.id}.json", "application/json")

    async def _preset(self, name: str) -> Preset:
        opened = await self._services.open_workflows.recall(name)
        preset = opened.preset if opened is not None else self._services.catalog.find(name)
        if preset is None:
            raise ValidationError("This preset no longer exists.")
        return preset

    async def _shown(self, preset: Preset) -> Response:
        saved = self._services.saved_workflows
        is_own = await asyncio.to_thread(saved.is_own, preset.id)
        editor = await asyncio.to_thread(saved.editor_file, preset.id) if is_own else None
        versions = await asyncio.to_thread(saved.versions.listed, preset.id) if is_own else []
        return _answer(
            form_editor(
                preset,
                library=self._services.catalog.library,
                versions=versions,
                saved=is_own,
                has_editor_file=editor is not None,
            )
        )


def _answer(html: Html) -> Response:
    return JSONResponse({"html": html}, headers=PRIVATE)


def _download(content: bytes, name: str, media_type: str) -> Response:
    headers = {**PRIVATE, "Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=media_type, headers=headers)
