"""Lists that grow during a click: the pressed item opens, not its neighbor."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.support import set_field

pytestmark = pytest.mark.browser


@pytest.fixture
def old(request: pytest.FixtureRequest) -> str:
    """A prompt per test for its first item: all tests share one app."""
    return f"old {request.node.name}"


@pytest.fixture
def results_page(used_page: Any, old: str) -> Any:
    """A page with an item of this test and small sizes in the form."""
    for name in ("width", "height"):
        set_field(used_page, name, 256)
    generate_by_script(used_page, old)
    return used_page


def generate_by_script(page: Any, prompt: str) -> None:
    """Generate an item without the mouse."""
    page.evaluate(
        """(prompt) => {
          const box = document.querySelector('#prompt textarea');
          box.value = prompt;
          box.dispatchEvent(new Event('input', {bubbles: true}));
          const steps = document.querySelector('form.settings [name=steps]');
          steps.value = 2;
          document.querySelector('#generate').click();
        }""",
        prompt,
    )
    page.wait_for_selector(f"#results .thumb[title='{prompt}'] >> nth=0", state="attached")


def press(page: Any, selector: str) -> str:
    """Hold the mouse down on the first match and return its item id."""
    page.locator(selector).first.scroll_into_view_if_needed()
    box = page.locator(selector).first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 12)
    page.mouse.down()
    pressed: str = page.locator(selector).first.get_attribute("data-open")
    return pressed


def test_create_results_click_during_arrival_opens_the_pressed_item(
    results_page: Any, old: str
) -> None:
    pressed = press(results_page, "#results .thumb")
    generate_by_script(results_page, "a new one")
    assert results_page.locator("#results .thumb").first.get_attribute("data-open") != pressed
    results_page.mouse.up()
    results_page.wait_for_selector(f"#opened-result img.final[alt='{old}']")


def test_queue_past_jobs_click_during_arrival_opens_the_pressed_item(
    results_page: Any, old: str
) -> None:
    results_page.get_by_role("tab", name="Queue").click()
    results_page.wait_for_selector(".line-past .thumb")
    pressed = press(results_page, ".line-past .thumb")
    generate_by_script(results_page, "a newer one")
    results_page.wait_for_function(
        "(old) => document.querySelector('.line-past .thumb').dataset.open !== old", arg=pressed
    )
    results_page.mouse.up()
    results_page.wait_for_selector(f"#viewer .detail:has-text('{old}')")


def test_library_click_during_refresh_opens_the_pressed_item(results_page: Any, old: str) -> None:
    results_page.get_by_role("tab", name="Library").click()
    results_page.wait_for_selector(".library .thumb")
    pressed = press(results_page, ".library .thumb")
    generate_by_script(results_page, "the newest one")
    results_page.evaluate("window.comfy.library.refresh()")
    results_page.wait_for_function(
        "(old) => document.querySelector('.library .thumb').dataset.open !== old", arg=pressed
    )
    results_page.mouse.up()
    results_page.wait_for_selector(f"#viewer .detail:has-text('{old}')")


def test_results_cancelled_press_opens_nothing(results_page: Any) -> None:
    press(results_page, "#results .thumb")
    results_page.mouse.move(5, 5)
    results_page.mouse.up()
    results_page.keyboard.press("?")
    results_page.wait_for_selector("#keys")
    assert results_page.locator("#opened-result .stage").count() == 0


def test_results_focus_stays_on_its_item(results_page: Any, old: str) -> None:
    results_page.locator("#results .thumb").first.focus()
    focused = results_page.evaluate("document.activeElement.dataset.open")
    generate_by_script(results_page, "another new one")
    assert results_page.evaluate("document.activeElement.dataset.open") == focused
    results_page.keyboard.press("Enter")
    results_page.wait_for_selector(f"#opened-result img.final[alt='{old}']")
