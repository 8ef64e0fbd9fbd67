"""Two users of one shared app in three browsers, one of them a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comfy_ui.demo import DemoServer
from comfy_ui.web.auth.accounts import ACCOUNTS_FILE, Accounts
from tests.browser import support as browsers
from tests.security.support import PASSWORDS, ROLES

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    data = tmp_path / "data"
    file = Accounts(data / ACCOUNTS_FILE)
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
        anna.wait_for_selector("#connect", state="visible")
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
