"""The checkup on Status."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from comfy_ui.client import ComfyWSClient
from comfy_ui.demo import DemoServer
from comfy_ui.doctor.doctor_report import DoctorReport
from comfy_ui.doctor.machine_checks import CheckLevel, CheckResult
from comfy_ui.settings import load_settings
from comfy_ui.web.server_choice import typed
from comfy_ui.web.tabs.checkup import Checkup, checkup_panel
from tests.web.support import Page


def services(data_dir: Path, **connection: Any) -> Any:
    return SimpleNamespace(
        settings=load_settings(data_dir=data_dir, llm_model="rules"),
        connection=SimpleNamespace(**connection),
        saved_workflows=SimpleNamespace(presets=data_dir / "presets"),
    )


async def test_checkup_report_covers_the_connected_server_and_hides_its_token(
    engine: DemoServer, tmp_path: Path
) -> None:
    choice = typed(engine.url, "typed-token-1234")
    async with ComfyWSClient(url=engine.url) as client:
        here = services(tmp_path, choice=choice, embedded=False, clients=[client])
        checkup = Checkup(here, access=None)  # type: ignore[arg-type]
        report, same = await asyncio.gather(checkup.report(), checkup.report())
    assert report is same
    assert engine.url in str(report)
    assert "The app listens on port 7860." in str(report)
    assert "typed-token-1234" not in str(report)


async def test_checkup_report_with_the_demo_engine_advises_to_connect(tmp_path: Path) -> None:
    here = services(tmp_path, choice=typed("localhost"), embedded=True, clients=[object()])
    report = await Checkup(here, access=None).report()  # type: ignore[arg-type]
    assert "The demo engine draws placeholder images." in str(report)
    assert report.ok


@pytest.mark.parametrize("level", CheckLevel)
def test_checkup_panel_shows_level_advice_and_the_text_to_copy(level: CheckLevel) -> None:
    report = DoctorReport((CheckResult("GPU", level, "It is <old>.", "Buy one."),))
    page = Page(checkup_panel(report))
    assert [button["data-copy"] for button in page.all("button") if "data-copy" in button] == [
        str(report)
    ]
    for text in ("GPU", "It is <old>.", "Buy one.", level.capitalize()):
        assert text in page.text


def test_checkup_panel_problems_come_first() -> None:
    results = (
        CheckResult("A", CheckLevel.OK, "fine"),
        CheckResult("B", CheckLevel.NOTE, "so so"),
        CheckResult("C", CheckLevel.PROBLEM, "bad"),
    )
    html = checkup_panel(DoctorReport(results))
    assert html.index("bad") < html.index("so so") < html.index("fine</span>")


def test_checkup_panel_while_running_has_no_button() -> None:
    assert Page(checkup_panel()).all("button")
    assert not Page(checkup_panel(running=True)).all("button")
