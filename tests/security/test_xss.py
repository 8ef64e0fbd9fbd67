"""Hostile text in everything that makes HTML, in a Chromium with a canary."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.doctor.doctor_report import DoctorReport
from comfy_ui.doctor.machine_checks import CheckLevel, CheckResult
from comfy_ui.errors import MissingModel, Problem
from comfy_ui.prompts import EnhancedPrompt
from comfy_ui.storage.records import (
    Job,
    JobError,
    JobStatus,
    Phase,
    QueueCounts,
    ServerStatus,
    Snapshot,
)
from comfy_ui.web.components import (
    enhance_card,
    job_card,
    library_view,
    preset_form,
    preset_picker,
    templates,
)
from comfy_ui.web.components.thumbnails import gallery
from comfy_ui.web.preset_catalog import CatalogEntry, PresetCatalog
from comfy_ui.web.share_link import ShareLinkState
from comfy_ui.web.tabs import status_tab
from comfy_ui.web.tabs.checkup import checkup_panel
from comfy_ui.web.tabs.presets_panel import presets_panel
from comfy_ui.workflow import get_preset
from tests.browser import support as browsers
from tests.security.payloads import payloads
from tests.web.support import item, preset

CANARY = "window.fired = []; window.canary = () => window.fired.push(new Error().stack);"
# Fire every event on the inserted elements and look for active content.
FIRE_EVENTS_JS = """() => {
  for (const element of document.querySelectorAll('#here *')) {
    for (const type of ['click', 'mouseover', 'pointerenter', 'focus', 'toggle', 'animationstart'])
      if (!element.href && element.type !== 'file') element.dispatchEvent(new Event(type));
    for (const name of element.getAttributeNames())
      if (name.startsWith('on')) window.fired.push(`${element.tagName} has ${name}`);
    for (const name of ['href', 'src', 'action', 'data', 'srcdoc', 'poster'])
      if (/^[\\s\\x00-\\x20]*(javascript|vbscript|data:text)/i.test(element[name] ?? ''))
        window.fired.push(`${element.tagName} ${name}`);
  }
  for (const tag of ['script', 'iframe', 'object', 'embed', 'style', 'marquee', 'math', 'base'])
    for (const _ of document.querySelectorAll(`#here ${tag}`)) window.fired.push(`a ${tag}`);
}"""


def hostile_item(text: str) -> Any:
    return item(
        prompt=text, filename=f"{text}.png", preset=text, media_type=text, values={text: text},
        kind="image", path=Path(text), job_id=text,
    )  # fmt: skip


def hostile_entry(text: str) -> CatalogEntry:
    hostile_preset = preset(
        "x",
        title=text,
        description=text,
        family=text,
        tags=[text],
        steps={"label": text, "help": text},
        sampler={"choices": [text, "euler"], "label": text},
        prompt={"default": text},
    )
    model = MissingModel(text, text, text, 5, license=text, gated=True)
    problems = (
        Problem("missing_model", text, hint=text, extra={"model": model}),
        Problem("missing_node", text, node_title=text, class_type=text, extra={"url": text}),
    )
    return CatalogEntry(hostile_preset, problems)


def catalog(text: str) -> PresetCatalog:
    client: Any = None
    new_catalog = PresetCatalog(client, [])
    new_catalog.entries = (hostile_entry(text),)
    return new_catalog


def job(text: str) -> Job:
    return Job(
        id=text, user_id=text, preset=text, values={text: text}, prompt=text, seed=1, graph={},
        status=JobStatus.FAILED, created_at=0.0, error=JobError(text, text, text, text),
    )  # fmt: skip


def draft(text: str) -> Any:
    names = {field.name for field in dataclasses.fields(EnhancedPrompt)}
    values = {
        "original": text, "enhanced": f"{text} and {text}", "negative": text, "source": text,
        "changes": (text,), "reason": text, "style": text, "model": text,
    }  # fmt: skip
    return EnhancedPrompt(**{name: value for name, value in values.items() if name in names})


def running(text: str, phase: Phase) -> Snapshot:
    return Snapshot(
        job_id=text, phase=phase, node_title=text, step=1, steps=2, preview=b"x", preview_type=text,
        error=JobError(text, text, text, text), texts=(text,), items=(hostile_item(text),),
    )  # fmt: skip


def server(text: str) -> ServerStatus:
    return ServerStatus(
        online=False, url=text, checked_at=0.0, version=text, devices=({"name": text},),
        error=JobError(text, text, text, text),
    )  # fmt: skip


PATHS: dict[str, Callable[[str], str]] = {
    "running": lambda t: job_card.job_card(running(t, Phase.RUNNING)),
    "failed": lambda t: job_card.job_card(running(t, Phase.FAILED)),
    "reconnecting": lambda t: job_card.job_card(running(t, Phase.RECONNECTING)),
    "error": lambda t: job_card.error_card(JobError(t, t, t, t), job_id=t),
    "result": lambda t: job_card.result_card([hostile_item(t)]),
    "batch": lambda t: job_card.batch_card([hostile_item(t), hostile_item(t)]),
    "texts": lambda t: job_card.texts_card([t], job_id=t),
    "gallery": lambda t: gallery([hostile_item(t)]),
    "empty": lambda t: job_card.empty_card([t]),
    "notice": lambda t: templates.error_notice(JobError(t, t, t, t)),
    "picker": lambda t: preset_picker.picker([hostile_entry(t)], "x"),
    "form": lambda t: preset_form.form(
        hostile_entry(t).preset, {"steps": t, "sampler": t, "image": t, "seed": t, "width": t}
    ),
    "server": lambda t: status_tab.servers_panel(
        [server(t)], counts=QueueCounts(1, 2), embedded=False, private=True, free=True
    ),
    "presets": lambda t: presets_panel([hostile_entry(t)]),
    "checkup": lambda t: checkup_panel(DoctorReport((CheckResult(t, CheckLevel.NOTE, t, t),))),
    "share": lambda t: status_tab.share_panel(
        ShareLinkState("dead", t, 0.0, 0.0, trouble=t), now=1.0
    ),
    "draft": lambda t: enhance_card.writing_card(t, t),
    "finished draft": lambda t: enhance_card.draft_card(
        draft(t), get_preset("sdxl"), enhance_card.EnhanceSettings(t, "light", t, t), [t]
    ),
    "failed draft": lambda t: enhance_card.failed_card(JobError(t, t, t, t)),
    "library": lambda t: library_view.tiles([hostile_item(t)]),
    "detail": lambda t: library_view.detail(
        hostile_item(t), job(t), catalog(t), parent=hostile_item(t), children=[hostile_item(t)]
    ),
    "comparison": lambda t: library_view.comparison(
        (hostile_item(t), job(t)), (hostile_item(f"{t} b"), job(t)), catalog(t)
    ),
}


def inserted(page: Any, html: list[str]) -> list[str]:
    """Insert HTML into an empty page like the page's scripts, fire events, and return what ran."""
    page.evaluate(
        "(html) => { document.querySelector('#here').innerHTML = html; }", "\n".join(html)
    )
    page.evaluate(FIRE_EVENTS_JS)
    page.wait_for_timeout(60)
    return page.evaluate("() => window.fired.splice(0)")


@pytest.fixture
def blank(chromium: Any) -> Iterator[Any]:
    """A page without a policy, protected by escaping only."""
    context = chromium.new_context()
    page = context.new_page()
    page.route("**/*", lambda route: route.abort())
    page.set_content(f"<script>{CANARY}</script><div id=here></div>")
    yield page
    context.close()


def test_payloads_fire_in_unescaped_html(
    blank: Any,
) -> None:
    assert len(payloads()) >= 300
    some = payloads()[::12]
    fired = [text for text in some if inserted(blank, [f'<p title="{text}">{text}</p>'])]
    assert len(fired) > len(some) / 2


@pytest.mark.slow
@pytest.mark.browser
def test_page_parts_with_payloads_run_no_script(
    blank: Any, record_property: Callable[[str, object], None]
) -> None:
    fired = {
        name: inserted(blank, [build(text) for text in payloads()]) for name, build in PATHS.items()
    }
    record_property("payloads that run scripts", len(payloads()))
    record_property("payloads inserted into page parts", len(payloads()) * len(PATHS))
    record_property("payloads that fired", sum(map(len, fired.values())))
    assert not any(fired.values()), fired


@pytest.mark.slow
@pytest.mark.browser
def test_real_page_with_payloads_runs_no_script_and_csp_blocks_one(
    chromium: Any, tmp_path: Path
) -> None:
    """Prompt and URL with every kind of payload, through Gradio's own rendering."""
    hostile = " ".join(payloads()[::9] + payloads()[-30:])
    with browsers.running_app(
        tmp_path / "data", COMFY_UI_DEMO="true", COMFY_UI_DEMO_SPEED="instant"
    ) as url:
        context = chromium.new_context(viewport=browsers.WIDE)
        context.add_init_script(CANARY)
        page = browsers.open_page(
            context, f"{url}/?prompt=<img src=x onerror=canary()>&preset=${{canary()}}"
        )
        browsers.generate(page, hostile)
        page.wait_for_selector("#results .thumb")
        page.locator("#results .thumb").first.click()
        page.click("#stage-area .full-screen")
        page.wait_for_timeout(500)
        page.keyboard.press("Escape")
        page.get_by_role("tab", name="Library").click()
        page.wait_for_selector(".library .tile")
        page.reload()
        page.wait_for_selector("#results .thumb")
        assert page.evaluate("() => window.fired") == []
        # Markup in the page would be blocked by the policy:
        blocked = page.evaluate(
            """async () => {
              const seen = [];
              document.addEventListener('securitypolicyviolation', (e) => seen.push(e));
              const box = document.createElement('div');
              box.innerHTML = '<img src=x onerror=canary()><svg onload=canary()>';
              document.body.append(box);
              const script = document.createElement('script');
              script.textContent = 'canary()';
              document.body.append(script);
              await new Promise((done) => setTimeout(done, 400));
              return [window.fired.length, seen.length > 0];
            }"""
        )
        assert blocked == [0, True]
        context.close()
