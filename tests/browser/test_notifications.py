"""The notification when everything is done: only in the browser that asked for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser import support
from tests.browser.support import generate

pytestmark = pytest.mark.browser

# Notifications and sounds are real; the script records them.
HEARD_JS = """
window.heard = {notices: [], notes: 0};
window.Notification = class extends Notification {
  constructor(title, options) { super(title, options); heard.notices.push([title, options.body]); }
};
window.OscillatorNode = class extends OscillatorNode {
  constructor(...args) { super(...args); heard.notes += 1; }
};
"""
AWAY_JS = """(state) => {
  Object.defineProperty(document, 'visibilityState', {get: () => state, configurable: true});
  document.dispatchEvent(new Event('visibilitychange'));
}"""


@pytest.fixture(scope="module")
def chromium(chromium: support.Chromium) -> Iterator[support.Chromium]:
    with chromium.with_window() as complete:
        yield complete


@pytest.fixture(scope="module")
def watch(app: str) -> support.Watch:
    return support.Watch(app)


@pytest.fixture(scope="module")
def permitted_page(chromium: support.Chromium, app: str, watch: support.Watch) -> Any:
    """A page for all tests: a complete Chromium takes four seconds of CPU time to open one."""
    context = chromium.browser.new_context(
        viewport=support.WIDE, reduced_motion=support.MOTION, permissions=["notifications"]
    )
    context.set_default_timeout(30_000)
    context.add_init_script(HEARD_JS)
    context.on("page", watch.over)
    return support.open_page(context, app)


@pytest.fixture
def notified_page(permitted_page: Any, watch: support.Watch) -> Iterator[Any]:
    """The page: seen, its notifications off, and nothing heard."""
    permitted_page.evaluate(AWAY_JS, "visible")
    permitted_page.evaluate("heard.notices = []; heard.notes = 0")
    yield permitted_page
    for box in ("#with-sound", "#tell-me"):
        permitted_page.evaluate("document.querySelector('.menu').open = true")
        if permitted_page.is_visible(box):
            permitted_page.uncheck(box)
    permitted_page.keyboard.press("Escape")
    assert watch.external == []
    assert watch.troubles == []


def generate_in_background(page: Any, prompt: str) -> None:
    """Generate an image while the page is hidden."""
    generate(page, prompt, steps=10, width=256, height=256)
    page.wait_for_selector(".stage[data-live]")
    page.evaluate(AWAY_JS, "hidden")
    page.wait_for_selector(f"#results .thumb[title='{prompt}']")
    page.wait_for_selector(".stage.succeeded")


def test_notify_me_shows_notification_and_title_and_optional_sound(notified_page: Any) -> None:
    title = notified_page.title()
    notified_page.click(".menu > summary")
    assert not notified_page.is_visible("#with-sound")
    notified_page.check("#tell-me")
    notified_page.keyboard.press("Escape")
    generate_in_background(notified_page, "with a notification")
    notified_page.wait_for_function("heard.notices.length === 1")
    assert notified_page.evaluate("heard") == {
        "notices": [["Your images are ready", "with a notification"]],
        "notes": 0,
    }
    assert notified_page.title() == "✓ Done"
    notified_page.evaluate(AWAY_JS, "visible")
    assert notified_page.title() == title
    notified_page.evaluate("document.querySelector('.menu').open = true")
    notified_page.check("#with-sound")
    assert notified_page.evaluate("heard.notes") == 2  # checking the box plays it once
    generate_in_background(notified_page, "with a sound")
    notified_page.wait_for_function("heard.notes === 4")


def test_notify_me_off_shows_no_notification(notified_page: Any) -> None:
    title = notified_page.title()
    generate_in_background(notified_page, "without notification")
    assert notified_page.evaluate("heard") == {"notices": [], "notes": 0}
    assert notified_page.title() == title
