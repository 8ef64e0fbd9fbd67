"""Accessibility of every tab: no axe-core violations, and touch targets of 40 pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser import support
from tests.browser.axe import violations

pytestmark = pytest.mark.browser

# A checkbox is pressed by its label, which is larger, and a file is chosen by its label, too.
TOUCHED = (
    "button, a[href], summary, select, textarea, label:has([type=checkbox]), "
    "input:not([type=hidden], [type=file], [type=checkbox])"
)
UNFOLD_JS = """() => document.querySelectorAll('#tabs details:not(.picker, .menu)')
  .forEach((folded) => folded.open = true)"""
SMALL_JS = f"""() => [...document.querySelectorAll('{TOUCHED}')]
  .filter((e) => e.checkVisibility({{opacityProperty: true, visibilityProperty: true}}))
  .filter((e) => !e.closest('[aria-hidden=true], .sr'))
  .filter((e) => getComputedStyle(e).pointerEvents !== 'none')
  .map((e) => [e.getBoundingClientRect(), e])
  .filter(([box]) => box.width > 1 && (box.height < 40 || box.width < 40))
  .map(([box, e]) => `${{box.width | 0}} × ${{box.height | 0}} ${{e.outerHTML.slice(0, 120)}}`)"""
SETTLED_JS = "!document.getAnimations().some((one) => one instanceof CSSTransition)"
SHOWN_JS = f"dark => document.body.classList.contains('dark') === dark && {SETTLED_JS}"
TABS = {
    "Workflows": "#workflows .panel.sources",
    "Library": ".library .tile",
    "Queue": ".queue .job.past",
    "Status": "#presets .panel",
}


@pytest.mark.parametrize("size", [support.WIDE, support.PHONE], ids=["wide", "phone"])
def test_tabs_are_accessible_in_both_color_schemes(
    size: dict[str, int], person: Callable[..., Any]
) -> None:
    phone = size is support.PHONE
    page = person(size=size, **({"has_touch": True} if phone else {}))
    schemes = ["light", "dark"]

    def check(within: str | None = None, *, within_dark: str | None = None) -> None:
        for scheme in schemes:
            dark = scheme == "dark"
            page.emulate_media(color_scheme=scheme)
            page.wait_for_function(SHOWN_JS, arg=dark)
            place = (within_dark or within) if dark else within
            assert violations(page, place, dark=dark) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
            if phone:
                assert page.evaluate(SMALL_JS) == []
        schemes.reverse()  # the next state begins in the scheme that is shown

    support.generate(page, "two kites over dunes", steps=2, batch=2)
    page.wait_for_selector("#stage .cell", state="attached")
    page.wait_for_selector("#results .thumb[title='two kites over dunes']", state="attached")
    page.wait_for_selector(".stage.succeeded", state="attached")
    if phone:
        page.tap(".place-to[data-place=inputs]")
    page.fill("#prompt textarea", "")
    page.evaluate(UNFOLD_JS)
    check()
    if phone:
        page.tap(".place-to[data-place=results]")
        page.wait_for_selector(".stage.succeeded")
        check()
        page.tap(".place-to[data-place=inputs]")
    page.click(".picker > summary")
    # All of 58 options in light; in the dark the groups with each look of one.
    looks = ".choice:has(.option[aria-current], .lamp.bad, .paid)"
    check(".picker", within_dark=f".picker > summary, .picker-head, {looks}")
    page.keyboard.press("Escape")
    page.click(".menu > summary")
    check(".menu")
    page.click(".menu [data-do=grid]")
    page.select_option("#grid select >> nth=1", "sampler")
    page.wait_for_selector("#grid .offer")
    check("#grid")
    page.keyboard.press("Escape")
    for name, shown in TABS.items():
        page.get_by_role("tab", name=name).click()
        page.wait_for_selector(shown)
        page.evaluate(UNFOLD_JS)
        # Rules about the outline of a page need all of it; those about colors do not.
        check(within_dark=f"[role=tablist], #{name.lower()}")
    page.get_by_role("tab", name="Workflows").click()
    page.click(".source[data-name=sdxl]")
    page.wait_for_selector("#opened h2")
    check("#workflows")
    page.get_by_role("tab", name="Library").click()
    page.click("[data-do=picking]")
    check(".library")
    page.keyboard.press("Escape")
    page.click(".library .thumb >> nth=0")
    page.wait_for_selector("#viewer .detail")
    check("#viewer")
