"""The user's own API keys on the Status tab: create, list, limit, revoke."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import gradio as gr
from starlette.requests import Request

from ...errors import ComfyHeadlessError, ValidationError
from ...storage.records import JobError
from ..auth.access import Access
from ..auth.accounts import Role
from ..auth.api_keys import ApiKey, KeyUse
from ..auth.key_limits import key_limits
from ..components.html import Html, duration, page_text
from ..components.html_block import from_page, html_block
from ..components.templates import error_notice, render
from ..tab import PageParts

__all__ = ["ApiKeysPanel"]

_NO_NOTICE: Final = Html("")
_SPENDS: Final = "May run paid workflows"
_LIMITS: Final = {
    "requests": "Requests at a time",
    "jobs": "Jobs at a time",
    "per_minute": "Requests a minute",
}


class ApiKeysPanel:
    """A list of keys with a form for new ones, for users who may have keys."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def build(self, parts: PageParts) -> Any:
        """Create the components; returns the list, which :meth:`draw` fills."""
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        panel = html_block(elem_id="api-keys", sends=["limit", "revoke"])
        with gr.Row(elem_id="new-api-key", visible=False) as row:
            name = gr.Textbox(
                label="New API key",
                placeholder="The program that uses it",
                elem_id="api-key-name",
                max_lines=1,
                max_length=64,
            )
            admin = gr.Checkbox(label="Admin rights", elem_id="api-key-admin", visible=False)
            spends = gr.Checkbox(label=_SPENDS, elem_id="api-key-spends", visible=False)
            limits = [
                gr.Textbox(
                    label=label,
                    placeholder="No limit",
                    elem_id=f"api-key-{kind}",
                    max_lines=1,
                    max_length=6,
                    min_width=140,
                )
                for kind, label in _LIMITS.items()
            ]
            button = gr.Button("Create key", elem_id="create-api-key")
        parts.on_load.add(self._show_form, row)
        parts.on_load.add(self._show_admin_rights, admin)
        parts.on_load.add(self._show_spending, spends)
        gr.on(
            [button.click, name.submit],
            self._create,
            inputs=[name, admin, spends, *limits],
            outputs=[name, panel],
            **quiet,
        )
        panel.limit(self._limit, outputs=[panel], **quiet)
        panel.revoke(self._revoke, outputs=[panel], **quiet)
        return panel

    def draw(self, request: gr.Request, *, notice: Html = _NO_NOTICE, new: str = "") -> Html:
        """The keys of a request's user; empty if the user may have none. ``new``: show this key."""
        self._access.require("see_own", request)
        try:
            owner = self._access.key_owner(request)
        except ValidationError:
            return notice
        keys = self._access.keys
        now = time.time()
        return render(
            "api_keys.html",
            "panel",
            keys=[_row(key, keys.uses(key), now) for key in keys.listed(owner)],
            may_spend=self._access.allows("spend", request),
            notice=notice,
            new=new,
        )

    def _show_form(self, request: Request) -> Any:
        self._access.require("see", request)
        try:
            self._access.key_owner(request)
        except ValidationError:
            return gr.update(visible=False)
        return gr.update(visible=True)

    def _show_admin_rights(self, request: Request) -> Any:
        self._access.require("see", request)
        return gr.update(visible=self._access.role(request) is Role.ADMIN)

    def _show_spending(self, request: Request) -> Any:
        self._access.require("see", request)
        return gr.update(visible=self._access.allows("spend", request))

    async def _create(  # noqa: PLR0917 -- Gradio passes the components' values in order
        self,
        name: str | None,
        admin: bool | None,
        spends: bool | None,
        requests: str | None,
        jobs: str | None,
        per_minute: str | None,
        request: gr.Request,
    ) -> tuple[Any, Html]:
        try:
            await self._access.admit("manage_keys", request)
            owner = self._access.key_owner(request)
            role = min(Role.ADMIN if admin else Role.USER, self._access.role(request))
            limits = key_limits(requests, jobs, per_minute)
            _, text = await asyncio.to_thread(
                self._access.keys.create,
                owner,
                name or "",
                role,
                limits,
                may_spend=bool(spends) and self._access.allows("spend", request),
            )
        except ComfyHeadlessError as error:
            return gr.skip(), self.draw(request, notice=_notice(error))
        return "", self.draw(request, new=text)

    async def _limit(self, event: gr.EventData, request: gr.Request) -> Html:
        try:
            await self._access.admit("manage_keys", request)
            owner = self._access.key_owner(request)
            sent = {name: str(value)[:16] for name, value in from_page(event).items()}
            limits = key_limits(*(sent.get(name) for name in _LIMITS))
            spends = "spends" in sent if self._access.allows("spend", request) else None
            await asyncio.to_thread(
                self._access.keys.set_limits,
                sent.get("key", ""),
                limits,
                owner,
                may_spend=spends,
            )
        except ComfyHeadlessError as error:
            return self.draw(request, notice=_notice(error))
        return self.draw(request)

    async def _revoke(self, event: gr.EventData, request: gr.Request) -> Html:
        try:
            await self._access.admit("manage_keys", request)
            owner = self._access.key_owner(request)
            key_id = str(from_page(event).get("key", ""))
            await asyncio.to_thread(self._access.keys.revoke, key_id, owner)
        except ComfyHeadlessError as error:
            return self.draw(request, notice=_notice(error))
        return self.draw(request)


def _notice(error: ComfyHeadlessError) -> Html:
    return error_notice(JobError.of(error), details=False)


def _row(key: ApiKey, uses: tuple[KeyUse, ...], now: float) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": page_text(key.name, limit=64),
        "role": key.role.title(),
        "created": f"{duration(now - key.created_at)} ago",
        "limits": [
            {"name": name, "label": _LIMITS[name], "count": count or ""}
            for name, count in key.limits
        ],
        "spends": key.may_spend,
        "used": f"{duration(now - uses[0].at)} ago" if uses else "",
        "uses": [
            {
                "route": use.route,
                "address": use.address,
                "count": f"{use.count:,}",
                "at": f"{duration(now - use.at)} ago",
            }
            for use in uses
        ],
    }
