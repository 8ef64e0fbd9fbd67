"""The page: its tabs, the endpoints for programs, and all routes beside Gradio's."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Final

# Before Gradio is imported: no telemetry, no version check. Only the exact word counts.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr
from starlette.requests import Request
from starlette.routing import BaseRoute

from ..features import require_feature
from ..settings import split_addresses
from . import languages, theme
from .api.program_endpoints import ENDED_WITH_CALLER, ProgramEndpoints
from .auth import oauth
from .auth.access import Access
from .components.html import Html
from .components.html_block import html_block
from .components.page_header import enter, header, leave
from .event_queue import skip_needless_work, use_waking_queue
from .http import web_app_manifest
from .http.file_routes import routes as file_routes
from .openai.images_api import ImagesApi
from .services import Services
from .share_link import ShareLink
from .tab import LoadHandlers, PageContext, PageParts, Tab
from .tabs.create.create_tab import CreateTab
from .tabs.library_tab import LibraryTab
from .tabs.queue_tab import QueueTab
from .tabs.status_tab import StatusTab
from .tabs.workflows.workflows_tab import WorkflowsTab
from .webhooks.webhook_message import secret_of
from .webhooks.webhook_sender import WebhookSender

if TYPE_CHECKING:
    from .api.mcp import McpTools

__all__ = ["TABS", "Page", "build"]

TITLE: Final = "comfy-ui"
_MAX_QUEUED: Final = 2000  # events of Gradio, not jobs
TABS: tuple[type[Tab], ...] = (CreateTab, WorkflowsTab, LibraryTab, QueueTab, StatusTab)
"""The tabs from left to right. The first must be Create: it builds the form that others fill in."""


class Page:
    """One page with one instance of each tab.

    Args:
        context: passed to the tabs.
        hub_login: whether the header offers a login with Hugging Face.
    """

    def __init__(self, context: PageContext, *, hub_login: bool = False) -> None:
        self._context = context
        self._access = context.access
        self._hub_login = hub_login
        self._tabs = [tab(context) for tab in TABS]
        services, access = context.services, context.access
        self._endpoints = ProgramEndpoints(services, access, context.uploads)
        self._on_load = LoadHandlers()
        self._mcp: McpTools | None = None
        if services.settings.mcp:
            require_feature("mcp")
            from .api.mcp import McpTools  # the SDK takes a second to import

            self._mcp = McpTools(self._endpoints, services, access)

    def build(self) -> Any:
        """Build the ``gr.Blocks``. No handler runs before the page is served."""
        skip_needless_work()
        with gr.Blocks(
            title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=(3600, 86400)
        ) as blocks:
            way_out = leave() if self._access.accounts else None
            top = html_block(header(TITLE, way_out), elem_id="header")
            on_load = self._on_load
            with gr.Tabs(elem_id="tabs") as tabs:
                for tab in self._tabs:
                    with gr.Tab(tab.title, id=tab.id, visible=tab.visible) as component:
                        tab.build(PageParts(blocks, tabs, component, on_load))
            self._endpoints.build()
            if self._hub_login:
                on_load.add(self._header, top)
            on_load.connect(blocks)
            blocks.queue(default_concurrency_limit=None, api_open=False, max_size=_MAX_QUEUED)
        use_waking_queue(blocks, self._access.event_limit, ended_with_caller=ENDED_WITH_CALLER)
        return blocks

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send webhooks and answer MCP requests inside of the ``with`` block."""
        sending = asyncio.create_task(self._webhook_sender().run(), name="webhooks")
        try:
            async with self._mcp.running() if self._mcp else nullcontext():
                yield
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    def _webhook_sender(self) -> WebhookSender:
        """Return the task that sends the webhooks of the users."""
        services, access = self._context.services, self._access
        return WebhookSender(
            lambda: services.jobs.webhooks,
            self._endpoints.report,
            partial(secret_of, access),
            private_hosts=lambda: split_addresses(services.settings.webhook_hosts),
        )

    def routes(self) -> list[BaseRoute]:
        """Our routes beside Gradio's. Those without ``access`` serve public files only."""
        services, access = self._context.services, self._access
        return [
            *web_app_manifest.routes(),
            *languages.routes(),
            *theme.routes(),
            *file_routes(services, access, self._context.uploads),
            self._on_load.route(),
            *(route for tab in self._tabs for route in tab.routes()),
            *ImagesApi(services, access, self._context.uploads, self._endpoints).routes(),
            *(self._mcp.routes() if self._mcp else ()),
        ]

    def _header(self, request: Request) -> Html:
        self._access.require("see", request)
        name = self._access.hub_name(request)
        return header(TITLE, leave(name) if name else enter(oauth.LOGIN_PATH.lstrip("/")))


def build(
    services: Services, access: Access, share: ShareLink | None = None, *, hub_login: bool = False
) -> Any:
    """Build the page alone, as ``gr.Blocks``, without its routes."""
    return Page(PageContext.create(services, access, share), hub_login=hub_login).build()
