"""The card "ComfyUI on this machine" on Status, for admins only: ``comfy-ui engine``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from typing import Any, Final

import gradio as gr
from starlette.requests import Request

from ...engine.engine_paths import Installation
from ...engine.packs.pack_folders import InstalledPack, installed_packs
from ...engine.packs.pack_source import known_packs
from ...engine.planning.install_plan import InstallPlan
from ...engine.setup_task import SetupPhase, SetupState
from ...engine.supervision.server_log import read_tail
from ...engine.supervision.supervisor import ServerPhase, ServerState
from ...features import FEATURES, get_install_hint
from ...models.inventory import first_preset
from ...workflow.presets.preset_store import Preset
from ..auth.access import Access
from ..components.html import Html, page_text, size
from ..components.html_block import from_page, html_block
from ..components.preset_picker import Lamp
from ..components.templates import render
from ..components.workflow_report import missing_models
from ..services import Services
from ..tab import PageParts

__all__ = ["EngineCard", "engine_panel"]

_DRAW_S: Final = 0.5
_LOG_BYTES: Final = 6000
_ADDRESS_CHARS: Final = 400
_MEMORY_CHOICES: Final = (
    ("auto", "Automatic"),
    ("high", "Keep models in GPU memory"),
    ("normal", "Unload models after use"),
    ("low", "Small GPU: slower"),
    ("none", "Very small GPU: very slow"),
    ("cpu", "CPU only"),
)
_LAMPS: Final = {
    ServerPhase.STOPPED: Lamp("", "Stopped"),
    ServerPhase.STARTING: Lamp("", "Starting"),
    ServerPhase.READY: Lamp("good", "Running"),
    ServerPhase.RESTARTING: Lamp("bad", "Restarting"),
    ServerPhase.FAILED: Lamp("bad", "Crashed"),
    ServerPhase.IDLE: Lamp("", "Stopped after idling; starts with the next job"),
}


class EngineCard:
    """Plans, installs, starts and stops the managed ComfyUI."""

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._setup = services.setup
        self._connection = services.connection
        self._access = access

    def build(self, parts: PageParts) -> None:
        """Create the card, which stays empty for other users."""
        card = html_block(
            elem_id="engine",
            sends=["plan", "install", "start", "halt", "abort", "back", "memory", "drop"],
        )
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        parts.on_load.add(self._offer, card)
        parts.tab.select(self._follow, outputs=[card], **quiet)
        card.plan(self._plan, outputs=[card], **quiet)
        card.install(self._install, outputs=[card], **quiet)
        card.start(self._start, outputs=[card], **quiet)
        card.back(self._back, outputs=[card], **quiet)
        card.memory(self._choose_memory, outputs=[card], **quiet)
        card.drop(self._remove_pack, outputs=[card], **quiet)
        card.halt(self._halt, outputs=[card], **quiet)
        card.abort(self._abort, outputs=[card], **quiet)

    def _offer(self, request: Request) -> Html:
        return self._panel() if self._access.allows("set_up_engine", request) else Html("")

    async def _follow(self, request: gr.Request) -> AsyncGenerator[Html, None]:
        """Redraw the card as long as something runs."""
        self._access.require("see", request)
        if not self._access.allows("set_up_engine", request):
            return
        async for panel in self._panels():
            yield panel

    async def _plan(self, event: gr.EventData, request: gr.Request) -> AsyncGenerator[Html, None]:
        self._access.require("set_up_engine", request)
        self._setup.plan(str(from_page(event).get("pack", ""))[:_ADDRESS_CHARS])
        async for panel in self._panels():
            yield panel

    async def _install(
        self, event: gr.EventData, request: gr.Request
    ) -> AsyncGenerator[Html, None]:
        self._access.require("set_up_engine", request)
        first = self._first_preset() if from_page(event).get("models") else None
        if first is not None:
            self._access.require("get_models", request)
        self._setup.install(then=partial(self._download_models, first.id) if first else None)
        async for panel in self._panels():
            yield panel

    async def _start(self, request: gr.Request) -> AsyncGenerator[Html, None]:
        self._access.require("set_up_engine", request)
        self._setup.start()
        async for panel in self._panels():
            yield panel

    async def _back(self, request: gr.Request) -> AsyncGenerator[Html, None]:
        self._access.require("set_up_engine", request)
        self._setup.roll_back()
        async for panel in self._panels():
            yield panel

    async def _choose_memory(
        self, event: gr.EventData, request: gr.Request
    ) -> AsyncGenerator[Html, None]:
        self._access.require("set_up_engine", request)
        self._setup.choose_memory(str(from_page(event).get("memory", "")))
        async for panel in self._panels():
            yield panel

    async def _remove_pack(
        self, event: gr.EventData, request: gr.Request
    ) -> AsyncGenerator[Html, None]:
        self._access.require("set_up_engine", request)
        self._setup.remove_pack(str(from_page(event).get("pack", "")))
        async for panel in self._panels():
            yield panel

    async def _halt(self, request: gr.Request) -> Html:
        self._access.require("set_up_engine", request)
        await self._setup.stop()
        return self._panel()

    async def _abort(self, request: gr.Request) -> AsyncGenerator[Html, None]:
        self._access.require("set_up_engine", request)
        self._setup.cancel()
        async for panel in self._panels():
            yield panel

    async def _panels(self) -> AsyncGenerator[Html, None]:
        shown = self._panel()
        yield shown
        manager = self._setup.manager
        while self._setup.state.phase.active or manager.supervisor.state.phase in {
            ServerPhase.STARTING,
            ServerPhase.RESTARTING,
        }:
            await asyncio.sleep(_DRAW_S)
            panel = self._panel()
            if panel != shown:
                shown = panel
                yield panel

    def _first_preset(self) -> Preset | None:
        """The preset to begin with on the planned ComfyUI; None if there is one already."""
        plan, current = self._setup.state.plan, self._setup.manager.paths.current()
        if plan is None or current is not None:
            return None
        vram_bytes = plan.gpu.total_bytes if plan.gpu is not None else None
        entries = self._services.catalog.entries
        return first_preset((entry.preset for entry in entries), vram_bytes or 0)

    async def _download_models(self, preset_id: str) -> None:
        """Download what a preset lacks on the server that the page has turned to."""
        await self._connection.refresh()
        lacking = missing_models(self._services.catalog.entry(preset_id).errors)
        self._services.downloads.start(lacking, self._connection.model_folders)

    def _panel(self) -> Html:
        manager = self._setup.manager
        paths = manager.paths
        return engine_panel(
            self._setup.state,
            server=self._setup.manager.supervisor.state,
            current=paths.current(),
            previous=paths.previous(),
            interrupted=paths.staging.exists(),
            log=read_tail(paths.server_log, _LOG_BYTES),
            in_use=self._connection.choice.kind == "managed",
            memory="" if manager.memory_is_set else manager.options.memory,
            first=self._first_preset(),
            packs=installed_packs(paths, paths.current()),
        )


def engine_panel(
    setup: SetupState,
    *,
    server: ServerState,
    current: Installation | None,
    previous: Installation | None = None,
    interrupted: bool = False,
    log: str = "",
    in_use: bool = False,
    memory: str = "",
    first: Preset | None = None,
    packs: Sequence[InstalledPack] = (),
) -> Html:
    """The state of the managed ComfyUI, and what can be done next.

    ``in_use``: the page sends its jobs there. ``memory``: how it uses the GPU's memory, if that
    can be chosen. ``first``: the preset to begin with, whose files can be downloaded afterwards.
    ``packs``: the node packs of the version.
    """
    has_gpu = current is not None and current.device != "cpu"
    progress = setup.progress
    names = {pack.source.name for pack in packs}
    offers = [(pack.name, pack.purpose) for pack in known_packs() if pack.name not in names]
    return render(
        "engine_card.html",
        "engine_panel",
        phase=str(setup.phase),
        active=setup.phase.active,
        lamp=_LAMPS[server.phase] if current is not None else None,
        version=current.version if current is not None else "",
        facts=_plan_facts(setup.plan)
        if setup.plan is not None and setup.phase is SetupPhase.PLANNED
        else _facts(current, server)
        if current is not None
        else [],
        problems=[page_text(text, limit=400) for text in setup.plan.problems] if setup.plan else [],
        warnings=[page_text(text, limit=400) for text in setup.plan.warnings] if setup.plan else [],
        step=progress
        and {
            "number": progress.number,
            "count": progress.count,
            "title": page_text(progress.title, limit=120),
            "note": progress.note,
            "amount": _amount(progress.done_bytes, progress.total_bytes, progress.bytes_per_s),
            "percent": 100 * (progress.share or 0),
            "measured": progress.share is not None,
        },
        error=setup.error
        and {"message": page_text(setup.error.message, limit=600), "hint": setup.error.hint},
        trouble=page_text(server.message, limit=600),
        advice=server.hint,
        running=server.phase not in {ServerPhase.STOPPED, ServerPhase.FAILED, ServerPhase.IDLE},
        rollback=previous.version if previous is not None else "",
        interrupted=interrupted,
        command="" if FEATURES["engine"] else get_install_hint("engine"),
        log=page_text(log, limit=_LOG_BYTES) if current is not None else "",
        in_use=in_use,
        memory=memory if has_gpu else "",
        memory_choices=_MEMORY_CHOICES,
        first=_first_facts(first) if first is not None else "",
        pack=setup.pack,
        packs=[_pack_facts(pack) for pack in packs],
        offers=offers,
    )


def _pack_facts(pack: InstalledPack) -> dict[str, str]:
    source = pack.source
    return {
        "name": source.name,
        "commit": source.commit[:12],
        "license": page_text(source.license, limit=60),
        "trouble": page_text(pack.trouble, limit=400),
    }


def _first_facts(preset: Preset) -> str:
    total = size(sum(model.size_bytes or 0 for model in preset.models))
    return f"{page_text(preset.title, limit=80)}, {total}"


def _plan_facts(plan: InstallPlan) -> list[tuple[str, str]]:
    packs = [("Node packs", ", ".join(pack.name for pack in plan.packs))] if plan.packs else []
    fast, slow = plan.minutes
    free = f", {size(plan.free_bytes)} free" if plan.free_bytes is not None else ""
    fetched = size(plan.download_bytes)
    return [
        ("Release", page_text(plan.source.label, limit=200)),
        *packs,
        ("Device", page_text(plan.device, limit=200)),
        *([] if plan.base else [("PyTorch", page_text(plan.packages, limit=300))]),
        *([] if plan.base else [("Python", page_text(plan.python, limit=200))]),
        ("Download", f"about {fetched}, {fast} to {slow} min" if plan.download_bytes else "0 MB"),
        ("Disk space", f"about {size(plan.installed_bytes)}{free}"),
        ("Folder", page_text(str(plan.folder), limit=300)),
        ("Models folder", page_text(str(plan.models), limit=300)),
    ]


def _facts(current: Installation, server: ServerState) -> list[tuple[str, str]]:
    facts = [
        ("Version", f"ComfyUI {current.version}"),
        ("PyTorch", f"{current.torch} ({current.device})"),
    ]
    return [*facts, ("Address", server.url)] if server.url else facts


def _amount(done: int, total: int | None, bytes_per_s: float | None) -> str:
    if not done:
        return ""
    amount = f"{size(done)} of {size(total)}" if total else size(done)
    return f"{amount}, {size(bytes_per_s)}/s" if bytes_per_s else amount
