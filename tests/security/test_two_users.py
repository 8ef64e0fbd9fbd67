"""Two users of one shared app in three browsers, one of them a phone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from comfy_ui.demo import DemoServer
from comfy_ui.private_files import FileDocuments
from comfy_ui.web.auth.accounts import Accounts
from tests.browser import support as browsers
from tests.security.support import PASSWORDS, ROLES

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("shared") / "data"
    file = Accounts(FileDocuments(data))
    for name in ("anna", "vera"):
        file.add(name, PASSWORDS[name], ROLES[name])
    engine = {"COMFY_UI_DEMO": "true", "COMFY_UI_DEMO_SPEED": "0.5"}
    with browsers.running_app(data, COMFY_UI_HOST="0.0.0.0", **engine) as url:
        yield url


def open_page_as(chromium: Any, url: str, name: str, size: dict[str, int]) -> Any:
    context = chromium.new_context(viewport=size)
    form = {"username": name, "password": PASSWORDS[name]}
    assert context.request.post(f"{url}/login", form=form).ok
    return browsers.open_page(context, url)


def test_two_users_see_own_jobs_and_a_phone_shows_the_running_one(chromium: Any, url: str) -> None:
    anna = open_page_as(chromium, url, "anna", browsers.WIDE)
    vera = open_page_as(chromium, url, "vera", browsers.WIDE)
    assert anna.locator("button[role=tab]:text('Workflows')").count() == 1
    jobs = []
    for page, prompt in ((anna, "anna's harbour"), (vera, "vera's garden")):
        browsers.generate(page, prompt, steps=100)
        page.wait_for_selector(".stage[data-live]")  # the engine takes one after the other
        jobs.append(page.get_attribute("#stage .stage", "data-job"))
    assert jobs[0] != jobs[1]

    phone = open_page_as(chromium, url, "anna", browsers.PHONE)
    phone.click(".place-to[data-place=results]")
    phone.wait_for_selector(f".stage.running[data-job='{jobs[0]}'] img.preview", timeout=60_000)
    assert phone.evaluate("document.documentElement.scrollWidth") <= browsers.PHONE["width"]
    before = phone.get_attribute("#stage img.preview", "src")
    phone.wait_for_function(
        "(before) => document.querySelector('#stage img.preview')?.src !== before", arg=before
    )
    phone.click("#stop")
    anna.wait_for_selector(f".stage.cancelled[data-job='{jobs[0]}']")
    vera.wait_for_selector(f".stage.running[data-job='{jobs[1]}']")

    vera.get_by_role("tab", name="Queue").click()
    vera.wait_for_selector(f".queue [data-job='{jobs[1]}']")
    assert "harbour" not in vera.content()
    vera.click(f".queue [data-job='{jobs[1]}'] [data-do=cancel-job]")
    vera.wait_for_selector(f".line-past [data-job='{jobs[1]}']")
    assert "garden" not in anna.content()
    for page in (anna, vera, phone):
        page.context.close()


def test_connect_form_is_visible_for_admins_only(chromium: Any, url: str) -> None:
    with DemoServer(speed="instant").in_thread() as engine:
        anna = open_page_as(chromium, url, "anna", browsers.WIDE)
        vera = open_page_as(chromium, url, "vera", browsers.PHONE)
        for page in (anna, vera):
            page.get_by_role("tab", name="Status").click()
            page.wait_for_selector("#presets .panel")
        anna.click("[data-section=admin]")
        anna.wait_for_selector(".users [data-do=change-user][data-name=vera]")
        anna.wait_for_selector(".setting [name=value] >> nth=0", state="attached")
        anna.click("[data-section=overview]")
        anna.wait_for_selector("#connect", state="visible")
        assert vera.locator(".users, .setting, [data-section=admin]").count() == 0
        assert vera.locator("#connect:visible, #address:visible").count() == 0
        for address, message in (
            ("http://169.254.169.254", "No ComfyUI answers at http://169.254.169.254."),
            (engine.url, f"Now using {engine.url}."),
        ):
            anna.fill("#address input, #address textarea", address)
            anna.click("#connect")
            anna.wait_for_selector(f"#status-notice .notice:has-text('{message}')")
        anna.wait_for_selector(f"#server dd:text-is('{engine.url}')")
        vera.reload()
        vera.wait_for_selector("#stage .stage", state="attached")
        browsers.generate(vera, "made by the other one", width=256, height=256)
        vera.wait_for_selector(".stage.succeeded img.final")
        assert engine.url not in vera.content()
        for page in (anna, vera):
            page.context.close()


def test_invited_user_creates_a_login_changes_the_password_and_stays_logged_in(
    chromium: Any, url: str
) -> None:
    anna = open_page_as(chromium, url, "anna", browsers.WIDE)
    anna.get_by_role("tab", name="Status").click()
    anna.click("[data-section=admin]")
    anna.click("[data-do=invite][data-role=user]")
    link = anna.inner_text("[data-invitation]")
    anna.context.close()

    browser = chromium.new_context(viewport=browsers.PHONE, has_touch=True)
    page = browser.new_page()
    page.goto(link)
    page.wait_for_selector(".invited:visible")
    page.fill("[name=username]", "wanda")
    page.fill("[name=password]", "short")
    page.check("[name=remember]")
    page.tap("form button")
    assert not page.evaluate("document.querySelector('[name=password]').validity.valid")
    page.fill("[name=password]", "wanda's password")
    page.tap("form button:text-is('Create login')")
    page.wait_for_selector("#prompt textarea")
    page.get_by_role("tab", name="Status").tap()
    page.tap("[data-section=account]")
    page.tap("[data-account] summary")
    page.fill("[data-form=password] [name=current]", "wanda's password")
    page.fill("[data-form=password] [name=password]", "another password")
    page.tap("[data-form=password] button")
    page.wait_for_selector("#toast:has-text('Password changed')")
    assert page.evaluate("document.documentElement.scrollWidth") <= browsers.PHONE["width"]
    for cookie in browser.cookies():  # as when the browser or the app is restarted
        if cookie["name"].startswith("access-token"):
            browser.clear_cookies(name=cookie["name"])
    page.reload()
    page.wait_for_selector("#prompt textarea")
    page.tap(".top a[href='logout']")
    page.wait_for_selector(".login form")
    assert not page.is_visible(".invited")
    browser.close()
