"""The login page in every language, and what a page does when its session has ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser import support

pytestmark = pytest.mark.browser

NAME, PASSWORD = "anna", "secret-of-anna"
TITLES = {"en": "Log in", "de": "Anmelden", "ja": "ログイン", "zh": "登录"}
BACKGROUND = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, painter: Any) -> Iterator[str]:
    """The address of a shared app with one admin."""
    with support.running_app(
        tmp_path_factory.mktemp("door") / "data",
        COMFYUI_URL=painter.url,
        COMFY_UI_AUTH=f"{NAME}:{PASSWORD}",
        COMFY_UI_TRUSTED_PROXIES="127.0.0.9",  # makes the app shared
    ) as url:
        yield url


def log_in(page: Any, name: str = NAME, password: str = PASSWORD) -> None:
    page.fill("[name=username]", name)
    page.fill("[name=password]", password)
    page.press("[name=password]", "Enter")


@pytest.mark.parametrize("language", TITLES)
def test_login_page_speaks_the_language_in_both_color_schemes(
    browser: Any, door: str, language: str
) -> None:
    context = browser.new_context(viewport=support.PHONE, locale=language)
    page = context.new_page()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto(door)
        page.wait_for_selector(f".login form button:text-is('{TITLES[language]}')")
        assert page.evaluate("document.documentElement.lang") == language
        assert page.evaluate("[...window.comfy.missed]") == []
        assert page.evaluate("document.documentElement.scrollWidth") <= support.PHONE["width"]
        dark = scheme == "dark"
        assert (sum(page.evaluate(BACKGROUND)) < 3 * 128) is dark
        log_in(page, "nobody", "wrong")  # wrong passwords for anna would lock her out of the next
        problem = page.locator(".login [role=alert]:not(:empty)")
        problem.wait_for()
        assert ("Wrong username" in problem.inner_text()) is (language == "en")
        assert page.input_value("[name=username]") == "nobody"
    context.close()


def test_session_that_ends_in_the_middle_of_work_loses_nothing_typed(
    browser: Any, door: str
) -> None:
    context = browser.new_context(viewport=support.WIDE, reduced_motion=support.MOTION)
    page = context.new_page()
    page.goto(door)
    log_in(page)
    page.wait_for_selector("form.settings")
    page.get_by_role("tab", name="Library").click()
    page.wait_for_selector(".library .kept:not(:empty)")
    assert not page.is_visible("[data-do=import-folder]")  # no folders of a shared machine
    page.get_by_role("tab", name="Create").click()
    page.locator("#prompt textarea").press_sequentially("a lighthouse at dawn")
    page.fill("form.settings [name=steps]", "7")
    context.clear_cookies()
    page.click("#generate")
    page.wait_for_selector("#toast:has-text('Your session has ended')")
    assert page.input_value("#prompt textarea") == "a lighthouse at dawn"
    page.click("#toast button:text-is('Log in')")
    log_in(page)
    page.wait_for_selector("form.settings")
    page.wait_for_function(
        "document.querySelector('#prompt textarea').value === 'a lighthouse at dawn'"
    )
    assert page.input_value("form.settings [name=steps]") == "7"
    context.close()
