"""The user's webhook on the Status tab: its address, its secret, and the last deliveries."""

from __future__ import annotations

import time
from typing import Any, Final

import gradio as gr
from starlette.requests import Request

from ...errors import ComfyHeadlessError
from ...storage.records import JobError, WebhookDelivery, WebhookTarget
from ...storage.webhook_store import WebhookStore
from ..auth.access import Access
from ..components.html import Html, duration, page_text
from ..components.html_block import from_page, html_block
from ..components.templates import error_notice, render
from ..services import Services
from ..tab import PageParts
from ..webhooks.webhook_message import checked_url, secret_of, webhook_target

__all__ = ["WebhookPanel"]

_NO_NOTICE: Final = Html("")
_SHOWN: Final = 20


class WebhookPanel:
    """A form for the address, and a list of deliveries that can be sent again."""

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access

    def build(self, parts: PageParts) -> Any:
        """Create the components; returns the list, which :meth:`draw` fills."""
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        panel = html_block(elem_id="webhook", sends=["again", "test", "renew", "remove"])
        with gr.Row(elem_id="webhook-form", visible=False) as row:
            url = gr.Textbox(
                label="Webhook URL",
                placeholder="https://example.com/hook",
                elem_id="webhook-url",
                max_lines=1,
                max_length=2000,
            )
            button = gr.Button("Save", elem_id="save-webhook")
        parts.on_load.add(self._show_form, row)
        gr.on([button.click, url.submit], self._save, inputs=[url], outputs=[url, panel], **quiet)
        panel.again(self._send_again, outputs=[panel], **quiet)
        panel.test(self._test, outputs=[panel], **quiet)
        panel.remove(self._remove, outputs=[panel], **quiet)
        panel.renew(self._renew, outputs=[panel], **quiet)
        return panel

    async def draw(self, request: gr.Request, *, notice: Html = _NO_NOTICE) -> Html:
        """The webhook of a request's user; empty if the request has no user of its own."""
        user_id = self._access.require("see_own", request)
        if not self._access.identifies(request):
            return notice
        webhook = await self._store.webhook(user_id)
        now = time.time()
        deliveries = await self._store.recent(user_id, _SHOWN)
        return render(
            "webhook.html",
            "panel",
            url=page_text(webhook.url, limit=200),
            secret=secret_of(self._access, user_id, webhook.secret_version),
            deliveries=[_row(delivery, now) for delivery in deliveries],
            notice=notice,
        )

    @property
    def _store(self) -> WebhookStore:
        return self._services.jobs.webhooks

    def _show_form(self, request: Request) -> Any:
        self._access.require("see", request)
        return gr.update(visible=self._access.identifies(request))

    async def _save(self, url: str | None, request: gr.Request) -> tuple[Any, Html]:
        try:
            user_id = await self._access.admit("use_webhooks", request)
            if target := await webhook_target(self._access, request, checked_url(url or "")):
                await self._store.set_webhook(user_id, target)
        except ComfyHeadlessError as error:
            return gr.skip(), await self.draw(request, notice=_notice(error))
        return "", await self.draw(request)

    async def _test(self, request: gr.Request) -> Html:
        try:
            user_id = await self._access.admit("use_webhooks", request)
            url = checked_url((await self._store.webhook(user_id)).url)
            await self._store.add_test(user_id, WebhookTarget(url, ""), time.time())
        except ComfyHeadlessError as error:
            return await self.draw(request, notice=_notice(error))
        return await self.draw(request)

    async def _remove(self, request: gr.Request) -> Html:
        try:
            user_id = await self._access.admit("use_webhooks", request)
            await self._store.set_webhook(user_id, WebhookTarget("", ""))
        except ComfyHeadlessError as error:
            return await self.draw(request, notice=_notice(error))
        return await self.draw(request)

    async def _renew(self, request: gr.Request) -> Html:
        try:
            await self._store.renew_secret(await self._access.admit("use_webhooks", request))
        except ComfyHeadlessError as error:
            return await self.draw(request, notice=_notice(error))
        return await self.draw(request)

    async def _send_again(self, event: gr.EventData, request: gr.Request) -> Html:
        try:
            user_id = await self._access.admit("use_webhooks", request)
            number = str(from_page(event).get("delivery", ""))
            if number.isdecimal() and len(number) < 16:
                await self._store.send_again(int(number), user_id, time.time())
        except ComfyHeadlessError as error:
            return await self.draw(request, notice=_notice(error))
        return await self.draw(request)


def _notice(error: ComfyHeadlessError) -> Html:
    return error_notice(JobError.of(error), details=False)


def _row(delivery: WebhookDelivery, now: float) -> dict[str, Any]:
    if delivery.error:
        waits = delivery.next_at is not None
        state = "Retrying" if waits else "Failed"
    else:
        state = "Delivered" if delivery.next_at is None else "Sending"
    return {
        "id": delivery.id,
        "event": delivery.event,
        "state": state,
        "error": delivery.error or "",
        "url": page_text(delivery.url, limit=200),
        "attempts": delivery.attempts,
        "at": f"{duration(max(0.0, now - (delivery.sent_at or delivery.created_at)))} ago",
        "next": ""
        if delivery.next_at is None or not delivery.error
        else duration(max(0.0, delivery.next_at - now)),
        "ended": delivery.next_at is None,
    }
