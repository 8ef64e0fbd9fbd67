"""The Library tab: all results, newest first, to search and to reuse; a group of jobs is one tile.

The tab itself never changes; ``assets/js/library_tab.js`` fills it from the routes below, so a
search costs one small request and no Gradio event.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Annotated, Final, Self, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, Field, model_validator
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from ...errors import ComfyHeadlessError, ValidationError
from ...storage.records import (
    ItemSort,
    Job,
    JobGroup,
    Kind,
    LabelKind,
    LibraryItem,
    sort_value,
)
from ..components.html import size
from ..components.html_block import html_block
from ..components.library_view import comparison, detail, frame, group_head, tiles
from ..http.handlers import PRIVATE, asked, body, events, guarded
from ..tab import PageParts, Tab
from .create.one_press import one_press_titles

__all__ = ["LibraryTab"]

PAGE: Final = 50
_MAX_IDS: Final = 1000
_MAX_GROUPS: Final = 100


def _given(value: object) -> object:
    return None if value == "" else value


_Optional: Final = BeforeValidator(_given)


class LibrarySearch(BaseModel):
    """The page's search, see ``LibraryService.results``; empty fields mean no filter."""

    text: Annotated[str, Field(max_length=500)] = ""
    kind: Annotated[Kind | None, _Optional] = None
    preset: Annotated[str | None, _Optional] = None
    starred: Annotated[bool | None, _Optional] = None
    since: Annotated[float | None, _Optional] = None
    until: Annotated[float | None, _Optional] = None
    group_id: Annotated[str | None, _Optional, Field(max_length=64)] = None
    sort: ItemSort = "newest"
    before: Annotated[int | None, _Optional] = None
    before_value: Annotated[str | int | None, Field(max_length=1000), _Optional] = None

    @model_validator(mode="after")
    def _number(self) -> Self:
        """Read the value of a number, which a query has as text."""
        if self.sort in {"rating", "largest"} and isinstance(self.before_value, str):
            self.before_value = int(self.before_value)
        return self

    @property
    def folds(self) -> bool:
        """Whether groups are folded: not in a search, as the cover need not match it.

        Neither in another order, in which results of the group have places of their own.
        """
        return not self.model_dump(exclude={"before", "before_value"}, exclude_defaults=True)


class _DeletedBefore(BaseModel):
    """The last result of the previous page of deleted results: when it was deleted, and its id."""

    deleted_at: float | None = None
    id: int = 0


class _Some(BaseModel):
    """Ids of results and of groups, for all their results; and the flags to set."""

    ids: Annotated[list[int], Field(max_length=_MAX_IDS)] = []
    groups: Annotated[list[str], Field(max_length=_MAX_GROUPS)] = []
    starred: bool = True

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not self.ids and not self.groups:
            raise ValueError("neither results nor groups")
        return self


S = TypeVar("S", bound=_Some)


class _Rating(_Some):
    """Ids of results, and their stars; 0 for none."""

    rating: Annotated[int, Field(ge=0, le=5)]


class _Labeling(_Some):
    """Ids of results, and a tag or collection to put them into, or to take them out of."""

    kind: LabelKind
    name: Annotated[str, Field(max_length=200)]
    on: bool = True


class _NewName(BaseModel):
    """A tag or a collection and its new name; empty to remove it."""

    kind: LabelKind
    name: Annotated[str, Field(max_length=200)]
    new_name: Annotated[str, Field(max_length=200)]


class _SearchName(BaseModel):
    """The name of a saved search."""

    name: Annotated[str, Field(max_length=200)]


class _SavedSearch(_SearchName):
    """A search to save: the fields of the search form that are set."""

    fields: Annotated[
        dict[Annotated[str, Field(max_length=20)], Annotated[str, Field(max_length=500)]],
        Field(min_length=1, max_length=20),
    ]


class _Pair(BaseModel):
    """The ids of two results to compare."""

    a: int
    b: int


class _VideoCut(BaseModel):
    """A part of a video, in seconds from its start."""

    item: int
    start_s: Annotated[float, Field(ge=0, le=86_400)]
    end_s: Annotated[float, Field(gt=0, le=86_400)]


class _Folder(BaseModel):
    """A folder of this machine."""

    folder: Annotated[str, Field(max_length=4096)]


class _FolderImport(_Folder):
    """A folder to import, and whether to skip files without generation metadata."""

    generated_only: bool = False


class LibraryTab(Tab):
    """All results, newest first, with search and import."""

    id = "library"
    title = "Library"

    def build(self, _: PageParts, /) -> None:
        """Create the frame, which the page's script fills from the routes."""
        html_block(frame(), elem_id="library")

    def routes(self) -> list[BaseRoute]:
        """The routes that serve and change the tab's content."""
        changes = {
            "star": self._change(_Some, self._star),
            "rate": self._change(_Rating, self._rate),
            "label": self._change(_Labeling, self._label),
            "delete": self._change(_Some, self._delete),
            "restore": self._change(_Some, self._restore),
            "delete-forever": self._change(_Some, self._delete_forever),
        }
        return [
            Route("/library", guarded(self._page)),
            Route("/library/deleted", guarded(self._deleted)),
            Route("/library/space", guarded(self._space)),
            Route("/library/import", guarded(self._importing)),
            Route("/library/import", guarded(self._import, writes=True), methods=["POST"]),
            Route("/library/import/count", guarded(self._count, writes=True), methods=["POST"]),
            Route("/library/import/stop", guarded(self._stop, writes=True), methods=["POST"]),
            Route("/library/import/undo", guarded(self._undo, writes=True), methods=["POST"]),
            Route("/library/presets", guarded(self._presets)),
            Route("/library/labels", guarded(self._labels)),
            Route("/library/searches", guarded(self._searches)),
            Route(
                "/library/save-search", guarded(self._save_search, writes=True), methods=["POST"]
            ),
            Route(
                "/library/delete-search",
                guarded(self._delete_search, writes=True),
                methods=["POST"],
            ),
            Route(
                "/library/rename-label", guarded(self._rename_label, writes=True), methods=["POST"]
            ),
            Route("/library/trim", guarded(self._trim, writes=True), methods=["POST"]),
            Route("/library/zip", guarded(self._zip)),
            Route("/library/compare", guarded(self._compare)),
            Route("/library/{id:int}", guarded(self._detail)),
            *(
                Route(f"/library/{name}", guarded(change, writes=True), methods=["POST"])
                for name, change in changes.items()
            ),
        ]

    async def _page(self, request: Request) -> Response:
        user_id = self._access.require("see_own", request)
        search = asked(LibrarySearch, dict(request.query_params))
        results = await self._services.library.results(
            user_id, limit=PAGE, folded=search.folds, **search.model_dump()
        )
        following: dict[str, object] | None = None
        if len(results) == PAGE:
            value = sort_value(results[-1], search.sort)
            following = {"before": results[-1].id} | (
                {} if value is None else {"before_value": value}
            )
        answer = {"html": "", "next": following}
        groups: dict[str, JobGroup] = {}
        if search.group_id:
            group = await self._services.jobs.groups.get(search.group_id, user_id)
            answer["head"] = group_head(group)
        elif search.folds:
            ids = [item.group_id for item in results if item.group_id]
            groups = await self._services.jobs.groups.by_id(ids, user_id)
        answer["html"] = tiles(results, groups)
        return JSONResponse(answer, headers=PRIVATE)

    async def _deleted(self, request: Request) -> Response:
        user_id = self._access.require("see_own", request)
        last = asked(_DeletedBefore, dict(request.query_params))
        before = (last.deleted_at, last.id) if last.deleted_at is not None else None
        results = await self._services.library.deleted_results(user_id, limit=PAGE, before=before)
        following = None
        if len(results) == PAGE:
            following = {"deleted_at": results[-1].deleted_at, "id": results[-1].id}
        return JSONResponse({"html": tiles(results), "next": following}, headers=PRIVATE)

    async def _presets(self, request: Request) -> Response:
        """Presets that have results, as ``[[id, title], …]``."""
        user_id = self._access.require("see_own", request)
        used = await self._services.library.used_presets(user_id)
        titled = [(name, self._services.catalog.title(name)) for name in used]
        return JSONResponse(sorted(titled, key=lambda pair: pair[1].casefold()), headers=PRIVATE)

    async def _labels(self, request: Request) -> Response:
        """The user's tags and collections, by kind, as ``[[name, number of results], …]``."""
        user_id = self._access.require("see_own", request)
        labels = {
            kind: [
                (label.name, label.size)
                for label in await self._services.library.labels(user_id, kind)
            ]
            for kind in get_args(LabelKind)
        }
        return JSONResponse(labels, headers=PRIVATE)

    async def _rename_label(self, request: Request) -> Response:
        user_id = self._access.require("see_own", request)
        named = asked(_NewName, await body(request))
        library = self._services.library
        await library.rename_label(user_id, named.kind, named.name, named.new_name)
        return await self._labels(request)

    async def _searches(self, request: Request) -> Response:
        """The user's saved searches: the fields of the search form, by name."""
        user_id = self._access.require("see_own", request)
        searches = await self._services.library.saved_searches(user_id)
        return JSONResponse(searches, headers=PRIVATE)

    async def _save_search(self, request: Request) -> Response:
        user_id = self._access.require("see_own", request)
        search = asked(_SavedSearch, await body(request))
        await self._services.library.save_search(user_id, search.name, search.fields)
        return await self._searches(request)

    async def _delete_search(self, request: Request) -> Response:
        user_id = self._access.require("see_own", request)
        name = asked(_SearchName, await body(request)).name
        await self._services.library.delete_search(user_id, name)
        return await self._searches(request)

    async def _space(self, request: Request) -> Response:
        """The storage used by the user's results, as text, and whether they may import folders."""
        user_id = self._access.require("see_own", request)
        space = await self._services.library.usage(user_id)
        of = f" of {size(space.limit_bytes)}" if space.limit_bytes is not None else ""
        text = f"{size(space.used_bytes)}{of} used" if space.used_bytes else "Nothing stored yet"
        imports = self._access.allows("import_folder", request)
        return JSONResponse({"text": text, "imports": imports}, headers=PRIVATE)

    async def _importing(self, request: Request) -> Response:
        """The import, and how many files an undo would remove."""
        self._access.require("import_folder", request)
        # Before the question what can be undone: an import may end meanwhile.
        state = self._services.connection.imports.state()
        undo = await asyncio.to_thread(self._services.library.imported_last)
        return JSONResponse({**state, "undo": undo}, headers=PRIVATE)

    async def _count(self, request: Request) -> Response:
        user_id = self._access.require("import_folder", request)
        folder = asked(_Folder, await body(request)).folder
        self._services.connection.imports.count(self._services.library, folder, user_id)
        return await self._importing(request)

    async def _import(self, request: Request) -> Response:
        user_id = self._access.require("import_folder", request)
        wanted = asked(_FolderImport, await body(request))
        self._services.connection.imports.start(
            self._services.library, wanted.folder, user_id, generated_only=wanted.generated_only
        )
        return await self._importing(request)

    async def _undo(self, request: Request) -> Response:
        user_id = self._access.require("import_folder", request)
        await self._services.connection.imports.undo(self._services.library, user_id)
        return await self._importing(request)

    async def _stop(self, request: Request) -> Response:
        self._access.require("import_folder", request)
        await self._services.connection.imports.stop()
        return await self._importing(request)

    async def _trim(self, request: Request) -> Response:
        """Store a part of a video as a new result: events with the progress, then with its id.

        The end of the connection cancels it.
        """
        user_id = await self._access.admit("run", request)
        part = asked(_VideoCut, await body(request))
        return events(request, self._trimming(part, user_id), reconnect=False)

    async def _trimming(self, part: _VideoCut, user_id: str) -> AsyncGenerator[str, None]:
        cut = self._services.library.cut(part.item, user_id, part.start_s, part.end_s)
        try:
            async with aclosing(cut) as steps:
                async for step in steps:
                    news = {"progress": step} if isinstance(step, float) else {"item": step.id}
                    yield f"data: {json.dumps(news)}\n\n"
        except ComfyHeadlessError as error:
            yield f"data: {json.dumps({'error': str(error)})}\n\n"

    async def _detail(self, request: Request) -> Response:
        user_id = self._access.require("see_own", request)
        item, job = await self._result(int(request.path_params["id"]), user_id)
        library = self._services.library
        parent = None
        if item.parent_id is not None:
            with suppress(ValidationError):  # deleted
                parent = await library.item(item.parent_id, user_id)
        html = detail(
            item,
            job,
            self._services.catalog,
            parent=parent,
            children=await library.children(item.id, user_id),
            labels=await library.labels_of(item.id, user_id),
            one_press=one_press_titles(item, self._services.catalog)
            if item.kind == "video"
            else {},
            may_be_cover=item.thumbnail is not None
            and self._access.allows("open_workflow", request)
            and await asyncio.to_thread(self._services.saved_workflows.is_own, item.preset),
        )
        return HTMLResponse(html, headers=PRIVATE)

    async def _compare(self, request: Request) -> Response:
        user_id = self._access.require("see_own", request)
        pair = asked(_Pair, dict(request.query_params))
        results = [await self._result(item_id, user_id) for item_id in (pair.a, pair.b)]
        html = comparison(results[0], results[1], self._services.catalog)
        return HTMLResponse(html, headers=PRIVATE)

    async def _result(self, item_id: int, user_id: str) -> tuple[LibraryItem, Job]:
        item = await self._services.library.item(item_id, user_id)
        return item, await self._services.jobs.job(item.job_id, user_id)

    async def _zip(self, request: Request) -> Response:
        user_id = self._access.require("see_own", request)
        lists = {
            name: value.split(",")
            for name in ("ids", "groups")
            if (value := request.query_params.get(name))
        }
        ids = await self._ids(asked(_Some, lists), user_id)
        return StreamingResponse(
            self._services.library.zip(ids, user_id),
            media_type="application/zip",
            headers={**PRIVATE, "Content-Disposition": 'attachment; filename="comfy-ui.zip"'},
        )

    def _change(
        self, model: type[S], do: Callable[[S, str], Awaitable[list[int]]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def changed(request: Request) -> Response:
            user_id = self._access.require("see_own", request)
            some = asked(model, await body(request))
            some.ids = await self._ids(some, user_id)
            ids = await do(some, user_id)
            return JSONResponse({"ids": ids}, headers=PRIVATE)

        return changed

    async def _ids(self, some: _Some, user_id: str) -> list[int]:
        return await self._services.library.with_groups(some.ids, some.groups, user_id)

    async def _star(self, some: _Some, user_id: str) -> list[int]:
        for item_id in some.ids:
            await self._services.library.star(item_id, user_id, starred=some.starred)
        return some.ids

    async def _rate(self, rating: _Rating, user_id: str) -> list[int]:
        return await self._services.library.rate(rating.ids, user_id, rating.rating)

    async def _label(self, label: _Labeling, user_id: str) -> list[int]:
        library = self._services.library
        return await library.label(label.ids, user_id, label.kind, label.name, on=label.on)

    async def _delete(self, some: _Some, user_id: str) -> list[int]:
        return await self._services.library.delete(some.ids, user_id)

    async def _delete_forever(self, some: _Some, user_id: str) -> list[int]:
        return await self._services.library.delete_forever(some.ids, user_id)

    async def _restore(self, some: _Some, user_id: str) -> list[int]:
        return await self._services.library.restore(some.ids, user_id)
