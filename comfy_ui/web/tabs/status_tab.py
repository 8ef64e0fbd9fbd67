"""The Status tab: servers, share link, API keys, readiness of presets, missing extras."""

from __future__ import annotations

import time
from typing import Any

import gradio as gr
from starlette.requests import Request
from starlette.routing import BaseRoute

from ...errors import ComfyHeadlessError
from ...features import list_available_features, list_missing_features
from ...storage.records import JobError
from ..admin.servers_panel import ServersPanel, place_for_servers
from ..admin.settings_panel import SettingsPanel, place_for_settings
from ..auth.access import TABLE
from ..components.html import Html, join
from ..components.html_block import html_block
from ..components.server_cards import servers_panel, share_panel
from ..components.templates import error_notice, render
from ..tab import PageContext, PageParts, Tab
from .account_panel import AccountPanel, place_for_account, place_for_users
from .admin_panel import AdminPanel, place_for_admin
from .api_keys_panel import ApiKeysPanel
from .checkup import Checkup
from .engine_card import EngineCard
from .model_downloads import ModelDownloads, place_for_downloads
from .model_manager import ModelManager, place_for_models
from .presets_panel import gpu_memory_bytes, presets_panel
from .webhook_panel import WebhookPanel

__all__ = ["StatusTab"]


class StatusTab(Tab):
    """The servers, the public link, the presets with what each lacks, and the extras."""

    id = "status"
    title = "Status"

    def __init__(self, context: PageContext) -> None:
        super().__init__(context)
        self._share = context.share
        self._account = AccountPanel(context.services, context.access, context.share)
        self._admin = AdminPanel(context.services, context.access)
        self._servers = ServersPanel(context.services, context.access)
        self._settings = SettingsPanel(context.services, context.access)
        self._keys = ApiKeysPanel(context.access)
        self._webhook = WebhookPanel(context.services, context.access)
        self._downloads = ModelDownloads(context.services, context.access)
        self._models = ModelManager(context.services, context.access)
        self._checkup = Checkup(context.services, context.access)
        self._engine = EngineCard(context.services, context.access)

    def routes(self) -> list[BaseRoute]:
        """The routes of its panels; those of model downloads serve Workflows as well."""
        panels = (
            self._account,
            self._admin,
            self._servers,
            self._settings,
            self._downloads,
            self._models,
        )
        return [route for panel in panels for route in panel.routes()]

    def build(self, parts: PageParts, /) -> None:
        """Create the components and connect them."""
        tab = parts.tab
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        with gr.Column(elem_id="status"):
            sections = html_block(elem_id="status-sections")
            notice = html_block(elem_id="status-notice")
            with gr.Row(elem_id="status-overview"):
                with gr.Column():
                    server = html_block(elem_id="server", sends=["refresh", "free", "interrupt"])
                    link = html_block(elem_id="share")
                    with gr.Row(
                        elem_id="reconnect", visible=self._access.allows("reconnect")
                    ) as other:
                        address = gr.Textbox(
                            label="Use another ComfyUI",
                            placeholder="http://192.168.1.100:8188",
                            elem_id="address",
                            max_lines=1,
                        )
                        token = gr.Textbox(
                            label="Token",
                            placeholder="Only if it requires one",
                            type="password",
                            elem_id="token",
                            max_lines=1,
                            html_attributes=gr.InputHTMLAttributes(autocomplete="off"),
                        )
                        button = gr.Button("Connect", elem_id="connect")
                    self._engine.build(parts)
                    self._checkup.build(parts)
                    html_block(extras_panel(), elem_id="extras")
                with gr.Column():
                    presets = html_block(elem_id="presets")
                    models = html_block(elem_id="model-manager")
            with gr.Row(elem_id="status-account"):
                with gr.Column():
                    html_block(place_for_account(), elem_id="account")
                    webhook = self._webhook.build(parts)
                with gr.Column():
                    keys = self._keys.build(parts)
            with gr.Row(elem_id="status-admin"):
                with gr.Column():
                    html_block(place_for_users(), elem_id="users")
                    html_block(place_for_servers(), elem_id="servers")
                    html_block(place_for_admin(), elem_id="admin")
                with gr.Column():
                    html_block(place_for_settings(), elem_id="settings-of-app")
        sheet = [server, presets, link, webhook, keys]
        tab.select(self._draw, outputs=sheet, **quiet)
        server.refresh(self._draw, outputs=sheet, **quiet)
        server.interrupt(self._interrupt, outputs=[notice], **quiet)
        if TABLE["free_memory"][self._access.mode] is not None:
            server.free(self._free, outputs=[notice], **quiet)
        parts.on_load.add(self._show_sections, sections)
        parts.on_load.add(self._show_to_admins, other)
        parts.on_load.add(self._show_models, models)
        gr.on(
            [button.click, address.submit, token.submit],
            self._reconnect,
            inputs=[address, token],
            outputs=[token, notice, *sheet],
            **quiet,
        )

    def _show_sections(self, request: Request) -> Html:
        """The buttons of the tab's parts that the request's user may use."""
        self._access.require("see", request)
        return render(
            "status_tab.html",
            "sections",
            has_account=self._access.identifies(request),
            is_admin=self._access.allows("manage_users", request),
        )

    def _show_to_admins(self, request: Request) -> Any:
        """Show the address form to admins only; the handler refuses others as well."""
        return gr.update(visible=self._access.allows("reconnect", request))

    def _show_models(self, request: Request) -> Html:
        """The place for the panel of the model files, which only admins have."""
        return place_for_models() if self._access.allows("get_models", request) else Html("")

    async def _draw(self, request: gr.Request) -> tuple[Html, ...]:
        self._access.require("see", request)
        servers = await self._services.connection.refresh()
        private = self._access.allows("see_server", request)
        fetches = self._access.allows("get_models", request)
        return (
            servers_panel(
                servers,
                counts=await self._services.jobs.counts(),
                embedded=self._services.connection.embedded,
                private=private,
                free=self._access.allows("free_memory", request),
                notice=self._services.library.notice if private else "",
            ),
            join(
                place_for_downloads() if fetches else None,
                presets_panel(
                    self._services.catalog.entries,
                    self._services.connection.model_folders if fetches else None,
                    online=self._services.catalog.online,
                    vram_bytes=gpu_memory_bytes(servers),
                    packs=self._services.addable_packs
                    if self._access.allows("set_up_engine", request)
                    else (),
                ),
            ),
            share_panel(self._share.link, now=time.time()) if self._share and private else Html(""),
            await self._webhook.draw(request),
            self._keys.draw(request),
        )

    async def _free(self, request: gr.Request) -> Html:
        try:
            self._access.require("free_memory", request)
            for client in self._services.connection.clients:
                await client.free(unload_models=True, free_memory=True)
        except ComfyHeadlessError as error:
            return error_notice(JobError.of(error), details=False)
        return _confirmation("ComfyUI unloads its models as soon as the running job allows.")

    async def _interrupt(self, request: gr.Request) -> Html:
        user_id = self._access.require("cancel", request)
        count = await self._services.jobs.cancel_all(user_id)
        return _confirmation(
            f"Stopping {count} of your jobs." if count else "You have no running jobs."
        )

    async def _reconnect(
        self, address: str | None, token: str | None, request: gr.Request
    ) -> tuple[Any, ...]:
        """Switch the server; clears the token field once it is in use."""
        try:
            await self._access.admit("reconnect", request)
            await self._services.connection.reconnect(address or "", token or "")
        except ComfyHeadlessError as error:
            notice = error_notice(JobError.of(error), details=False)
            return gr.skip(), notice, *[gr.skip()] * 5
        urls = " and ".join(client.url for client in self._services.connection.clients)
        return "", _confirmation(f"Now using {urls}."), *await self._draw(request)


def _confirmation(text: str) -> Html:
    """A sentence that says what was done."""
    return render("status_tab.html", "confirmation", text=text)


def extras_panel() -> Html:
    """The optional features: installed, or the command that installs them."""
    return render(
        "status_tab.html",
        "extras_panel",
        installed=list_available_features(),
        missing=list_missing_features(),
    )
