"""The Status tab: the server, what is ready, what is missing and where to get it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import gradio as gr

from ..errors import ComfyHeadlessError
from ..features import list_available_features, list_missing_features
from ..health import HealthReport, Verdict
from ..studio import JobError, ModelFolders, ServerStatus
from .access import TABLE, Access
from .backend import Backend
from .catalog import Entry, grouped
from .downloads import place_for_downloads
from .html import Html, el, icon, join, page_text
from .island import island
from .needs import Fetchable, needs
from .picker import readiness
from .share import Link, Share
from .units import duration, size

__all__ = ["Status"]


class Status:
    """Builds the tab inside a ``gr.Blocks`` and answers its events."""

    def __init__(self, backend: Backend, access: Access, share: Share | None = None) -> None:
        self._backend = backend
        self._access = access
        self._share = share

    def build(self, page: Any, tab: Any) -> None:
        """Make the components in ``tab``, a ``gr.Tab`` of ``page``."""
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        with gr.Row(elem_id="status"):
            with gr.Column():
                server = island(elem_id="server", sends=["refresh", "free", "interrupt"])
                told = island(elem_id="status-notice")
                link = island(elem_id="share")
                with gr.Row(elem_id="reconnect", visible=self._access.allows("reconnect")) as other:
                    address = gr.Textbox(
                        label="Use another ComfyUI",
                        placeholder="http://192.168.1.100:8188",
                        elem_id="address",
                        max_lines=1,
                    )
                    button = gr.Button("Connect", elem_id="connect")
                island(extras_panel(), elem_id="extras")
            with gr.Column():
                presets = island(elem_id="presets")
        sheet = [server, presets, link]
        tab.select(self._draw, outputs=sheet, **quiet)
        server.refresh(self._draw, outputs=sheet, **quiet)
        server.interrupt(self._interrupt, outputs=[told], **quiet)
        if TABLE["free_memory"][self._access.mode] is not None:
            server.free(self._free, outputs=[told], **quiet)
        page.load(self._for_owners, outputs=[other], **quiet)
        gr.on(
            [button.click, address.submit],
            self._reconnect,
            inputs=[address],
            outputs=[told, *sheet],
            **quiet,
        )

    def _for_owners(self, request: gr.Request) -> Any:
        """A visitor does not see the form; the handler refuses them besides."""
        return gr.update(visible=self._access.allows("reconnect", request))

    async def _draw(self, request: gr.Request) -> tuple[Html, Html, Html]:
        self._access.require("see", request)
        told = await self._backend.refresh()
        private = self._access.allows("see_server", request)
        fetches = self._access.allows("get_models", request)
        return (
            servers_panel(
                told,
                embedded=self._backend.embedded,
                private=private,
                free=self._access.allows("free_memory", request),
                notice=self._backend.studio.notice if private else "",
            ),
            join(
                place_for_downloads() if fetches else None,
                presets_panel(
                    self._backend.catalog.entries, self._backend.folders if fetches else None
                ),
            ),
            share_panel(self._share.link, now=time.time()) if self._share and private else Html(""),
        )

    async def _free(self, request: gr.Request) -> Html:
        try:
            self._access.require("free_memory", request)
            for client in self._backend.clients:
                await client.free(unload_models=True, free_memory=True)
        except ComfyHeadlessError as error:
            return _told(error)
        return _said("ComfyUI unloads its models as soon as the running job allows.")

    async def _interrupt(self, request: gr.Request) -> Html:
        owner = self._access.require("cancel", request)
        count = await self._backend.studio.cancel_all(owner)
        return _said(
            f"Stopping {count} of your jobs." if count else "None of your jobs is running."
        )

    async def _reconnect(self, address: str | None, request: gr.Request) -> tuple[Any, ...]:
        try:
            self._access.require("reconnect", request)
            await self._backend.reconnect(address or "")
        except ComfyHeadlessError as error:
            return _told(error), gr.skip(), gr.skip(), gr.skip()
        urls = " and ".join(client.url for client in self._backend.clients)
        return _said(f"Now using {urls}."), *await self._draw(request)


def banner(*, embedded: bool, owner: bool) -> Html:
    """Shown above everything while the embedded engine serves."""
    if not embedded:
        return Html("")
    return el(
        "div",
        icon("plug"),
        el(
            "p",
            el("strong", "Demonstration pictures. "),
            "No ComfyUI is connected, so a small built-in engine paints. ",
        ),
        el(
            "details",
            el("summary", "Connect a real ComfyUI"),
            el(
                "p",
                "Start ComfyUI on this machine and reload the page, or start this app with ",
                el("code", "--comfyui http://HOST:8188"),
                " (or set ",
                el("code", "COMFYUI_URL"),
                "). " if not owner else "), or give its address under Status.",
            ),
        ),
        class_="banner",
        role="note",
    )


def servers_panel(
    told: Sequence[ServerStatus],
    *,
    embedded: bool,
    private: bool,
    free: bool = False,
    notice: str = "",
) -> Html:
    """The servers: does each answer, what is it, how full is it. Visitors see no address."""
    several = len(told) > 1
    answering = sum(status.online for status in told)
    return el(
        "section",
        el(
            "header",
            el("h2", "ComfyUI"),
            el("span", f"{answering} of {len(told)} answer", class_="quiet")
            if several
            else _lamp(told[0]),
        ),
        el("p", notice, class_="trouble") if notice else None,
        [
            el(
                "div",
                el("div", el("h3", f"Server {number}"), _lamp(status), class_="row")
                if several
                else None,
                _server(status, embedded=embedded, private=private),
                class_="server",
            )
            for number, status in enumerate(told, start=1)
        ],
        el(
            "div",
            _act("refresh", "again", "Refresh"),
            _act("free", "save", "Free memory") if free else None,
            _act("interrupt", "stop", "Stop my jobs"),
            class_="acts",
        ),
        class_="panel",
    )


def _server(status: ServerStatus, *, embedded: bool, private: bool) -> list[Html | None]:
    facts: list[Html] = []
    if private:
        facts.append(_fact("Address", "built-in engine" if embedded else status.url))
    if status.online:
        facts.append(_fact("Version", status.version or "unknown"))
        facts.append(_fact("Answers in", f"{(status.latency_s or 0) * 1000:.0f} ms"))
        facts.append(_fact("Queue", f"{status.running} running, {status.pending} waiting"))
    facts += _health(status.health, private=private)
    error = status.error if private else None  # its words may hold the address
    return [
        el("p", page_text(error.message), " ", error.hint, class_="trouble") if error else None,
        el("dl", facts),
        *([_device(device) for device in status.devices] if private else []),
    ]


def _lamp(status: ServerStatus) -> Html:
    stuck = status.health is not None and status.health.verdict is Verdict.STUCK
    if not status.online or stuck:
        said = "Stuck" if stuck else "Does not answer"
        return el("span", el("i", class_="lamp bad"), said, class_="state")
    return el("span", el("i", class_="lamp good"), "Answers", class_="state")


def _health(health: HealthReport | None, *, private: bool) -> list[Html]:
    """Since when, what to do, and what went wrong last; errors may hold the address."""
    if health is None:
        return []
    facts = [_fact("Since", _clock(health.since))]
    if health.breaker != "closed":
        facts.append(_fact("Circuit", f"open, next try in {health.retry_after_s:.0f} s"))
    if health.verdict is Verdict.STUCK:
        facts.append(_fact("Advice", health.advice))
    if private and health.last_error_at is not None:
        said = f"{page_text(health.last_error)} ({_clock(health.last_error_at)})"
        facts.append(_fact("Last error", said))
    return facts


def _clock(at: float) -> str:
    """A time of this machine's day, with the date if it is not today."""
    then = datetime.fromtimestamp(at).astimezone()
    today = then.date() == datetime.now().astimezone().date()
    return then.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M")


def _fact(name: str, value: object) -> Html:
    return el("div", el("dt", name), el("dd", value))


def _act(event: str, image: str, label: str) -> Html:
    return el("button", icon(image), label, type="button", class_="act", data_send=event)


def _device(device: Mapping[str, Any]) -> Html:
    total = float(device.get("vram_total") or 0)
    free = float(device.get("vram_free") or 0)
    used = 100 * (total - free) / total if total > 0 else 0.0
    return el(
        "div",
        el(
            "div",
            el("strong", page_text(str(device.get("name", "device")), limit=80)),
            el("span", f"{size(total - free)} of {size(total)} in use", class_="quiet"),
            class_="row",
        ),
        el(
            "div",
            el("div", class_="fill", style=f"width: {used:.0f}%"),
            class_="meter",
            role="meter",
            aria_label="Memory in use",
            aria_valuemin="0",
            aria_valuemax="100",
            aria_valuenow=f"{used:.0f}",
        ),
        class_="device",
    )


_STATES: Final = {
    "making": ("", "Being made"),
    "alive": ("good", "Works"),
    "shaky": ("", "Does not answer"),
    "dead": ("bad", "Died"),
}


def share_panel(link: Link, *, now: float) -> Html:
    """The public link: how old it is, and whether it answered when it was last looked at."""
    lamp, word = _STATES[link.state]
    facts = []
    if link.url:
        facts.append(_fact("Link", link.url))
    if link.made_at is not None:
        facts.append(_fact("Made", f"{duration(now - link.made_at)} ago"))
    if link.seen_at is not None:
        facts.append(_fact("Answered", f"{duration(now - link.seen_at)} ago"))
    if link.made > 1:
        facts.append(_fact("Made anew", f"{link.made - 1} times"))
    return el(
        "section",
        el(
            "header",
            el("h2", "Share link"),
            el("span", el("i", class_=f"lamp {lamp}"), word, class_="state"),
        ),
        el("p", page_text(link.trouble), class_="trouble") if link.trouble else None,
        el("dl", facts),
        class_="panel",
    )


def presets_panel(entries: Iterable[Entry], folders: ModelFolders | None = None) -> Html:
    """What can run and what each of the others lacks: first those that lack something.

    ``folders`` are those that missing files can be put into.
    """
    listed = list(entries)
    lacking = [entry for entry in listed if entry.errors]
    ready = sum(entry.ready is True for entry in listed)
    return el(
        "section",
        el(
            "header",
            el("h2", "Presets"),
            el("span", f"{ready} of {len(listed)} ready", class_="quiet"),
        ),
        [_lacking(entry, folders) for entry in lacking],
        [
            el(
                "div",
                el("h3", title),
                [
                    el(
                        "div",
                        el("span", entry.preset.title),
                        readiness(entry),
                        class_="row preset",
                    )
                    for entry in found
                ],
            )
            for title, found in grouped(entry for entry in listed if not entry.errors)
        ],
        class_="panel",
    )


def _lacking(entry: Entry, folders: ModelFolders | None) -> Html:
    return el(
        "details",
        el(
            "summary",
            el("strong", entry.preset.title),
            readiness(entry),
            icon("arrow"),
            class_="row",
        ),
        needs(entry.errors, Fetchable(entry.preset.id, folders) if folders else None),
        class_="preset lacking",
    )


def extras_panel() -> Html:
    """The optional parts: installed, or the line that installs them."""
    have, lack = list_available_features(), list_missing_features()
    return el(
        "section",
        el("header", el("h2", "Extras"), el("span", f"{len(have)} installed", class_="quiet")),
        [
            el(
                "div",
                el("span", el("strong", name), " ", el("span", purpose, class_="quiet")),
                el("span", el("i", class_="lamp good"), "Installed", class_="state"),
                class_="row extra",
            )
            for name, purpose in have.items()
        ],
        [
            el(
                "div",
                el("span", el("strong", name), " ", el("code", line)),
                el(
                    "button",
                    icon("copy"),
                    "Copy",
                    type="button",
                    class_="act",
                    data_copy=line,
                    aria_label=f"Copy the install line of {name}",
                ),
                class_="row extra",
            )
            for name, line in lack.items()
        ],
        class_="panel",
    )


def _told(error: ComfyHeadlessError) -> Html:
    record = JobError.of(error)
    return el(
        "div",
        icon("alert"),
        el("p", record.message, " ", record.hint),
        class_="notice",
        role="alert",
    )


def _said(text: str) -> Html:
    return el("div", icon("check"), el("p", text), class_="notice good", role="status")
