"""Every tab for everybody: axe-core finds nothing serious, and fingers find what they aim at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest

from tests.browser import support

pytestmark = pytest.mark.browser

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
SERIOUS_JS = """async () => (await axe.run(document, {resultTypes: ['violations']})).violations
  .filter((found) => ['serious', 'critical'].includes(found.impact))
  .flatMap((found) => found.nodes.map((node) => `${found.id}: ${node.html.slice(0, 160)}`))"""
TOUCHED = (
    "button, a[href], summary, select, textarea, "
    "input:not([type=hidden], [type=file], [type=range], [type=checkbox])"
)
SMALL_JS = f"""() => [...document.querySelectorAll('{TOUCHED}')]
  .filter((e) => e.checkVisibility({{opacityProperty: true, visibilityProperty: true}}))
  .filter((e) => !e.closest('[aria-hidden=true], .sr'))
  .map((e) => [e.getBoundingClientRect(), e])
  .filter(([box]) => box.width > 1 && (box.height < 40 || box.width < 32))
  .map(([box, e]) => `${{box.width | 0}} × ${{box.height | 0}} ${{e.outerHTML.slice(0, 120)}}`)"""
TABS = {
    "Workflows": "#workflows .panel.sources",
    "Library": ".library .tile",
    "Queue": ".queue .job.past",
    "Status": "#presets .panel",
}


@pytest.fixture(scope="module")
def used(browser: Any, app: str) -> str:
    """The app with one result."""
    context = browser.new_context()
    page = support.open_page(context, app)
    support.generate(page, "a kite over dunes", steps=2, width=256, height=256)
    page.wait_for_selector("#results .thumb[title='a kite over dunes']")
    context.close()
    return app


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [support.WIDE, support.PHONE], ids=["wide", "phone"])
def test_every_tab_is_accessible(
    size: dict[str, int], scheme: str, used: str, person: Callable[..., Any]
) -> None:
    phone = size is support.PHONE
    page = person(size=size, scheme=scheme, has_touch=phone, reduced_motion="reduce")
    page.evaluate(AXE)

    def look() -> None:
        assert page.evaluate(SERIOUS_JS) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        if phone:
            assert page.evaluate(SMALL_JS) == []

    page.wait_for_selector(".stage.succeeded")
    page.click(".advanced summary")
    look()
    page.click(".picker > summary")
    look()
    page.click("h1")
    page.click(".menu > summary")
    look()
    page.click(".menu [data-do=grid]")
    page.select_option("#grid select >> nth=1", "sampler")
    page.wait_for_selector("#grid .offer")
    look()
    page.keyboard.press("Escape")
    for name, shown in TABS.items():
        page.get_by_role("tab", name=name).click()
        page.wait_for_selector(shown)
        look()
    page.get_by_role("tab", name="Library").click()
    page.click(".library .thumb >> nth=0")
    page.wait_for_selector("#viewer .detail")
    look()
