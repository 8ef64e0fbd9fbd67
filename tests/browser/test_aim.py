"""Lists that grow while somebody clicks: what was pressed is opened, not its neighbour."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.support import set_field

pytestmark = pytest.mark.browser


@pytest.fixture
def old(request: pytest.FixtureRequest) -> str:
    """The prompt of the first result, another one for each test: all share one app."""
    return f"old {request.node.name}"


@pytest.fixture
def shelf(page: Any, old: str) -> Any:
    """A page with a result, and a form for quick ones."""
    for name in ("width", "height"):
        set_field(page, name, 256)
    make(page, old)
    return page


def make(page: Any, prompt: str) -> None:
    """Another result, without the mouse."""
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
    """Press the mouse on the first of these, and hold it; gives the id of the result."""
    page.locator(selector).first.scroll_into_view_if_needed()
    box = page.locator(selector).first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 12)
    page.mouse.down()
    pressed: str = page.locator(selector).first.get_attribute("data-open")
    return pressed


def test_on_create_a_result_that_arrives_does_not_take_the_click(shelf: Any, old: str) -> None:
    pressed = press(shelf, "#results .thumb")
    make(shelf, "a new one")
    assert shelf.locator("#results .thumb").first.get_attribute("data-open") != pressed
    shelf.mouse.up()
    shelf.wait_for_selector(f"#viewer .detail:has-text('{old}')")


def test_in_the_queue_what_is_over_does_not_take_the_click(shelf: Any, old: str) -> None:
    shelf.get_by_role("tab", name="Queue").click()
    shelf.wait_for_selector(".line-past .thumb")
    pressed = press(shelf, ".line-past .thumb")
    make(shelf, "a newer one")
    shelf.wait_for_function(
        "(old) => document.querySelector('.line-past .thumb').dataset.open !== old", arg=pressed
    )
    shelf.mouse.up()
    shelf.wait_for_selector(f"#viewer .detail:has-text('{old}')")


def test_in_the_library_what_arrives_does_not_take_the_click(shelf: Any, old: str) -> None:
    shelf.get_by_role("tab", name="Library").click()
    shelf.wait_for_selector(".library .thumb")
    pressed = press(shelf, ".library .thumb")
    make(shelf, "the newest one")
    shelf.evaluate("window.comfy.library.refresh()")
    shelf.wait_for_function(
        "(old) => document.querySelector('.library .thumb').dataset.open !== old", arg=pressed
    )
    shelf.mouse.up()
    shelf.wait_for_selector(f"#viewer .detail:has-text('{old}')")


def test_a_press_that_was_given_up_opens_nothing(shelf: Any) -> None:
    press(shelf, "#results .thumb")
    shelf.mouse.move(5, 5)
    shelf.mouse.up()
    shelf.keyboard.press("?")
    shelf.wait_for_selector("#keys")
    assert shelf.locator("#viewer").count() == 0


def test_the_focus_stays_on_its_result(shelf: Any, old: str) -> None:
    shelf.locator("#results .thumb").first.focus()
    focused = shelf.evaluate("document.activeElement.dataset.open")
    make(shelf, "another new one")
    assert shelf.evaluate("document.activeElement.dataset.open") == focused
    shelf.keyboard.press("Enter")
    shelf.wait_for_selector(f"#viewer .detail:has-text('{old}')")
