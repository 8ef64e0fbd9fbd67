"""The stage on Create, the results beside it, the viewer, and where they are at each width."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser import support
from tests.browser.support import generate

pytestmark = pytest.mark.browser

SHOWN = "#stage [data-shown='{}']"
FULL_HD = {"width": 1920, "height": 1080}


def strip(page: Any) -> list[str]:
    """The ids of the results in the row."""
    ids: list[str] = page.eval_on_selector_all(
        "#results .thumb", "all => all.map((e) => e.dataset.open)"
    )
    return ids


def fits(page: Any, *selectors: str) -> None:
    """Check that elements are visible and as wide as the window at most, at each size."""
    for size in (support.PHONE, FULL_HD, support.WIDE):
        page.set_viewport_size(size)
        for selector in selectors:
            page.locator(selector).scroll_into_view_if_needed()
            box = page.locator(selector).bounding_box()
            assert box["x"] >= 0, (size, selector)
            assert box["x"] + box["width"] <= size["width"], (size, selector)
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], size


def test_stage_shows_a_batch_as_grid_and_walks_through_it(used_page: Any) -> None:
    page = used_page
    generate(page, "before it", steps=1)
    page.wait_for_selector("#stage img.final[alt='before it']")
    generate(page, "several at once", steps=2, width=256, height=256, batch=3)
    page.wait_for_selector("#results .thumb[title='several at once'] >> nth=2")
    page.wait_for_selector("#stage .batch .cell >> nth=2")
    first, second, third, before = strip(page)[:4]
    page.click("#stage [data-do=star-batch]")
    page.wait_for_selector("#stage [data-do=star-batch][aria-pressed=true]")
    assert page.locator("#results .thumb[title='several at once'][data-starred]").count() == 3
    page.focus("#stage .cell")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector(SHOWN.format(second))
    page.wait_for_selector(f"#results .thumb[data-open='{second}'][aria-current]")
    page.evaluate("window.comfy.refreshStage()")  # does not turn the page
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(SHOWN.format(third))
    page.keyboard.press("ArrowRight")  # on to the result of the job before
    page.wait_for_selector(f"#opened-result [data-shown='{before}']")
    page.click("#opened-result .step-back")
    page.wait_for_selector(SHOWN.format(third))
    page.keyboard.press(".")
    page.wait_for_selector("#stage [data-do=star-result][aria-pressed=false]")
    page.keyboard.press("Escape")
    page.wait_for_selector("#stage .cell")
    page.click("#stage [data-do=delete-batch]")
    page.wait_for_selector("#stage img.final[alt='before it']")
    page.click("#toast .act")
    page.wait_for_selector(f"#stage .cell[data-open='{first}']")


def test_stage_opened_result_stays_while_a_job_runs(used_page: Any, painter: Any) -> None:
    page = used_page
    generate(page, "to look at", steps=1)
    page.wait_for_selector("#stage img.final[alt='to look at']")
    with support.slowly(painter):
        generate(page, "meanwhile", steps=16)
        page.wait_for_selector(".stage.running img.preview[src]")
    page.click("#results .thumb[title='to look at']")
    page.wait_for_selector("#opened-result img.final[alt='to look at']")
    assert page.is_visible("#stage .percent")
    assert not page.is_visible("#stage .canvas")
    page.click("[data-do=show-live]")
    page.wait_for_selector("#opened-result .stage", state="detached")
    assert page.is_visible("#stage .canvas")
    page.click("#results .thumb[title='to look at']")
    page.wait_for_selector("#opened-result .stage")
    page.wait_for_selector("#results .thumb[title='meanwhile']")
    assert page.is_visible("#opened-result img.final[alt='to look at']")
    assert not page.is_visible("#stage .stage")
    generate(page, "the next one", steps=1)  # a press shows what it makes
    page.wait_for_selector("#stage img.final[alt='the next one']")
    assert page.locator("#opened-result .stage").count() == 0


def test_layout_keeps_stage_and_generate_in_sight_at_each_width(person: Callable[..., Any]) -> None:
    page = person(has_touch=True)
    generate(page, "a batch", steps=1, batch=2)
    page.wait_for_selector("#stage .cell")
    page.click(".advanced summary")  # the column of settings is longer than the window

    def box(selector: str) -> dict[str, float]:
        found: dict[str, float] = page.locator(selector).first.bounding_box()
        return found

    for size in (support.WIDE, FULL_HD):
        page.set_viewport_size(size)
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        for selector in ("#generate", "#stage .ending", "#results .thumb"):
            shown = box(selector)
            assert shown["y"] >= 0, (size, selector)
            assert shown["y"] + shown["height"] <= size["height"], (size, selector)
    stage, results = box("#stage"), box("#results")
    assert results["x"] >= stage["x"] + stage["width"]  # a column of its own
    assert results["x"] + results["width"] > 1800
    page.set_viewport_size(support.PHONE)
    page.evaluate("scrollTo(0, 0)")
    assert page.is_visible(".field.size")
    assert page.is_visible(".field.seed")
    assert not page.is_visible("#stage-area")
    page.tap(".place-to[data-place=results]")
    page.wait_for_selector("#stage .batch")
    assert not page.is_visible(".field.size")
    tops = page.eval_on_selector_all(
        "#stage .ending .act", "all => all.map((e) => [e.getBoundingClientRect().top, e.innerText])"
    )
    assert len({top for top, _ in tops}) == 1  # one row
    assert all(text for _, text in tops)  # with words
    page.tap("#stage .cell")
    page.wait_for_selector("#stage .canvas[data-shown]")
    assert page.evaluate("document.documentElement.scrollWidth") <= support.PHONE["width"]


def test_viewer_zooms_pans_walks_and_returns_to_the_stage(used_page: Any) -> None:
    page = used_page
    generate(page, "to zoom", steps=1, batch=2)
    page.wait_for_selector("#results .thumb[title='to zoom'] >> nth=1")
    page.wait_for_selector("#stage .cell >> nth=1")
    second = strip(page)[1]
    page.click("#stage .cell")
    page.click("#stage .full-screen")
    page.wait_for_selector("#viewer .detail")
    page.wait_for_function("document.querySelector('#viewer img').naturalWidth")
    canvas = page.locator("#viewer .canvas")
    box = canvas.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.wheel(0, -1000)
    page.wait_for_selector("#viewer .canvas.zoomed")
    before = canvas.get_attribute("style")
    page.mouse.down()
    page.mouse.move(middle[0] + 80, middle[1] + 30, steps=3)
    page.mouse.up()
    assert canvas.get_attribute("style") != before
    page.keyboard.press("0")
    page.wait_for_selector("#viewer .canvas:not(.zoomed)")
    page.mouse.click(*middle)  # the actual size, or twice as large
    page.wait_for_selector("#viewer .canvas.zoomed")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(f"#viewer .canvas:not(.zoomed) img[src$='/{second}']")
    fits(page, "#viewer .canvas", "#viewer .zoom-tools", "#viewer .detail")
    page.keyboard.press("Escape")
    page.wait_for_selector("#viewer", state="detached")
    page.wait_for_selector(SHOWN.format(second))


def test_compare_shows_what_differs_between_two_results(used_page: Any) -> None:
    page = used_page
    generate(page, "a red fox", steps=1, seed=7)
    page.wait_for_selector("#stage img.final[alt='a red fox']")
    generate(page, "a blue fox", steps=2, seed=7)
    page.wait_for_selector("#stage img.final[alt='a blue fox']")
    page.click("#stage [data-do=compare-result]")
    page.click("#results .thumb[title='a red fox']")
    page.wait_for_selector("#compare .differences")
    rows = page.eval_on_selector_all(
        "#compare tbody tr", "rows => rows.map((row) => [...row.cells].map((c) => c.innerText))"
    )
    assert rows == [["Prompt", "a blue fox", "a red fox"], ["Steps", "2", "1"]]
    assert page.eval_on_selector_all(
        "#compare mark", "marks => marks.map((mark) => mark.innerText)"
    ) == ["blue", "red", "2", "1"]
    assert "Seed" in page.inner_text("#compare .differences p")
    box = page.locator(".pair").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, -800)
    page.wait_for_selector(".pair.zoomed")
    page.mouse.wheel(0, 3000)
    page.wait_for_selector(".pair:not(.zoomed)")
    fits(page, ".pair", "#compare .differences")


def test_variation_and_upscale_take_one_press_and_know_their_parent(used_page: Any) -> None:
    page = used_page
    support.choose(page, "sdxl")
    generate(page, "to vary", steps=2)
    page.wait_for_selector("#stage img.final[alt='to vary']")
    parent = strip(page)[0]
    page.set_viewport_size(support.PHONE)
    page.click(".place-to[data-place=results]")
    fits(page, *(f"#stage [data-way={way}]" for way in ("subtle", "strong", "upscale")))
    for way in ("subtle", "upscale"):
        newest = strip(page)[0]
        page.click(f"#stage [data-way={way}]")
        page.wait_for_selector(f"#results .thumb:first-child:not([data-open='{newest}'])")
        page.wait_for_selector("#stage .stage.succeeded")
    assert page.get_attribute("form.settings", "data-preset") == "sdxl"  # the form stays
    page.click(f"#results .thumb[data-open='{parent}']")
    page.click("#opened-result .full-screen")
    page.wait_for_selector("#viewer .relatives:has-text('Made from this')")
    fits(page, "#viewer .relatives")
    page.click("#viewer .relatives .thumb")
    page.wait_for_selector(f"#viewer .relatives .thumb[data-open='{parent}']")
    page.click("#viewer [data-do=star-shown]")
    page.wait_for_selector("#viewer [data-do=star-shown][aria-pressed=true]")
