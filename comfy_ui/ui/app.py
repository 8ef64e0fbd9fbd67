"""Build the page and serve it."""

from __future__ import annotations

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
from ..workflow.presets import list_presets
from .access import GUEST, Access, IdentityMiddleware, Mode, load_secret, mode_of
from .backend import Backend
from .create import Create
from .engine import choose
from .html import Html, el, icon
from .island import island
from .routes import routes
from .status import Status, banner
from .theme import head, theme
from .uploads import Uploads

__all__ = ["build", "launch"]

TITLE: Final = "comfy-ui"
_MAX_THREADS: Final = 200  # also Gradio's cap on running generators: each open page holds one
_MAX_UPLOAD: Final = "64mb"


def build(backend: Backend, access: Access) -> Any:
    """The page as ``gr.Blocks``; nothing of it runs before it is served."""
    with gr.Blocks(
        title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=(3600, 86400)
    ) as page:
        gr.HTML(_header(), apply_default_css=False, elem_id="header")
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab("Create", id="create"):
                notice = island(elem_id="banner")
                Create(backend, access).build(page)
            with gr.Tab("Status", id="status") as status_tab:
                Status(backend, access).build(status_tab)
        page.load(
            lambda: banner(embedded=backend.embedded, owner=access.allows("reconnect")),
            outputs=[notice],
            show_progress="hidden",
            api_visibility="private",
        )
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
    access = Access(mode, load_secret(settings.data_dir))
    backend = Backend(settings, choose(settings))
    list_presets()  # takes a second the first time; read again in life(), where time is short
    backend.start_engine()
    page = build(backend, access)
    failed: list[ComfyHeadlessError] = []

    @asynccontextmanager
    async def life(_: Any) -> AsyncIterator[None]:
        # An error here would end in a traceback of the server's; it is raised below instead.
        # Gradio gives up on a server that does not start within five seconds: be quick.
        try:
            await backend.open()
        except ComfyHeadlessError as error:
            failed.append(error)
        try:
            yield
        finally:
            await backend.aclose()
            backend.stop_engine()

    page.launch(
        server_name="0.0.0.0" if mode is Mode.SPACE else settings.host,  # noqa: S104
        server_port=port,
        share=settings.share and mode is not Mode.SPACE,
        auth=login_of(settings),
        max_threads=_MAX_THREADS,
        max_file_size=_MAX_UPLOAD,
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
        favicon_path=str(assets_dir() / "icon.svg"),
        app_kwargs={
            "lifespan": life,
            "routes": routes(backend, access, Uploads(backend, access)),
            "middleware": [Middleware(IdentityMiddleware, access=access)],
            "docs_url": None,
            "redoc_url": None,
            "openapi_url": None,
        },
        prevent_thread_lock=True,
    )
    if failed:
        page.close(verbose=False)
        raise failed[0]
    _greet(page, settings)
    if block:
        # A stop by a supervisor is as good as Ctrl+C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            while page.is_running:
                time.sleep(0.5)
        page.close(verbose=False)
    return page


def _greet(page: Any, settings: Settings) -> None:
    print(f"comfy-ui is at {page.local_url}", flush=True)
    if settings.share and page.share_url:
        print(f"Share link: {page.share_url}", flush=True)
    elif settings.share:
        print("There is no share link: the service that makes them was not reached.", flush=True)


def login_of(settings: Settings) -> tuple[str, str] | None:
    """The login that the page wants. A share link never goes without: one is made and printed.

    Raises:
        ValidationError: the setting is not USER:PASSWORD.
    """
    if settings.auth is not None:
        user, _, password = settings.auth.get_secret_value().partition(":")
        if not user or not password:
            raise ValidationError("The login must be USER:PASSWORD.")
        return user, password
    if settings.share:
        password = secrets.token_urlsafe(9)
        print(f"Login for the share link: {GUEST} / {password}", flush=True)
        return GUEST, password
    return None


def _port(settings: Settings, mode: Mode) -> int:
    """The port to serve on.

    Raises:
        ValidationError: something listens there already.
    """
    host = "127.0.0.1" if mode is Mode.SPACE else settings.host.strip("[]")
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


def _header() -> Html:
    return el(
        "header",
        el("span", el("i"), el("i"), el("i"), class_="mark", aria_hidden="true"),
        el("h1", TITLE),
        el(
            "div",
            _tool("keyboard", "Keyboard shortcuts (?)", "keys", class_="tool keys"),
            _tool("moon", "Dark colours", "theme", class_="tool when-light"),
            _tool("sun", "Light colours", "theme", class_="tool when-dark"),
            class_="tools",
        ),
        class_="top",
    )


def _tool(image: str, label: str, do: str, *, class_: str = "tool") -> Html:
    return el(
        "button",
        icon(image),
        type="button",
        class_=class_,
        data_do=do,
        aria_label=label,
        title=label,
    )
