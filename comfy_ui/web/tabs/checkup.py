"""The card "Check everything" on Status, for admins only: ``comfy-ui doctor`` on the page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import gradio as gr
from starlette.requests import Request

from ...doctor.doctor_report import DoctorReport, report_on
from ...doctor.inspect_machine import inspect_machine
from ...doctor.machine_checks import CheckLevel
from ..auth.access import Access
from ..components.html import Html, page_text
from ..components.html_block import html_block
from ..components.templates import render
from ..services import Services
from ..tab import PageParts

__all__ = ["Checkup", "checkup_panel"]

_LAMPS = {CheckLevel.OK: "good", CheckLevel.NOTE: "", CheckLevel.PROBLEM: "bad"}


class Checkup:
    """Runs the checks in the app, at most once at a time, and shows the report."""

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access
        self._task: asyncio.Task[DoctorReport] | None = None

    def build(self, parts: PageParts) -> None:
        """Create the card, which stays empty for other users."""
        card = html_block(elem_id="checkup", sends=["check"])
        parts.on_load.add(self._offer, card)
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        card.check(self._check, outputs=[card], **quiet)

    def _offer(self, request: Request) -> Html:
        return checkup_panel() if self._access.allows("see_server", request) else Html("")

    async def _check(self, request: gr.Request) -> AsyncGenerator[Html, None]:
        self._access.require("see_server", request)
        yield checkup_panel(running=True)
        yield checkup_panel(await self.report())

    async def report(self) -> DoctorReport:
        """Check everything; calls at the same time share one run."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="check everything")
        return await asyncio.shield(self._task)

    async def _run(self) -> DoctorReport:
        settings, connection = self._services.settings, self._services.connection
        machine = await inspect_machine(
            settings,
            () if connection.embedded else connection.clients,
            demo=connection.embedded,
            app_runs=True,
            preset_folders=[self._services.saved_workflows.presets],
        )
        token = connection.choice.token
        typed = [token.get_secret_value()] if token is not None else []
        return await asyncio.to_thread(report_on, machine, settings, typed)


def checkup_panel(report: DoctorReport | None = None, *, running: bool = False) -> Html:
    """The report with a button that copies it as text; None: only the button that starts it."""
    return render(
        "checkup.html",
        "checkup_panel",
        running=running,
        summary=report.summary if report is not None else "",
        copied=str(report) if report is not None else "",
        results=[
            {
                "area": result.area,
                "lamp": (_LAMPS[result.level], result.level.capitalize()),
                "text": page_text(result.text, limit=600),
                "advice": page_text(result.advice, limit=600),
            }
            # Problems first; the order of the areas is kept within a level.
            for level in (CheckLevel.PROBLEM, CheckLevel.NOTE, CheckLevel.OK)
            for result in (report.results if report is not None else ())
            if result.level is level
        ],
    )
