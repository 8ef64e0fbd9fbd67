"""The Queue: a user's running and waiting jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from comfy_ui.demo import Faults
from tests.browser import support
from tests.browser.support import generate

pytestmark = pytest.mark.browser

NAMES_JS = "all => all.map((e) => e.textContent)"
RECORD_ORDERS_JS = """(names) => {
  const list = document.querySelector(".line-now");
  const waiting = () => eval(names)([...list.querySelectorAll(".waits .said-by")]).join("");
  window.orders = [];
  new MutationObserver(() => window.orders.push(waiting())).observe(list, {childList: true});
}"""


@pytest.fixture
def full_queue(used_page: Any, painter: Any) -> Iterator[Any]:
    """A page on the Queue: one long job runs, four wait, the first of them ready at the server."""
    page = used_page
    with support.slowly(painter):
        for prompt, steps in (("long", 100), ("a", 2)):
            generate(page, prompt, steps=steps)
        for prompt in "bcd":  # with the settings of the one before
            page.fill("#prompt textarea", prompt)
            page.click("#generate")
        page.get_by_role("tab", name="Queue").click()
        page.wait_for_function("document.querySelectorAll('.line-now .job.waits').length === 4")
        yield page
        stop_all(page)


def stop_all(page: Any) -> None:
    """Empty the queue for the next test."""
    page.evaluate("""async () => {
      await fetch('queue/clear', {method: 'POST', body: '{}'});
      while (!document.querySelector('.queue.idle')) {  // the rows come a moment after the tab
        for (const {dataset: {job}} of document.querySelectorAll('.line-now .job'))
          await fetch('queue/cancel', {method: 'POST', body: JSON.stringify({job})});
        await new Promise((go) => setTimeout(go, 200));
      }
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


def test_queue_moves_by_keyboard_mouse_and_button_persist(full_queue: Any) -> None:
    assert waiting(full_queue) == [*"abcd"]
    row(full_queue, "c").locator(".grip").focus()
    full_queue.keyboard.press("ArrowUp")
    wait_for(full_queue, "acbd")
    row(full_queue, "d").locator("[data-do=first-job]").click()
    wait_for(full_queue, "dacb")
    row(full_queue, "d").locator(".grip").hover()  # waits until no preview moves the rows
    full_queue.mouse.down()
    for _ in range(2):  # on a busy machine the card above may grow meanwhile
        end = row(full_queue, "b").bounding_box()
        full_queue.mouse.move(end["x"] + 8, end["y"] + end["height"] + 20, steps=5)
    full_queue.mouse.up()
    wait_for(full_queue, "acbd")
    full_queue.wait_for_timeout(1000)  # the next server event is drawn by then
    assert waiting(full_queue) == [*"acbd"]
    full_queue.reload()
    full_queue.get_by_role("tab", name="Queue").click()
    wait_for(full_queue, "acbd")


def test_queue_quick_moves_reach_the_server_in_order(full_queue: Any) -> None:
    delays = iter((800,))

    def delay(route: Any) -> None:
        full_queue.wait_for_timeout(next(delays, 0))
        route.continue_()

    full_queue.route("**/queue/move", delay)
    full_queue.evaluate(RECORD_ORDERS_JS, NAMES_JS)
    row(full_queue, "d").locator("[data-do=first-job]").click()
    row(full_queue, "d").locator(".grip").focus()
    full_queue.keyboard.press("ArrowDown")
    wait_for(full_queue, "adbc")
    full_queue.wait_for_timeout(2000)
    assert set(full_queue.evaluate("window.orders")) <= {"dabc", "adbc"}  # news had the old order
    full_queue.reload()
    full_queue.get_by_role("tab", name="Queue").click()
    wait_for(full_queue, "adbc")


def test_queue_cancel_one_cancel_all_and_retry(full_queue: Any) -> None:
    row(full_queue, "a").locator("[data-do=cancel-job]").click()
    wait_for(full_queue, "bcd")
    full_queue.click(".queue [data-do=clear-queue]")
    wait_for(full_queue, "")
    full_queue.wait_for_function(  # the job that ComfyUI has begun continues
        "document.querySelectorAll('.line-now .job').length === 1"
    )
    full_queue.wait_for_selector(".line-past .job.cancelled:has-text('d')")
    full_queue.locator(".line-past .job.cancelled [data-do=retry-job]").first.click()
    full_queue.wait_for_selector(".line-now .job:nth-child(2)")


def test_queue_pause_holds_waiting_jobs_until_resumed(full_queue: Any) -> None:
    full_queue.click(".queue [data-do=pause-queue]")
    full_queue.wait_for_selector(".queue .summary .state:has-text('Paused')")
    full_queue.wait_for_function(
        "document.querySelectorAll('.line-now .waits .phase').length === 4 &&"
        "[...document.querySelectorAll('.line-now .waits .phase')]"
        ".every((e) => e.textContent.trim() === 'Paused')"
    )
    row(full_queue, "long").locator("[data-do=cancel-job]").click()
    full_queue.wait_for_selector(".line-now .job:has-text('long')", state="detached")
    full_queue.wait_for_selector(".line-past .job.cancelled:has-text('long')")
    full_queue.wait_for_timeout(600)
    assert waiting(full_queue) == [*"abcd"]
    full_queue.reload()
    full_queue.wait_for_selector("#stage .stage [data-do=resume-queue]")
    full_queue.click("#stage [data-do=resume-queue]")
    full_queue.get_by_role("tab", name="Queue").click()
    full_queue.wait_for_selector(".line-past .job.succeeded:has(.said-by:text-is('a'))")


def test_queue_group_is_one_row_that_unfolds_pauses_and_cancels(
    used_page: Any, painter: Any
) -> None:
    page = used_page
    with support.slowly(painter):
        generate(page, "[[red, green, blue]] kites", steps=100)
        generate(page, "beside the group", steps=100)
        page.get_by_role("tab", name="Queue").click()
        group = ".line-now > .job-group:has-text('red kites')"
        page.wait_for_selector(f"{group}:has-text('0 of 3 done')")
        page.wait_for_function("document.querySelectorAll('.line-now > .job').length === 2")
        page.click(f"{group} .unfold")
        page.wait_for_selector(f"{group} .members .job:has-text('Grid 3 of 3'):has-text('blue')")
        assert page.locator(f"{group} .members > .job").count() == 3
        page.locator(f"{group} [data-do=pause-group]").click()
        page.wait_for_selector(f"{group} [data-do=resume-group]")
        page.wait_for_function(
            "document.querySelectorAll('.members .waits .phase').length === 2 &&"
            "[...document.querySelectorAll('.members .waits .phase')]"
            ".every((e) => e.textContent.trim() === 'Paused')"
        )
        page.locator(f"{group} .members .job.running [data-do=cancel-job]").click()
        page.wait_for_selector(".line-now > .job.running:has-text('beside the group')")
        page.reload()
        page.get_by_role("tab", name="Queue").click()
        page.wait_for_selector(f"{group} .phase:has-text('Paused')")
        page.locator(f"{group} [data-do=cancel-group]").click()
        page.wait_for_selector(".line-past > .job-group.cancelled:has-text('red kites')")
        stop_all(page)


def test_generate_menu_repeats_until_stopped(used_page: Any) -> None:
    page = used_page
    page.fill("#prompt textarea", "again")
    page.evaluate(support.SMALL_SIZE_JS)
    support.set_field(page, "steps", 6)
    page.click(".menu > summary")
    page.check("#repeat")
    page.wait_for_function("document.querySelectorAll('#results .thumb[title=again]').length >= 3")
    page.click(".menu [data-do=stop-after]")
    page.wait_for_selector("#toast:has-text('resume')")
    page.wait_for_function("!document.querySelector('#stage .stage[data-live]')")
    made = page.locator("#results .thumb").count()
    page.wait_for_timeout(1000)
    assert page.locator("#results .thumb").count() == made
    page.get_by_role("tab", name="Queue").click()
    page.click(".queue [data-do=resume-queue]")


def test_queue_running_job_updates_until_its_end(used_page: Any, painter: Any) -> None:
    page = used_page
    with support.slowly(painter):
        generate(page, "watched", steps=10)
        page.wait_for_selector(".stage.running img.preview[src]")
    page.get_by_role("tab", name="Queue").click()
    page.wait_for_selector(".line-now .job.running img.cover[src^='data:']")
    page.wait_for_selector(".line-past .job.succeeded:has-text('watched') .thumb")
    page.wait_for_selector(".queue.idle >> text=No waiting jobs")
    page.click(".line-past .job.succeeded:has-text('watched') .thumb >> nth=0")
    page.wait_for_selector("#viewer .detail:has-text('watched')")
    page.keyboard.press("Escape")
    painter.faults = Faults(oom_at="KSampler")
    try:
        page.get_by_role("tab", name="Create").click()
        generate(page, "too large to queue", steps=4)
        page.get_by_role("tab", name="Queue").click()
        page.wait_for_selector(".line-past .job.failed:has-text('too large to queue') .trouble")
    finally:
        painter.faults = Faults()
    row(page, "too large to queue").locator("[data-do=retry-job]").click()
    page.wait_for_selector(".line-past .job.succeeded:has-text('too large to queue')")


def test_queue_stream_is_silent_when_idle_and_closed_on_leave(used_page: Any) -> None:
    page = used_page
    page.evaluate("""() => {
      window.messages = 0;
      const Stream = window.EventSource;
      window.EventSource = class extends Stream {
        constructor(...all) {
          super(...all);
          window.stream = this;
          this.addEventListener('message', () => window.messages++);
        }
      };
    }""")
    page.get_by_role("tab", name="Queue").click()
    page.wait_for_function("window.messages === 1")
    page.wait_for_timeout(1500)
    assert page.evaluate("window.messages") == 1
    page.get_by_role("tab", name="Create").click()
    page.wait_for_function("window.stream.readyState === EventSource.CLOSED")
    page.evaluate("() => { window.EventSource = Object.getPrototypeOf(window.EventSource); }")


def test_queue_on_a_phone_does_not_scroll_sideways(
    person: Callable[..., Any], painter: Any
) -> None:
    page = person(size=support.PHONE, has_touch=True)
    with support.slowly(painter):
        for prompt in ("long " * 30, "one", "two"):
            page.tap(".place-to[data-place=inputs]")
            generate(page, prompt, steps=100)
        page.wait_for_selector(".stage.running")
    page.get_by_role("tab", name="Queue").click()
    page.wait_for_selector(".line-now .job.waits")
    assert page.evaluate("document.documentElement.scrollWidth") <= support.PHONE["width"]
    box = row(page, "two").locator("[data-do=cancel-job]").bounding_box()
    assert min(box["width"], box["height"]) >= 36
    stop_all(page)


def test_generate_menu_runs_twice_with_the_seed_step(used_page: Any) -> None:
    page = used_page
    page.click(".menu > summary")
    page.click(".menu [data-times='2']")
    seed_step = page.input_value("#seed-step")
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
    page.click(".menu > summary")
    page.click(".menu [data-times='1']")
    page.fill("#seed-step", seed_step)
    page.click("h1")


def test_generate_menu_runs_next_and_cancels_waiting_jobs(used_page: Any, painter: Any) -> None:
    page = used_page
    with support.slowly(painter):
        for prompt in ("long", "next", "a"):
            generate(page, prompt, steps=60)
        page.fill("#prompt textarea", "urgent")
        page.click(".menu > summary")
        page.click(".menu [data-do=run-first]")
        page.get_by_role("tab", name="Queue").click()
        wait_for(page, "urgentnexta")  # it goes before the one that stood ready at ComfyUI
        page.get_by_role("tab", name="Create").click()
        page.click(".menu > summary")
        page.click(".menu [data-do=clear-queue]")
        page.wait_for_selector("#toast:has-text('3 cancelled')")
        page.get_by_role("tab", name="Queue").click()
        wait_for(page, "")
        stop_all(page)


def test_queue_edit_replaces_the_job_in_its_place_also_after_a_reload(full_queue: Any) -> None:
    page = full_queue
    row(page, "b").locator("[data-do=edit-job]").click()
    page.wait_for_selector("#editing")
    page.wait_for_function("document.querySelector('#prompt textarea')?.value === 'b'")
    assert page.input_value("form.settings [name=steps]") == "2"
    generate(page, "B", steps=3)
    page.wait_for_selector("#editing", state="detached")
    page.get_by_role("tab", name="Queue").click()
    wait_for(page, "aBcd")

    row(page, "c").locator("[data-do=edit-job]").click()
    page.wait_for_function("document.querySelector('#prompt textarea')?.value === 'c'")
    page.wait_for_timeout(400)  # the draft is saved
    page.reload()
    page.wait_for_selector("form.settings")
    page.wait_for_selector("#editing")
    generate(page, "  ")  # a refused press does not end it
    page.wait_for_selector("#notice :text('Enter a prompt first')")
    page.wait_for_selector("#editing")
    generate(page, "C", steps=3)
    page.wait_for_selector("#editing", state="detached")
    page.get_by_role("tab", name="Queue").click()
    wait_for(page, "aBCd")
    page.reload()
    page.wait_for_selector("#stage .stage")
    assert page.locator("#editing").count() == 0
    page.get_by_role("tab", name="Queue").click()
