"""Build the page and serve it."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

# Before Gradio is imported: no telemetry, no version check. Only the exact word counts.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr
from starlette.middleware import Middleware

from ..errors import ComfyHeadlessError, ValidationError
from ..resources import assets_dir
from ..settings import Settings
from ..workflow.presets.preset_store import list_presets
from . import gradio_sessions, languages, web_app_manifest
from .api.mcp import McpTools
from .api.program_endpoints import ProgramEndpoints
from .auth import oauth
from .auth.access import Access, AccessMode, IdentityMiddleware, load_secret, mode_of
from .auth.logins import checker, hub_owners, logins_of
from .auth.oauth import provider_of
from .components.html import Html
from .components.html_block import html_block
from .components.page_header import enter, header, leave
from .http.file_routes import routes
from .http.middleware import AccessMiddleware
from .http.upload_routes import UploadRoutes
from .process_memory import set_apart
from .server_choice import choose
from .services import Services
from .share_link import ALIVE_PATH, ShareLink, alive_route, gradio_tunnel, probe
from .tabs.create.create_tab import CreateTab
from .tabs.create.dropped_files import DroppedFiles
from .tabs.create.generate import GenerateHandler
from .tabs.create.grid_request import routes as grid_routes
from .tabs.create.live_preview import LivePreview
from .tabs.create.prompt_tools import PromptTools
from .tabs.library_tab import LibraryTab
from .tabs.model_downloads import ModelDownloads
from .tabs.queue_tab import QueueTab
from .tabs.status_tab import StatusTab, banner
from .tabs.workflows_tab import WorkflowsTab
from .theme import head, script_hashes, theme

__all__ = ["build", "launch"]

TITLE: Final = "comfy-ui"
_MAX_THREADS: Final = 200  # also Gradio's cap on running generators: programs that wait hold one
_MAX_UPLOAD: Final = "64mb"


def build(
    services: Services, access: Access, share: ShareLink | None = None, *, hub: bool = False
) -> Any:
    """The page as ``gr.Blocks``; nothing of it runs before it is served.

    ``hub``: visitors may log in with Hugging Face.
    """
    with gr.Blocks(
        title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=(3600, 86400)
    ) as page:
        top = html_block(header(TITLE, leave() if access.accounts else None), elem_id="header")
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Create", id="create"):
                notice = html_block(elem_id="banner")
                create = CreateTab(services, access)
                create.build(page)
                DroppedFiles(services, access).build(create)
            with gr.Tab(
                "Workflows", id="workflows", visible=access.allows("open_workflow")
            ) as workflows_tab:
                WorkflowsTab(services, access).build(page, workflows_tab, tabs, create)
            with gr.Tab("Library", id="library"):
                LibraryTab(services, access).build()
            with gr.Tab("Queue", id="queue"):
                QueueTab(services, access).build()
            with gr.Tab("Status", id="status") as status_tab:
                StatusTab(services, access, share).build(page, status_tab)
        ProgramEndpoints(services, access).build()

        def note(request: gr.Request) -> tuple[Html, Any]:
            access.require("see", request)
            told = banner(
                embedded=services.connection.embedded, is_admin=access.allows("reconnect", request)
            )
            if not hub:
                return told, gr.skip()
            name = access.hub_name(request)
            return told, header(TITLE, leave(name) if name else enter(oauth.LOGIN_PATH))

        page.load(note, outputs=[notice, top], show_progress="hidden", api_visibility="private")
    page.queue(default_concurrency_limit=None, api_open=False)
    return page


def launch(settings: Settings, *, block: bool = True) -> Any:
    """Serve the page until interrupted; with ``block=False`` return the running ``gr.Blocks``.

    Raises:
        ValidationError: the port is taken, or a setting does not fit.
        StorageError: the data folder cannot be used.
    """
    mode = mode_of(settings)
    port = _port(settings, mode)
    accounts = logins_of(settings, mode, say=_say)
    # Logins of one's own come first: then there is one way in.
    provider = provider_of(os.environ) if mode is AccessMode.SPACE and not accounts else None
    owners = hub_owners(settings, os.environ) if provider else ()
    access = Access(mode, load_secret(settings.data_dir), accounts, hub_owners=owners)
    share, word = None, secrets.token_urlsafe(16)
    if settings.share and mode is AccessMode.SHARED:
        here = "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host  # noqa: S104
        share = ShareLink(gradio_tunnel(here, port), probe(word), say=_say)
    services = Services.create(settings, choose(settings))
    list_presets()  # takes a second the first time; read again in life(), where time is short
    services.connection.start_engine()
    page = build(services, access, share, hub=provider is not None)
    ours = [
        *(oauth.routes(provider) if provider else ()),
        *web_app_manifest.routes(),
        *languages.routes(),
        *routes(services, access, UploadRoutes(services, access)),
        *LivePreview(services, access).routes(),
        *LibraryTab(services, access).routes(),
        *GenerateHandler(services, access).routes(),
        *QueueTab(services, access).routes(),
        *DroppedFiles(services, access).routes(),
        *grid_routes(services, access),
        *PromptTools(services, access).routes(),
        *WorkflowsTab(services, access).routes(),
        *ModelDownloads(services, access).routes(),
        *(McpTools(ProgramEndpoints(services, access), access).routes() if settings.mcp else ()),
    ]
    gate = Middleware(
        AccessMiddleware,
        access=access,
        ours=ours,
        open_paths=[ALIVE_PATH],
        hashes=script_hashes(assets_dir()),
        ready=services.connection.wait_ready,
    )
    failed: list[ComfyHeadlessError] = []

    @asynccontextmanager
    async def life(_: Any) -> AsyncIterator[None]:
        # An error here would end in a traceback of the server's; it is raised below instead.
        # Gradio gives up on a server that does not start within five seconds: be quick.
        try:
            await services.connection.open()
        except ComfyHeadlessError as error:
            failed.append(error)
        work = [asyncio.create_task(gradio_sessions.forget_ended(page), name="ended sessions")]
        if share:
            work.append(asyncio.create_task(share.run(), name="public link"))
        try:
            yield
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            await services.aclose()
            services.connection.stop_engine()

    page.launch(
        server_name="0.0.0.0" if mode is AccessMode.SPACE else settings.host,  # noqa: S104
        server_port=port,
        share=False,  # see share.py
        auth=checker(accounts),
        max_threads=_MAX_THREADS,
        max_file_size=_MAX_UPLOAD,
        state_session_capacity=gradio_sessions.CAPACITY,
        enable_monitoring=False,
        run_history=False,
        footer_links=[],
        strict_cors=True,
        mcp_server=False,
        ssr_mode=False,
        show_error=False,
        quiet=True,
        pwa=False,
        theme=theme(),
        head=head(assets_dir()),
        favicon_path=str(assets_dir() / "icons" / "icon.svg"),
        app_kwargs={
            "lifespan": life,
            "routes": [*ours, alive_route(word)],
            "middleware": [
                *([oauth.middleware(provider)] if provider else ()),
                gate,
                Middleware(IdentityMiddleware, access=access),
            ],
            "docs_url": None,
            "redoc_url": None,
            "openapi_url": None,
        },
        prevent_thread_lock=True,
    )
    if failed:
        page.close(verbose=False)
        raise failed[0]
    _say(f"comfy-ui is at {page.local_url}")
    if block:
        set_apart()
        # A stop by a supervisor is as good as Ctrl+C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            while page.is_running:
                time.sleep(0.5)
        page.close(verbose=False)
    return page


def _say(line: str) -> None:
    print(line, flush=True)


def _port(settings: Settings, mode: AccessMode) -> int:
    """The port to serve on.

    Raises:
        ValidationError: something listens there already.
    """
    host = "127.0.0.1" if mode is AccessMode.SPACE else settings.host.strip("[]")
    if _free(host, settings.port):
        return settings.port
    other = next((p for p in range(settings.port + 1, settings.port + 100) if _free(host, p)), None)
    hint = (
        f"Port {other} is free: start with --port {other}." if other else "Choose one with --port."
    )
    raise ValidationError(f"Port {settings.port} is in use.", hint=hint)


def _free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
