"""Guessed passwords, and sessions that outlive their password."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from comfy_ui.web.auth import logins
from comfy_ui.web.auth.accounts import ACCOUNTS_FILE, Accounts, Role
from tests.security.support import GRADIO, PASSWORDS, PageClient, served

pytestmark = [pytest.mark.slow, *GRADIO]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logins")


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logins, "Accounts", partial(Accounts, now=lambda: 0.0))  # delays do not end
        with served(folder, patch) as page:
            yield page


def guess(page: Any, name: str, count: int) -> Counter[int]:
    """Send wrong passwords in parallel; return how often each status was the answer."""
    url = f"http://127.0.0.1:{page.server_port}/login"

    def attempt(number: int) -> int:
        form = {"username": name, "password": f"wrong {number}"}
        return httpx.post(url, data=form, trust_env=False, timeout=60).status_code

    with ThreadPoolExecutor(20) as pool:
        return Counter(pool.map(attempt, range(count)))


def login(client: httpx.Client, name: str, password: str | None = None) -> int:
    form = {"username": name, "password": password or PASSWORDS[name]}
    return client.post("/login", data=form).status_code


def test_login_wrong_passwords_in_parallel_are_five_attempts_and_keep_no_known_browser_out(
    page: Any,
) -> None:
    with PageClient.open(page, "vera") as vera, PageClient.open(page) as stranger:
        answers = guess(page, "vera", 40)
        assert answers == guess(page, "nobody", 40) == {400: 5, 429: 35}
        assert login(stranger.client, "vera") == 429
        assert login(vera.client, "vera") == 200
        (device,) = [c for c in vera.client.cookies.jar if c.name.startswith("comfy_ui_device_")]
        assert device.has_nonstandard_attr("HttpOnly")
        stranger.client.cookies.set(device.name, f"{'0' * 32}.{'0' * 43}")
        assert login(stranger.client, "vera") == 429


def test_session_ends_with_a_new_password_and_with_the_account(page: Any, folder: Path) -> None:
    accounts = Accounts(folder / "data" / ACCOUNTS_FILE)
    with PageClient.open(page, "viktor") as browser:
        program = browser.client.build_request("GET", "/config")
        basic = httpx.BasicAuth("viktor", PASSWORDS["viktor"])

        def statuses() -> list[int]:
            with httpx.Client(base_url=browser.client.base_url, trust_env=False) as other:
                return [
                    browser.client.send(program).status_code,
                    other.get("/config", auth=basic).status_code,
                ]

        assert statuses() == [200, 200]
        accounts.add("viktor", "a new password", Role.USER)
        assert statuses() == [401, 401]
        assert login(browser.client, "viktor", "a new password") == 200
        assert accounts.remove("viktor")
        accounts.add("viktor", "another viktor", Role.ADMIN)
        assert statuses() == [401, 401]
