"""Serve the page: port, logins, middleware, and the app's background tasks."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from starlette.middleware import Middleware

from .. import __version__, logging
from ..admin_settings.changed_settings import ChangedSettings
from ..errors import ComfyHeadlessError, ValidationError
from ..resources import assets_dir
from ..scale.choose_stores import choose_limit_counters, choose_shared_folders, open_documents
from ..settings import Settings
from ..workflow.presets.preset_store import list_presets
from . import process_memory
from .admin.setting_effects import SettingEffects
from .auth import oauth
from .auth.access import Access, AccessMode, IdentityMiddleware, load_secret, mode_of
from .auth.api_keys import ApiKeys
from .auth.key_limits import KeyRequests
from .auth.limit_counters import LimitCounters, LocalCounters, SharedCounters
from .auth.logins import checker, hub_admins, logins_of
from .auth.oauth import provider_of
from .auth.remembered_logins import RememberedLogins
from .event_queue import log_tracebacks
from .http.connection_limits import limit_connections
from .http.handlers import not_understood
from .http.login_page import LoginRoute
from .http.middleware import AccessMiddleware
from .http.proxy_headers import ReverseProxyMiddleware, own_path_problem, trusted_proxies
from .http.request_slots import RequestSlots
from .http.response_cache import FileCache, PageCache
from .http.same_site import SameSiteMiddleware
from .openai.cors import CorsMiddleware
from .operations.app_status import AppStatus
from .operations.status_routes import STATUS_PATHS
from .page import Page
from .process_memory import set_apart
from .server_choice import choose
from .services import Services
from .share_link import ALIVE_PATH, ShareLink, alive_route, gradio_tunnel, probe
from .tab import PageContext
from .tabs.account_panel import INVITATION_PATH
from .theme import first_script, head, script_path, theme

__all__ = ["launch"]

_MAX_THREADS: Final = 200  # also Gradio's cap on running generators, one per program that waits
_MAX_UPLOAD: Final = "64mb"
_MAX_STOP_S: Final = 20.0


def launch(settings: Settings, *, block: bool = True) -> Any:
    """Serve the page until interrupted; with ``block=False`` return the running ``gr.Blocks``.

    Raises:
        ValidationError: the port is taken, or a setting does not fit.
        StorageError: the data folder cannot be used.
    """
    mode = mode_of(settings)
    if problem := own_path_problem(settings.root_path):
        raise ValidationError(problem, hint="Choose another COMFY_UI_ROOT_PATH.")
    port = _port(settings, mode)
    documents = open_documents(settings)
    shared_folders = choose_shared_folders(settings)
    if shared_folders:
        shared_folders.sync()
    shared_counters = choose_limit_counters(settings)

    def counters() -> LimitCounters:
        # Each kind of limit has its own, so that callers of one do not push out those of another.
        return SharedCounters(shared_counters) if shared_counters else LocalCounters()

    accounts = logins_of(settings, mode, documents, say=_say, counters=counters())
    # Configured accounts win, so that there is only one kind of login.
    provider = provider_of(os.environ) if mode is AccessMode.SPACE and not accounts else None
    owners = hub_admins(settings, os.environ) if provider else ()
    keys = ApiKeys(documents, counters=counters())
    key_requests = KeyRequests(counters())
    changed = ChangedSettings(settings, documents)
    access = Access(
        mode,
        load_secret(documents),
        accounts,
        keys=keys,
        remembered=RememberedLogins(accounts, documents),
        users_spend=settings.paid_runs == "users",
        hub_admins=owners,
        counters=counters(),
    )
    share, word = None, secrets.token_urlsafe(16)
    if settings.share and mode is AccessMode.SHARED:
        here = "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host  # noqa: S104
        share = ShareLink(gradio_tunnel(here, port), probe(word), say=_say)
    services = Services.create(settings, choose(settings), documents, changed)
    list_presets()  # takes a second the first time; read again in life()
    services.connection.start_engine()
    page = Page(PageContext.create(services, access, share), hub_login=provider is not None)
    blocks = page.build()
    if documents.shared:
        # The page asks the app that it has come to whether it is the one it was loaded from.
        blocks.app_id = int(access.sign(f"app {__version__}")[:12], 16)
    slots = RequestSlots()
    status = AppStatus(services, slots)
    routes = [
        *status.routes(),
        *(oauth.routes(provider) if provider else ()),
        *([LoginRoute()] if accounts else ()),
        *page.routes(),
    ]
    gate = Middleware(
        AccessMiddleware,
        access=access,
        ours=routes,
        open_paths=[ALIVE_PATH, INVITATION_PATH, *STATUS_PATHS],
        ready=services.connection.wait_ready,
        slots=slots,
        key_requests=key_requests,
    )
    failed: list[ComfyHeadlessError] = []
    ended = threading.Event()

    @asynccontextmanager
    async def life(app: Any) -> AsyncIterator[None]:
        # Outside of Gradio's layers, which it adds around those in app_kwargs.
        app.middleware_stack = SameSiteMiddleware(FileCache(app.middleware_stack), mode)
        app.middleware_stack = CorsMiddleware(
            app.middleware_stack, lambda: settings.allowed_origins
        )
        app.middleware_stack = ReverseProxyMiddleware(
            app.middleware_stack,
            trusted=trusted_proxies(settings, mode, os.environ),
            root_path=settings.root_path,
        )
        # An error here would end in a traceback of the server's; it is raised below instead.
        try:
            if shared_counters:
                await shared_counters.open()
            await services.connection.open()
        except ComfyHeadlessError as error:
            failed.append(error)
        work = [
            asyncio.create_task(process_memory.forget_ended(blocks), name="ended sessions"),
            asyncio.create_task(keys.keep_uses(), name="uses of API keys"),
            asyncio.create_task(key_requests.keep_leases(), name="requests of API keys"),
            asyncio.create_task(services.idle_stop.run(), name="stop of an idle ComfyUI"),
            asyncio.create_task(
                changed.keep_current(SettingEffects(services, access).apply),
                name="settings of other processes",
            ),
            asyncio.create_task(
                services.saved_servers.keep_current(services.connection.use_saved),
                name="servers of other processes",
            ),
        ]
        if shared_counters:
            trimmed = shared_counters.keep_trimmed()
            work.append(asyncio.create_task(trimmed, name="old counters of rate limits"))
        if shared_folders:

            async def look() -> None:
                await services.catalog.look()

            synced = shared_folders.keep_synced(look)
            work.append(asyncio.create_task(synced, name="presets of other apps"))
        if share:
            work.append(asyncio.create_task(share.run(), name="public link"))
        try:
            async with page.running(), status.running():
                yield
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            await services.aclose()
            if shared_counters:
                await shared_counters.close()
            if shared_folders:
                shared_folders.close()
            services.connection.stop_engine()
            ended.set()

    log_tracebacks()
    with limit_connections():
        blocks.launch(
            server_name="0.0.0.0" if mode is AccessMode.SPACE else settings.host,  # noqa: S104
            server_port=port,
            share=False,  # see share.py
            auth=checker(accounts),
            max_threads=_MAX_THREADS,
            max_file_size=_MAX_UPLOAD,
            state_session_capacity=process_memory.CAPACITY,
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
            head=head(),
            favicon_path=str(assets_dir() / "icons" / "icon.svg"),
            app_kwargs={
                "lifespan": life,
                "routes": [*routes, alive_route(word)],
                "middleware": [
                    *([oauth.middleware(provider)] if provider else ()),
                    gate,
                    Middleware(IdentityMiddleware, access=access),
                    Middleware(
                        PageCache,
                        access=access,
                        first_script=first_script(),
                        script_path=script_path(),
                    ),
                ],
                "exception_handlers": {RequestValidationError: not_understood},
                "docs_url": None,
                "redoc_url": None,
                "openapi_url": None,
            },
            prevent_thread_lock=True,
            ssl_verify=False,  # it asks itself over HTTP, for which it would read certificates
        )
    logging.adopt("uvicorn", "asyncio")  # uvicorn has set its own handlers by now
    if failed:
        blocks.close(verbose=False)
        raise failed[0]
    _say(f"comfy-ui is at {blocks.local_url.rstrip('/')}{settings.root_path}/")
    if block:
        set_apart()
        # Treat a supervisor's stop like Ctrl+C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            while blocks.is_running:
                time.sleep(0.5)
        blocks.close(verbose=False)
        # Gradio waits five seconds for its server. If Python ended earlier than life(), threads
        # that store jobs and results could not be used any more.
        ended.wait(_MAX_STOP_S)
    return blocks


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
