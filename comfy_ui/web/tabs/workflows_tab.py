"""The Workflows tab: any workflow, its requirements, and its form."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator
from typing import Any, Final

import gradio as gr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ...client import ComfyWSClient
from ...errors import ComfyHeadlessError, ValidationError
from ...workflow.checks.requirements import preset_problems
from ..components.html import Html, join
from ..components.html_block import from_page, html_block
from ..components.workflow_report import nothing, report, trouble
from ..http.handlers import PRIVATE, body, guarded
from ..http.upload_routes import MAX_UPLOAD_BYTES
from ..open_workflows import OpenedWorkflow, title_of
from ..tab import PageContext, PageParts, Tab
from .model_downloads import place_for_downloads
from .workflow_picker import SAVED_FOLDER, WorkflowPicker, ask, entrance, source_list

__all__ = ["WorkflowsTab"]

_PATIENCE_S: Final = 0.3  # a faster response is drawn once, so that the list does not jump


class WorkflowsTab(Tab):
    """Opens any workflow, checks its requirements and turns it into a form. For admins only."""

    id = "workflows"
    title = "Workflows"

    def __init__(self, context: PageContext) -> None:
        super().__init__(context)
        self._form = context.form
        self._open_workflows = context.services.open_workflows
        self._offers: dict[ComfyWSClient, WorkflowPicker] = {}  # the server's last response

    @property
    def visible(self) -> bool:
        """Hidden at first if other users can reach the page; :meth:`_show_to_admins` follows."""
        return self._access.allows("open_workflow")

    def build(self, parts: PageParts, /) -> None:
        """Create the components and connect them with the form on Create."""
        page, tab = parts.blocks, parts.tab
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        with gr.Row(elem_id="workflows"):
            with gr.Column(elem_id="sources-side"):
                html_block(entrance(), elem_id="entrance")
                sources = html_block(elem_id="sources", sends=["again", "pick", "show"])
            with gr.Column(elem_id="opened-side"):
                html_block(place_for_downloads())
                opened = html_block(nothing(), elem_id="opened", sends=["use", "save"])
        page.load(self._show_to_admins, outputs=[tab], **quiet)
        seen = gr.State("")  # the drawn list, so that an unchanged one is not drawn again
        listed: dict[str, Any] = {"inputs": [seen], "outputs": [sources, seen], **quiet}
        tab.select(self._list, **listed)
        sources.again(self._again, **listed)
        sources.pick(self._pick, outputs=[opened], **quiet)
        sources.show(self._show, outputs=[opened], **quiet)
        # These update the list before the user comes back to it and points at it.
        opened.save(self._save, outputs=[opened], **quiet).then(self._list, **listed)
        opened.use(self._use, outputs=[parts.tabs, *self._form.components], **quiet).then(
            self._list, **listed
        )

    def routes(self) -> list[BaseRoute]:
        """The route that receives a workflow file."""
        return [Route("/workflows", guarded(self._receive, writes=True), methods=["POST"])]

    async def _receive(self, request: Request) -> Response:
        self._access.require("open_workflow", request)
        content = await body(request, MAX_UPLOAD_BYTES)
        name = request.query_params.get("name", "")
        opened = await self._open_workflows.open(content, title=title_of(name))
        return JSONResponse({"id": opened.id}, headers=PRIVATE)

    def _show_to_admins(self, request: gr.Request) -> Any:
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

    async def _pick(self, event: gr.EventData, request: gr.Request) -> Html:
        data = from_page(event)
        try:
            self._access.require("open_workflow", request)
            where, name = str(data.get("where", "")), str(data.get("name", ""))
            if where == "preset":
                return self._preset_report(name)
            content = await self._fetch(where, name)
            title = str(data.get("title") or name)
            return self._opened_report(await self._open_workflows.open(content, title=title))
        except ComfyHeadlessError as error:
            return trouble(error)

    async def _show(self, event: gr.EventData, request: gr.Request) -> Html:
        """Show a workflow that the route has opened, or update what is shown."""
        self._access.require("open_workflow", request)
        name = str(from_page(event).get("id", ""))
        opened = self._open_workflows.find(name)
        if opened is not None:
            return self._opened_report(opened)
        return nothing() if self._services.catalog.find(name) is None else self._preset_report(name)

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

    async def _save(self, event: gr.EventData, request: gr.Request) -> Html:
        data = from_page(event)
        opened = self._open_workflows.find(str(data.get("id", "")))
        try:
            self._access.require("open_workflow", request)
            if opened is None or opened.preset is None:
                raise ValidationError("Open the workflow again first.")
            title = str(data.get("text") or opened.title)
            saved = await asyncio.to_thread(
                self._services.saved_workflows.save, opened.preset, title
            )
        except ComfyHeadlessError as error:
            report = self._opened_report(opened) if opened else nothing()
            return join(trouble(error), report)
        await self._services.catalog.look()
        return self._preset_report(saved.id, fresh=True)

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
            OpenedWorkflow(name, entry.preset.title, entry.preset, entry.problems or ()),
            kept=not entry.opened,
            fresh=fresh,
            working=working,
            folders=self._services.connection.model_folders,
        )


def _drawn(listed: Html, seen: str) -> tuple[Any, str]:
    """Return the update of the list's component, and the drawn list."""
    digest = hashlib.sha256(listed.encode()).hexdigest()
    return gr.skip() if digest == seen else listed, digest
