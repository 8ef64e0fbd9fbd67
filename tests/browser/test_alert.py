"""The word when all is done: in the asker's own browser, and only where it was asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.support import generate

pytestmark = pytest.mark.browser

# Notices and sounds are real; that they were made is written down.
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


@pytest.fixture
def asker(person: Callable[..., Any], app: str) -> Any:
    page = person(permissions=["notifications"])
    page.add_init_script(HEARD_JS)
    page.reload()
    page.wait_for_selector("form.settings")
    page.wait_for_selector("#stage .stage")
    return page


def away(page: Any, prompt: str) -> None:
    """Ask for a picture and look at something else until it is there."""
    generate(page, prompt, steps=10, width=256, height=256)
    page.wait_for_selector(".stage[data-live]")
    page.evaluate(AWAY_JS, "hidden")
    page.wait_for_selector(f"#results .thumb[title='{prompt}']")
    page.wait_for_selector(".stage.succeeded")


def test_who_asks_gets_a_notice_and_a_title_and_a_sound_only_if_wanted(asker: Any) -> None:
    title = asker.title()
    asker.click(".menu > summary")
    assert not asker.is_visible("#with-sound")
    asker.check("#tell-me")
    asker.keyboard.press("Escape")
    away(asker, "told with a notice")
    asker.wait_for_function("heard.notices.length === 1")
    assert asker.evaluate("heard") == {
        "notices": [["Your images are ready", "told with a notice"]],
        "notes": 0,
    }
    assert asker.title() == "✓ Done"
    asker.evaluate(AWAY_JS, "visible")
    assert asker.title() == title
    asker.evaluate("document.querySelector('.menu').open = true")
    asker.check("#with-sound")
    assert asker.evaluate("heard.notes") == 2  # so sounds what was chosen
    away(asker, "told with a sound")
    asker.wait_for_function("heard.notes === 4")


def test_who_does_not_ask_is_left_alone(asker: Any) -> None:
    title = asker.title()
    away(asker, "not told at all")
    assert asker.evaluate("heard") == {"notices": [], "notes": 0}
    assert asker.title() == title
