"""The panel "Models" on Status, for admins only: the files on this machine, as `comfy-ui models`.

``assets/js/model_manager.js`` searches and sorts the drawn list; the changes are made here with
the functions of :mod:`comfy_ui.models`.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ...errors import MissingModel, ValidationError
from ...models.download import ModelSources
from ...models.duplicate_search import DuplicateSearch
from ...models.inventory import (
    LocalModel,
    broken_presets,
    list_files,
    presets_using,
    right_folder,
    with_families,
)
from ...models.model_folders import ModelFolders
from ...models.model_trash import delete_file, empty_trash, list_trash, move_file, restore_file
from ...models.publishers import PublishedModel, look_up
from ...workflow.presets.preset_store import Preset
from ..auth.access import Access
from ..components.html import Html, page_text, size
from ..components.templates import render
from ..http.handlers import PRIVATE, Handler, asked, body, guarded
from ..services import Services

__all__ = ["ModelManager", "place_for_models"]

_SHOWN: Final = 2000
"""Files in the list; the search of the page finds no others."""


class _ModelAddress(BaseModel):
    """A model's page at Hugging Face or Civitai, or the id of a repository."""

    address: Annotated[str, Field(min_length=1, max_length=1000)]


class _ModelFile(BaseModel):
    """A file by its id. ``confirmed``: delete it although presets need it."""

    id: Annotated[str, Field(max_length=700)]
    confirmed: bool = False


class _ModelMove(BaseModel):
    """A file by its id and the folder that it goes to."""

    id: Annotated[str, Field(max_length=700)]
    to: Annotated[str, Field(max_length=64)]


def place_for_models() -> Html:
    """Where the page's script shows the panel."""
    return render("model_manager.html", "place")


class ModelManager:
    """Lists, moves, deletes and restores model files, and looks up those of publishers."""

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access
        self._duplicates = DuplicateSearch()
        self._families: dict[tuple[str, int], str] = {}

    def routes(self) -> list[Route]:
        """The routes, for ``app_kwargs`` of Gradio's ``launch``."""
        changes: dict[str, Handler] = {
            "look-up": self._look_up,
            "delete": self._delete,
            "restore": self._restore,
            "empty-trash": self._empty_trash,
            "move": self._move,
            "duplicates": self._find_duplicates,
            "stop-search": self._stop_search,
        }
        return [
            Route("/model-files", guarded(self._show)),
            *(
                Route(f"/model-files/{name}", guarded(change, writes=True), methods=["POST"])
                for name, change in changes.items()
            ),
        ]

    async def _show(self, request: Request) -> Response:
        self._access.require("get_models", request)
        return await self._answer()

    async def _look_up(self, request: Request) -> Response:
        self._access.require("get_models", request)
        address = asked(_ModelAddress, await body(request)).address.strip()
        sources = ModelSources.of(self._services.settings)
        published = await look_up(address, sources)
        names = [name for name, _ in self._folders().listed()]
        html = published_panel(published, address, names, has_token=sources.token is not None)
        return JSONResponse({"html": html}, headers=PRIVATE)

    async def _delete(self, request: Request) -> Response:
        self._access.require("get_models", request)
        one = asked(_ModelFile, await body(request))
        files = await asyncio.to_thread(list_files, self._folders())
        file = _find(files, one.id)
        broken = broken_presets(file, files, self._presets())
        if broken and not one.confirmed:
            titles = [page_text(preset.title, limit=80) for preset in broken]
            return JSONResponse({"broken": titles}, headers=PRIVATE)
        deleted = await asyncio.to_thread(delete_file, file)
        return await self._changed(deleted=deleted.id)

    async def _restore(self, request: Request) -> Response:
        self._access.require("get_models", request)
        one = asked(_ModelFile, await body(request))
        folders = self._folders()
        file = _find(await asyncio.to_thread(list_trash, folders), one.id)
        await asyncio.to_thread(restore_file, file, folders)
        return await self._changed()

    async def _empty_trash(self, request: Request) -> Response:
        self._access.require("get_models", request)
        deleted = await asyncio.to_thread(list_trash, self._folders())
        await asyncio.to_thread(empty_trash, deleted)
        return await self._answer()

    async def _move(self, request: Request) -> Response:
        self._access.require("get_models", request)
        move = asked(_ModelMove, await body(request))
        folders = self._folders()
        file = _find(await asyncio.to_thread(list_files, folders), move.id)
        await asyncio.to_thread(move_file, file, move.to, folders)
        return await self._changed()

    async def _find_duplicates(self, request: Request) -> Response:
        self._access.require("get_models", request)
        self._duplicates.start(await asyncio.to_thread(list_files, self._folders()))
        return await self._answer()

    async def _stop_search(self, request: Request) -> Response:
        self._access.require("get_models", request)
        self._duplicates.cancel()
        await self._duplicates.wait()
        return await self._answer()

    async def _changed(self, **facts: str) -> Response:
        """Answer after a change of the files, which the presets' readiness depends on."""
        self._duplicates.forget()
        await self._services.connection.refresh()
        return await self._answer(**facts)

    async def _answer(self, **facts: str) -> Response:
        folders, presets = self._folders(), self._presets()
        active = self._duplicates.active  # before it is drawn, as the page asks again only while so
        html = await asyncio.to_thread(self._draw, folders, presets)
        payload = {"html": html, "active": active, **facts}
        return JSONResponse(payload, headers=PRIVATE)

    def _draw(self, folders: ModelFolders, presets: Sequence[Preset]) -> Html:
        files = self._with_families(list_files(folders))
        return models_panel(
            files,
            folders,
            presets,
            trash=list_trash(folders),
            free_bytes=_free_bytes(folders),
            search=self._duplicates,
            has_token=self._services.settings.hf_token is not None,
            is_token_fixed=self._services.changed_settings.is_fixed("hf_token"),
        )

    def _with_families(self, files: Sequence[LocalModel]) -> list[LocalModel]:
        """Read the headers of new files only."""
        new = [f for f in files if (str(f.path), f.size_bytes) not in self._families]
        for file in with_families(new):
            self._families[str(file.path), file.size_bytes] = file.family
        return [
            LocalModel(
                file.folder,
                file.name,
                file.path,
                file.size_bytes,
                self._families[str(file.path), file.size_bytes],
            )
            for file in files
        ]

    def _folders(self) -> ModelFolders:
        return self._services.connection.model_folders

    def _presets(self) -> list[Preset]:
        return [entry.preset for entry in self._services.catalog.entries]


def _find(files: Sequence[LocalModel], file_id: str) -> LocalModel:
    for file in files:
        if file.id == file_id:
            return file
    raise ValidationError("This file is no longer there.", hint="Open Status again.")


def _free_bytes(folders: ModelFolders) -> int | None:
    for _, path in folders.listed():
        try:
            return shutil.disk_usage(path).free
        except OSError:
            continue
    return None


def models_panel(
    files: Sequence[LocalModel],
    folders: ModelFolders,
    presets: Sequence[Preset],
    *,
    trash: Sequence[LocalModel] = (),
    free_bytes: int | None = None,
    search: DuplicateSearch | None = None,
    has_token: bool = False,
    is_token_fixed: bool = False,
) -> Html:
    """The files with the presets that use each, the trash, and the search for duplicates.

    ``has_token``: there is a Hugging Face token. ``is_token_fixed``: of the environment.
    """
    search = search or DuplicateSearch()
    return render(
        "model_manager.html",
        "models_panel",
        here=bool(folders),
        summary=_summary(files),
        free=f"{size(free_bytes)} free" if free_bytes is not None else "",
        files=[_row(file, presets) for file in files[:_SHOWN]],
        unlisted=max(0, len(files) - _SHOWN),
        folders=[name for name, _ in folders.listed()],
        trash=[_facts(file) for file in trash],
        trash_summary=_summary(trash),
        searching=search.active,
        percent=100 * search.share,
        trouble=search.error,
        has_token=has_token,
        is_token_fixed=is_token_fixed,
        duplicates=None
        if search.groups is None
        else [[_facts(file) for file in group] for group in search.groups],
    )


def published_panel(
    published: PublishedModel, address: str, folders: Sequence[str], *, has_token: bool
) -> Html:
    """The files that a publisher offers, each with the folder that it would go to."""
    return render(
        "model_manager.html",
        "published_panel",
        title=page_text(published.title, limit=120),
        address=address,
        folders=folders,
        files=[_offer(model, has_token=has_token) for model in published.files],
    )


def _offer(model: MissingModel, *, has_token: bool) -> dict[str, Any]:
    return {
        "name": model.filename,
        "shown": page_text(model.filename, limit=120),
        "folder": model.folder,
        "size": size(model.size_bytes) if model.size_bytes else "",
        "license": page_text(model.license or "", limit=60),
        "gated": model.gated,
        "needs_token": model.gated and not has_token,
    }


def _row(file: LocalModel, presets: Sequence[Preset]) -> dict[str, Any]:
    users = [page_text(preset.title, limit=80) for preset in presets_using(file, presets)]
    return {
        **_facts(file),
        "family": page_text(file.family, limit=40),
        "users": users,
        "belongs": right_folder(file) or "",
        "bytes": file.size_bytes,
        "path": page_text(str(file.path), limit=400),
    }


def _summary(files: Sequence[LocalModel]) -> str:
    if not files:
        return "No files"
    count = "1 file" if len(files) == 1 else f"{len(files)} files"
    return f"{count}, {size(sum(file.size_bytes for file in files))}"


def _facts(file: LocalModel) -> dict[str, Any]:
    return {
        "id": file.id,
        "name": page_text(file.name, limit=160),
        "folder": file.folder,
        "size": size(file.size_bytes),
    }
