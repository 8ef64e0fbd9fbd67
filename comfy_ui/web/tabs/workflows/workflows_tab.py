"""The Workflows tab: any workflow, its requirements, and its form."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator
from typing import Any, Final

import gradio as gr
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ....client import ComfyWSClient
from ....errors import ComfyHeadlessError, ValidationError
from ....workflow.checks.requirements import preset_problems
from ...components.html import Html, join
from ...components.html_block import from_page, html_block
from ...components.workflow_report import nothing, report, trouble
from ...http.handlers import PRIVATE, asked, body, guarded
from ...http.upload_routes import MAX_UPLOAD_BYTES
from ...open_workflows import OpenedWorkflow, title_of
from ...tab import PageContext, PageParts, Tab
from ..model_downloads import place_for_downloads
from .blueprint_tools import BlueprintTools
from .form_editor import FormEditor
from .workflow_picker import SAVED_FOLDER, WorkflowPicker, ask, entrance, is_own, source_list

__all__ = ["WorkflowsTab"]

_PATIENCE_S: Final = 0.3  # a faster response is drawn once, so that the list does not jump


class _Pick(BaseModel):
    """An entry of the list: ``where`` and ``name`` locate it."""

    where: str
    name: str
    title: str = ""


class _Save(BaseModel):
    """A workflow to save, and the title of the preset."""

    id: str
    title: str = ""


class WorkflowsTab(Tab):
    """Opens any workflow, checks its requirements and turns it into a form. For admins only."""

    id = "workflows"
    title = "Workflows"

    def __init__(self, context: PageContext) -> None:
        super().__init__(context)
        self._form = context.form
        self._open_workflows = context.services.open_workflows
        self._offers: dict[ComfyWSClient, WorkflowPicker] = {}  # the server's last response
        self._form_editor = FormEditor(context.services, self._access, self._current_report)
        self._tools = BlueprintTools(context.services, self._access)

    @property
    def visible(self) -> bool:
        """Hidden at first if other users can reach the page; :meth:`_show_to_admins` follows."""
        return self._access.allows("open_workflow")

    def build(self, parts: PageParts, /) -> None:
        """Create the components and connect them with the form on Create."""
        tab = parts.tab
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        with gr.Row(elem_id="workflows"):
            with gr.Column(elem_id="sources-side"):
                html_block(entrance(), elem_id="entrance")
                sources = html_block(elem_id="sources", sends=["again", "saved"])
            with gr.Column(elem_id="opened-side"):
                html_block(place_for_downloads())
                opened = html_block(nothing(), elem_id="opened", sends=["use"])
        parts.on_load.add(self._show_to_admins, tab)
        seen = gr.State("")  # the drawn list, so that an unchanged one is not drawn again
        listed: dict[str, Any] = {"inputs": [seen], "outputs": [sources, seen], **quiet}
        tab.select(self._list, **listed)
        sources.again(self._again, **listed)
        sources.saved(self._list, **listed)
        # Updates the list before the user comes back to it and points at it.
        opened.use(self._use, outputs=[parts.tabs, *self._form.components], **quiet).then(
            self._list, **listed
        )

    def routes(self) -> list[BaseRoute]:
        """The routes that open, show and save workflows; each answers with a report to draw."""
        return [
            Route("/workflows", guarded(self._receive, writes=True), methods=["POST"]),
            Route("/workflows/report", guarded(self._show)),
            Route("/workflows/pick", guarded(self._pick, writes=True), methods=["POST"]),
            Route("/workflows/save", guarded(self._save, writes=True), methods=["POST"]),
            *self._form_editor.routes(),
            *self._tools.routes(),
        ]

    async def _receive(self, request: Request) -> Response:
        """Open a workflow file."""
        self._access.require("open_workflow", request)
        content = await body(request, MAX_UPLOAD_BYTES)
        name = request.query_params.get("name", "")
        opened = await self._open_workflows.open(content, title=title_of(name))
        return _answer(self._opened_report(opened))

    def _show_to_admins(self, request: Request) -> Any:
        """Show the tab to admins only; the handlers refuse other users as well."""
        return gr.update(visible=self._access.allows("open_workflow", request))

    async def _list(
        self, seen: str, request: gr.Request, *, patience_s: float = _PATIENCE_S
    ) -> AsyncGenerator[tuple[Any, str], None]:
        """Return the current list; the known one first if that takes long."""
        self._access.require("open_workflow", request)
        client = self._services.client
        await self._services.catalog.look()
        offers_task = asyncio.create_task(ask(self._services), name="what ComfyUI offers")
        try:
            await asyncio.wait([offers_task], timeout=patience_s)
            if not offers_task.done():
                cached = self._offers.get(client)
                asking = cached is None or not cached.whole
                drawn, seen = _drawn(
                    source_list(self._services, cached or WorkflowPicker(), asking=asking), seen
                )
                yield drawn, seen
            offers = await offers_task
        finally:
            offers_task.cancel()
        self._offers = {client: offers}
        yield _drawn(source_list(self._services, offers), seen)

    async def _again(self, seen: str, request: gr.Request) -> AsyncGenerator[tuple[Any, str], None]:
        """Update the list after a press of the button, first showing that a request runs."""
        async for drawn in self._list(seen, request, patience_s=0):
            yield drawn

    async def _pick(self, request: Request) -> Response:
        """Open an entry of the list."""
        self._access.require("open_workflow", request)
        picked = asked(_Pick, await body(request))
        try:
            if picked.where == "preset":
                return _answer(self._preset_report(picked.name))
            content = await self._fetch(picked.where, picked.name)
            opened = await self._open_workflows.open(content, title=picked.title or picked.name)
        except ComfyHeadlessError as error:
            return _answer(trouble(error))
        return _answer(self._opened_report(opened))

    async def _show(self, request: Request) -> Response:
        """Show an opened workflow or a preset with what it lacks now."""
        self._access.require("open_workflow", request)
        name = request.query_params.get("id", "")
        await self._open_workflows.recall(name)
        return _answer(self._current_report(name))

    def _current_report(self, name: str) -> Html:
        opened = self._open_workflows.find(name)
        if opened is not None:
            return self._opened_report(opened)
        known = self._services.catalog.find(name) is not None
        return self._preset_report(name) if known else nothing()

    async def _use(self, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        data = from_page(event)
        name, variant = str(data.get("id", "")), data.get("variant")
        try:
            self._access.require("open_workflow", request)
            await self._open_workflows.keep(name)
        except ComfyHeadlessError as error:
            return gr.skip(), *self._form.error(error)
        values = {"variant": str(variant)} if variant else {}
        return gr.update(selected="create"), *self._form.show(name, values)

    async def _save(self, request: Request) -> Response:
        """Save an opened workflow as a preset."""
        user_id = self._access.require("open_workflow", request)
        wish = asked(_Save, await body(request))
        opened = await self._open_workflows.recall(wish.id)
        try:
            if opened is None or opened.preset is None:
                raise ValidationError("Open the workflow again first.")
            saved = await asyncio.to_thread(
                self._services.saved_workflows.save,
                opened.preset,
                wish.title or opened.title,
                editor=opened.editor,
                saved_by=user_id,
            )
        except ComfyHeadlessError as error:
            report = self._opened_report(opened) if opened else nothing()
            return _answer(join(trouble(error), report))
        await self._services.catalog.look()
        return _answer(self._preset_report(saved.id, fresh=True))

    async def _fetch(self, where: str, name: str) -> bytes:
        client = self._services.client
        match where:
            case "saved":
                return await client.read_userdata(f"{SAVED_FOLDER}/{name}")
            case "template":
                return json.dumps(await client.official_template(name)).encode()
            case "pack":
                pack, _, template = name.partition("/")
                return json.dumps(await client.template(pack, template)).encode()
        raise ValidationError("There is no such workflow.")

    def _opened_report(self, opened: OpenedWorkflow) -> Html:
        return report(
            opened,
            runs=self._services.connection.keeps_opened,
            folders=self._services.connection.model_folders,
            packs=self._services.addable_packs,
        )

    def _preset_report(self, name: str, *, fresh: bool = False) -> Html:
        catalog = self._services.catalog
        entry = catalog.entry(name)
        if entry.preset.id != name:
            raise ValidationError("This preset no longer exists.")
        working = []
        if entry.errors and catalog.library is not None:
            working = [
                key
                for key in entry.preset.variants
                if not preset_problems(entry.preset, catalog.library, variant=key)
            ]
        return report(
            OpenedWorkflow(
                name, entry.preset.title, entry.preset, entry.problems or (), catalog.library
            ),
            kept=not entry.opened,
            editable=entry.opened or is_own(self._services, entry.preset),
            fresh=fresh,
            working=working,
            folders=self._services.connection.model_folders,
            packs=self._services.addable_packs,
        )


def _answer(report: Html) -> Response:
    return JSONResponse({"html": report}, headers=PRIVATE)


def _drawn(listed: Html, seen: str) -> tuple[Any, str]:
    """Return the update of the list's component, and the drawn list."""
    digest = hashlib.sha256(listed.encode()).hexdigest()
    return gr.skip() if digest == seen else listed, digest
