"""The Queue: an owner's jobs while they run and wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from comfy_ui.demo import Faults
from tests.browser import support
from tests.browser.support import generate

pytestmark = pytest.mark.browser

NAMES_JS = "all => all.map((e) => e.textContent)"


@pytest.fixture
def full(person: Callable[..., Any], painter: Any) -> Iterator[Any]:
    """A page on the Queue: one long job runs, another is handed over, four wait."""
    page = person()
    with support.slowly(painter):
        for prompt, steps in (("long", 100), ("next", 100), *((name, 2) for name in "abcd")):
            generate(page, prompt, steps=steps)
        page.get_by_role("tab", name="Queue").click()
        page.wait_for_function("document.querySelectorAll('.line-now .job.waits').length === 4")
        yield page
        stop_all(page)


def stop_all(page: Any) -> None:
    """Leave an empty queue for the next test."""
    page.evaluate("""async () => {
      await fetch('queue/clear', {method: 'POST', body: '{}'});
      for (const row of document.querySelectorAll('.line-now .job'))
        await fetch('queue/cancel', {method: 'POST', body: JSON.stringify({job: row.dataset.job})});
    }""")
    page.wait_for_selector(".queue.idle")


def waiting(page: Any) -> list[str]:
    names: list[str] = page.eval_on_selector_all(".line-now .waits .said-by", NAMES_JS)
    return names


def wait_for(page: Any, names: str) -> None:
    page.wait_for_function(
        "(names) => [...document.querySelectorAll('.line-now .waits .said-by')]"
        ".map((e) => e.textContent).join('') === names",
        arg=names,
    )


def row(page: Any, prompt: str) -> Any:
    return page.locator(f".job:has(.said-by:text-is('{prompt}'))").first


def test_jobs_are_moved_by_keyboard_mouse_and_button_and_stay_so(full: Any) -> None:
    assert waiting(full) == [*"abcd"]
    row(full, "c").locator(".grip").focus()
    full.keyboard.press("ArrowUp")
    wait_for(full, "acbd")
    row(full, "d").locator("[data-do=first-job]").click()
    wait_for(full, "dacb")
    grip, end = (row(full, name).locator(".grip").bounding_box() for name in "db")
    full.mouse.move(grip["x"] + 8, grip["y"] + 8)
    full.mouse.down()
    full.mouse.move(end["x"] + 8, end["y"] + end["height"] + 20, steps=5)
    full.mouse.up()
    wait_for(full, "acbd")
    full.wait_for_timeout(600)  # what the server says comes at most this late
    assert waiting(full) == [*"acbd"]
    full.reload()
    full.get_by_role("tab", name="Queue").click()
    wait_for(full, "acbd")


def test_a_waiting_job_is_changed_in_its_place(full: Any) -> None:
    row(full, "b").locator("[data-do=edit-job]").click()
    full.wait_for_selector("#editing")
    full.wait_for_function("document.querySelector('#prompt textarea')?.value === 'b'")
    assert full.input_value("form.settings [name=steps]") == "2"
    generate(full, "B", steps=3)
    full.wait_for_selector("#editing", state="detached")
    full.get_by_role("tab", name="Queue").click()
    wait_for(full, "aBcd")


def test_one_or_all_are_cancelled_and_a_stopped_one_is_tried_again(full: Any) -> None:
    row(full, "a").locator("[data-do=cancel-job]").click()
    wait_for(full, "bcd")
    full.click(".queue [data-do=clear-queue]")
    wait_for(full, "")
    assert full.locator(".line-now .job").count() == 2  # what ComfyUI has goes on
    full.wait_for_selector(".line-past .job.cancelled:has-text('d')")
    full.locator(".line-past .job.cancelled [data-do=retry-job]").first.click()
    full.wait_for_selector(".line-now .job.waits")


def test_the_running_job_shows_its_preview_and_its_end_without_a_click(
    page: Any, painter: Any
) -> None:
    generate(page, "watched", steps=10)
    page.get_by_role("tab", name="Queue").click()
    page.wait_for_selector(".line-now .job.running img.cover[src^='data:']")
    page.wait_for_selector(".line-past .job.succeeded:has-text('watched') .thumb")
    page.wait_for_selector(".queue.idle >> text=No waiting jobs")
    page.click(".line-past .job.succeeded .thumb >> nth=0")
    page.wait_for_selector("#viewer .detail:has-text('watched')")
    page.keyboard.press("Escape")
    painter.faults = Faults(oom_at="KSampler")
    try:
        page.get_by_role("tab", name="Create").click()
        generate(page, "too large", steps=4)
        page.get_by_role("tab", name="Queue").click()
        page.wait_for_selector(".line-past .job.failed .trouble")
    finally:
        painter.faults = Faults()
    row(page, "too large").locator("[data-do=retry-job]").click()
    page.wait_for_selector(".line-past .job.succeeded:has-text('too large')")


def test_the_stream_is_silent_while_nothing_changes_and_closed_when_left(page: Any) -> None:
    page.evaluate("""() => {
      window.told = 0;
      const Stream = window.EventSource;
      window.EventSource = class extends Stream {
        constructor(...all) {
          super(...all);
          window.stream = this;
          this.addEventListener('message', () => window.told++);
        }
      };
    }""")
    page.get_by_role("tab", name="Queue").click()
    page.wait_for_function("window.told === 1")
    page.wait_for_timeout(1500)
    assert page.evaluate("window.told") == 1
    page.get_by_role("tab", name="Create").click()
    page.wait_for_function("window.stream.readyState === EventSource.CLOSED")


def test_a_phone_shows_the_queue_without_sideways_scrolling(person: Callable[..., Any]) -> None:
    page = person(size=support.PHONE, has_touch=True)
    for prompt in ("long " * 30, "one", "two"):
        generate(page, prompt, steps=30)
    page.get_by_role("tab", name="Queue").click()
    page.wait_for_selector(".line-now .job.waits")
    assert page.evaluate("document.documentElement.scrollWidth") <= support.PHONE["width"]
    box = row(page, "two").locator("[data-do=cancel-job]").bounding_box()
    assert min(box["width"], box["height"]) >= 36
    stop_all(page)


def test_the_menu_makes_several_with_seeds_one_after_the_other(page: Any) -> None:
    page.click(".menu > summary")
    page.click(".menu [data-times='2']")
    page.fill("#seed-step", "10")
    page.click("h1")
    support.set_field(page, "seed", 100)
    generate(page, "a series", steps=2)
    page.wait_for_function(
        "document.querySelectorAll('#results .thumb[title=\"a series\"]').length === 2"
    )
    assert page.eval_on_selector_all(
        "#results .thumb[title='a series']", "all => all.map((e) => e.dataset.seed)"
    ) == ["110", "100"]


def test_the_menu_runs_first_and_cancels_what_waits(person: Callable[..., Any]) -> None:
    page = person()
    for prompt in ("long", "next", "a"):
        generate(page, prompt, steps=60)
    page.fill("#prompt textarea", "urgent")
    page.click(".menu > summary")
    page.click(".menu [data-do=run-first]")
    page.get_by_role("tab", name="Queue").click()
    wait_for(page, "urgenta")
    page.get_by_role("tab", name="Create").click()
    page.click(".menu > summary")
    page.click(".menu [data-do=clear-queue]")
    page.wait_for_selector("#toast:has-text('2 cancelled')")
    page.get_by_role("tab", name="Queue").click()
    wait_for(page, "")
    stop_all(page)
