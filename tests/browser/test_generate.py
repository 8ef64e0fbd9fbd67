"""Generate: presses keep their order and form values; none is lost or sent twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.support import generate, slowly
from tests.browser.test_queue import stop_all, wait_for, waiting

pytestmark = pytest.mark.browser

TRIES = 3  # of a press without a response


@pytest.fixture
def busy(used_page: Any, painter: Any) -> Iterator[Any]:
    """A page whose next jobs wait behind a long one."""
    page = used_page
    page.evaluate("() => { window.fetchAsIs = window.fetch; }")
    with slowly(painter):
        generate(page, "long", steps=100)
        page.wait_for_selector(".stage.running")
        yield page
        page.evaluate("""() => {
          if (window.fetchAsIs) window.fetch = window.fetchAsIs;  // not after a reload
          window.comfy.edit(null);
        }""")
        page.get_by_role("tab", name="Queue").click()
        page.wait_for_selector(".line-now .job")  # what was drawn before might say it is empty
        stop_all(page)


def hold(page: Any, prompt: str) -> list[Any]:
    """Hold every request with this prompt; ``continue_()`` releases one."""
    held: list[Any] = []

    def look(route: Any) -> None:
        if f'"{prompt}"' in (route.request.post_data or "").replace("\\", ""):
            held.append(route)
        else:
            route.fallback()

    page.route("**/*", look)
    return held


def test_generate_slow_request_keeps_the_order(busy: Any) -> None:
    held = hold(busy, "first")
    generate(busy, "first", steps=2)
    busy.wait_for_timeout(100)
    for prompt in ("second", "third"):
        generate(busy, prompt, steps=2)
    busy.wait_for_timeout(700)  # enough for the others if they did not wait
    assert len(held) == 1
    held[0].continue_()
    busy.get_by_role("tab", name="Queue").click()
    wait_for(busy, "firstsecondthird")
    busy.wait_for_timeout(600)
    assert waiting(busy) == ["first", "second", "third"]


def test_generate_uses_the_form_at_the_time_of_the_press(busy: Any) -> None:
    busy.click(".advanced summary")
    busy.evaluate("""() => {
      const steps = document.querySelector('form.settings [name=steps]');
      const box = document.querySelector('#prompt textarea');
      const say = (field, value) => {
        field.value = value;
        field.dispatchEvent(new Event('input', {bubbles: true}));
      };
      for (const [prompt, n] of [['p3', 3], ['p4', 4], ['p5', 5]]) {
        say(box, prompt);
        say(steps, n);
        document.querySelector('#generate').click();
      }
      say(box, 'later');
      say(steps, 9);
    }""")
    busy.get_by_role("tab", name="Queue").click()
    wait_for(busy, "p3p4p5")
    for prompt, steps in (("p3", "3"), ("p4", "4"), ("p5", "5")):
        busy.get_by_role("tab", name="Queue").click()
        row = busy.locator(f".job:has(.said-by:text-is('{prompt}'))").first
        row.locator("[data-do=edit-job]").click()
        busy.wait_for_selector("#editing")
        busy.wait_for_function(
            "([prompt, steps]) => document.querySelector('#prompt textarea').value === prompt"
            " && document.querySelector('form.settings [name=steps]').value === steps",
            arg=[prompt, steps],
        )


def test_generate_before_reload_queues_all_presses(busy: Any) -> None:
    held = hold(busy, "one")
    generate(busy, "one", steps=2)
    for prompt in ("two", "three"):
        generate(busy, prompt, steps=2)
    held[0].continue_()
    busy.reload()
    busy.get_by_role("tab", name="Queue").click()
    busy.wait_for_function("document.querySelectorAll('.line-now .waits').length === 3")
    assert sorted(waiting(busy)) == ["one", "three", "two"]


LOSE_JS = """([lost, arrives, status]) => {
  const fetch = window.fetch;
  window.jobs = [];
  window.tries = 0;
  window.fetch = async (path, ...more) => {
    if (!['create/press', 'queue/retry'].includes(path)) return fetch(path, ...more);
    window.tries += 1;
    const bad = window.tries <= lost;
    if (bad && !arrives) throw new TypeError('offline');
    const answer = await fetch(path, ...more);
    const { job, done } = await answer.clone().json();
    window.jobs.push(job ?? done);
    if (bad && status) return new Response('from a proxy', {status});
    if (bad) throw new TypeError('cut off');
    return answer;
  };
}"""


def test_generate_unreachable_server_shows_a_toast_and_recovers(busy: Any) -> None:
    busy.evaluate(LOSE_JS, [TRIES, False])
    generate(busy, "away", steps=2)
    busy.wait_for_selector("#toast:has-text('Connection lost')")
    assert busy.evaluate("window.tries") == TRIES
    busy.click("#generate")
    busy.get_by_role("tab", name="Queue").click()
    wait_for(busy, "away")


@pytest.mark.parametrize(("lost", "status"), [(1, 502), (TRIES, 0)])
def test_generate_lost_response_creates_one_job(busy: Any, lost: int, status: int) -> None:
    busy.evaluate(LOSE_JS, [lost, True, status])
    generate(busy, "once", steps=2)
    if lost == TRIES:  # an error was shown, and the user presses again
        busy.wait_for_selector("#toast:has-text('Connection lost')")
        busy.click("#generate")
    generate(busy, "last", steps=2)  # sent when the previous one has a response
    busy.get_by_role("tab", name="Queue").click()
    wait_for(busy, "oncelast")
    # The queue shows a job before the page has the response to its press.
    busy.wait_for_function("all => window.jobs.length === all", arg=lost + 2)
    assert len({*busy.evaluate("window.jobs")}) == 2


def test_retry_lost_response_creates_one_job(busy: Any) -> None:
    generate(busy, "once", steps=2)
    busy.get_by_role("tab", name="Queue").click()
    wait_for(busy, "once")
    busy.click(".line-now .job.waits:has-text('once') [data-do=cancel-job]")
    busy.evaluate(LOSE_JS, [1, True])
    busy.click(".line-past .job.cancelled:has-text('once') [data-do=retry-job]")
    busy.wait_for_function("window.jobs.length === 2")
    wait_for(busy, "once")
    assert len({*busy.evaluate("window.jobs")}) == 1


def test_stop_that_is_mounted_after_the_stage_is_enabled(busy: Any) -> None:
    busy.evaluate(
        """() => {
          const stop = document.querySelector("#stop");
          const late = stop.cloneNode(true);
          late.disabled = true;
          stop.replaceWith(late);
          window.mounted = stop;
        }"""
    )
    busy.wait_for_selector("#stop:enabled")
    busy.evaluate("document.querySelector('#stop').replaceWith(window.mounted)")
