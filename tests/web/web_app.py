"""The services over the demo engine with the page's routes, without Gradio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
from starlette.applications import Starlette

from comfy_ui.client import ComfyWSClient
from comfy_ui.demo import DemoServer, Faults
from comfy_ui.jobs.job_service import JobService, open_jobs
from comfy_ui.library.saved_workflows import SavedWorkflows
from comfy_ui.web.auth.access import COOKIE, Access, AccessMode
from comfy_ui.web.preset_catalog import PresetCatalog
from comfy_ui.web.tab import PageContext
from comfy_ui.workflow.presets.preset_store import list_presets


@dataclass
class WebApp:
    server: DemoServer
    service: JobService
    access: Access
    services: Any

    @property
    def context(self) -> PageContext:
        return PageContext.create(self.services, self.access)

    def browser(self, *tabs: Any) -> tuple[httpx.AsyncClient, str]:
        """Return a new browser's HTTP client and its `user_id`."""
        app = Starlette(routes=[route for tab in tabs for route in tab.routes()])
        app.auth = None  # type: ignore[attr-defined]
        app.stop_event = asyncio.Event()  # type: ignore[attr-defined]
        cookie = self.access.new_cookie()
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://page", cookies={COOKIE: cookie}
        )
        return client, f"browser:{self.access.browser(cookie)}"


@asynccontextmanager
async def open_web_app(folder: Path) -> AsyncIterator[WebApp]:
    faults = Faults(test_nodes=True)
    async with AsyncExitStack() as stack:
        server = stack.enter_context(DemoServer(speed="instant", faults=faults).in_thread())
        client = await stack.enter_async_context(ComfyWSClient(url=server.url))
        saved = SavedWorkflows(folder)
        service = await stack.enter_async_context(
            open_jobs(client=client, data_dir=folder, preset_folders=[saved.presets, saved.tools])
        )
        services = SimpleNamespace(
            jobs=service,
            library=service.library,
            client=client,
            catalog=PresetCatalog(
                client,
                list_presets(),
                folders=[saved.presets, saved.tools],
                tools_folder=saved.tools,
            ),
            saved_workflows=saved,
            connection=SimpleNamespace(absence=lambda: None),  # the server is not managed
            idle_stop=SimpleNamespace(ensure_started=_already_started),
        )
        yield WebApp(server, service, Access(AccessMode.SHARED, b"secret"), services)


async def _already_started() -> None:
    return None
